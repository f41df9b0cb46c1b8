rule unlearn:
    input:
        target=f"{RESULTS}/models/{{corpus}}/target/seed{{seed}}",
        corpus=f"{RESULTS}/corpora/{{corpus}}",
    output:
        model=directory(f"{RESULTS}/models/{{corpus}}/{{method}}/seed{{seed}}"),
        timings=timings_of("unlearn", "{corpus}/{method}/seed{seed}"),
    log:
        log_of("unlearn", "{corpus}-{method}-{seed}"),
    benchmark:
        benchmark_of("unlearn", "{corpus}/{method}/seed{seed}")
    # Long jobs first, so that short ones fill the cores in the end.
    priority: 50
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=memory(3 if GPU else 12),
        runtime=growing(240),
        gpu=GPU,
    params:
        settings=lambda wildcards: quoted(MADE_HOW[wildcards.method]),
        compute=STUDY["compute"],
        stop=stop_option,
        source=lambda wildcards: source(
            "scripts/unlearn.py",
            METHODS.source(STUDY["methods"][wildcards.method]["method"]),
            *map(METRICS.source, stop_metrics(wildcards.method)),
        ),
    message:
        "Unlearn with {wildcards.method} on {wildcards.corpus}, seed {wildcards.seed} (progress: {log})"
    shell:
        "python -m scripts.unlearn --settings {params.settings} --name {wildcards.method} --target {input.target}"
        " --corpus {input.corpus} --seed {wildcards.seed} --compute {params.compute} {params.stop}"
        " --out {output.model} --timings {output.timings} > {log} 2>&1"
