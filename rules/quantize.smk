# Calibrated quantizers look at text, take longer, and write a checkpoint that scoring loads. The target's is kept, since
# every method's absorption is measured against it; the others are deleted once used, unless the entry sets keep.
rule quantize:
    input:
        model=GRAPH.model("{model}"),
        corpus=f"{RESULTS}/corpora/{{corpus}}",
        text=lambda wildcards: GRAPH.calibration_file(wildcards.quantizer),
        environment=lambda wildcards: GRAPH.environment(
            wildcards.quantizer, "environment"
        ),
    output:
        directory(
            f"{RESULTS}/quantized/{{corpus}}/{{model}}/seed{{seed}}/{{quantizer,{one_of(GRAPH.calibrated)}}}"
        ),
    log:
        log_of("quantize", "{corpus}-{model}-{seed}-{quantizer}"),
    benchmark:
        benchmark_of("quantize", "{corpus}/{model}/seed{seed}/{quantizer}")
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=weights(3 if GPU else 4),
        runtime=growing(240),
        gpu=GPU,
    params:
        python=lambda wildcards: GRAPH.python(wildcards.quantizer, "environment"),
        settings=lambda wildcards: quoted(GRAPH.rounded_how[wildcards.quantizer]),
        source=lambda wildcards: source(
            "scripts/quantize.py", *GRAPH.backend_sources([wildcards.quantizer])
        ),
    message:
        "Quantize {wildcards.model} with {wildcards.quantizer}, {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "python -m scripts.quantize --checked --quantizer {params.settings} --model {input.model} --corpus {input.corpus}"
        " --python {params.python} --out {output} > {log} 2>&1"


use rule quantize as quantize_and_delete with:
    output:
        temp(
            directory(
                f"{RESULTS}/quantized/{{corpus}}/{{model,{one_of(GRAPH.not_target)}}}/"
                f"seed{{seed}}/{{quantizer,{one_of(GRAPH.deleted)}}}"
            )
        ),


ruleorder: quantize_and_delete > quantize


# Backends that cannot live in the main environment have one of their own, built from its lock, for all studies. It is a
# virtual environment with conda too, which brings the Python that it is made with.
rule environment:
    input:
        build=ROOT / "envs" / "build.sh",
        torch=ROOT / "envs" / "torch.txt",
        lock=lambda wildcards: ROOT / "envs" / f"{wildcards.environment}.txt",
    output:
        touch(f"{ENVIRONMENTS}/{{environment}}/built"),
    log:
        f"{ENVIRONMENTS}/{{environment}}.log",
    localrule: True  # a node of a cluster may reach no package index
    conda:
        "../envs/python.yaml"
    params:
        folder=subpath(output[0], parent=True),
    message:
        "Python environment {wildcards.environment}, about 2 GB (progress: {log})"
    shell:
        "{input.build} {params.folder} {wildcards.environment} > {log} 2>&1"
