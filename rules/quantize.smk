# Calibrated quantizers look at text, take longer, and write a checkpoint that scoring loads. The target's are kept, since
# every method's absorption is measured against them; the others are deleted once used, unless the entry says keep.
for name in CALIBRATED:
    for kept in (True, False):

        rule:
            name:
                f"quantize_{name}" if not kept else f"quantize_{name}_kept"
            input:
                model=f"{RESULTS}/models/{{corpus}}/{{model}}/seed{{seed}}",
                corpus=f"{RESULTS}/corpora/{{corpus}}",
                text=calibration_file(name),
                environment=built_environment(name, "environment"),
            output:
                checkpoint_output(name, kept),
            log:
                log_of("quantize", f"{{corpus}}-{{model}}-{{seed}}-{name}"),
            benchmark:
                benchmark_of("quantize", f"{{corpus}}/{{model}}/seed{{seed}}/{name}")
            conda:
                "../envs/conda.yaml"
            threads: 1
            resources:
                mem_mb=memory(3 if GPU else 4),
                runtime=growing(240),
                gpu=GPU,
            params:
                python=python_of(name, "environment"),
                settings=quoted(ROUNDED_HOW[name]),
                name=name,
                source=source(
                    "scripts/quantize.py", BACKENDS.source(BACKEND_OF[name].name)
                ),
            message:
                "Quantize {wildcards.model} with {params.name}, {wildcards.corpus}, seed {wildcards.seed}"
            shell:
                "python -m scripts.quantize --checked --quantizer {params.settings} --model {input.model} --corpus {input.corpus}"
                " --python {params.python} --out {output} > {log} 2>&1"


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
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=subpath(output[0], parent=True),
    message:
        "Python environment {wildcards.environment}, about 2 GB (progress: {log})"
    shell:
        "{input.build} {params.folder} {wildcards.environment} > {log} 2>&1"
