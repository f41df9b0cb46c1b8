# From the target of the same seed, until the model has forgotten or for so many steps.
rule unlearn:
    input:
        target=GRAPH.model("target"),
        corpus=f"{RESULTS}/corpora/{{corpus}}",
    output:
        model=directory(GRAPH.model("{method}")),
        timings=benchmark_of("unlearn", "{corpus}/{method}/seed{seed}", "json"),
    log:
        log_of("unlearn", "{corpus}-{method}-{seed}"),
    benchmark:
        benchmark_of("unlearn", "{corpus}/{method}/seed{seed}")
    # Long jobs first, so that short ones fill the cores in the end.
    priority: 50
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=weights(3 if GPU else 12),
        runtime=growing(240),
        gpu=GPU,
    params:
        settings=lambda wildcards: quoted(GRAPH.made_how[wildcards.method]),
        compute=STUDY.compute,
        stop=lambda wildcards: stop_option(GRAPH.stop_metrics(wildcards.method)),
        source=lambda wildcards: source(
            "scripts/unlearn.py", *GRAPH.method_sources(wildcards.method)
        ),
    message:
        "Unlearn with {wildcards.method} on {wildcards.corpus}, seed {wildcards.seed} (progress: {log})"
    shell:
        "python -m scripts.unlearn --settings {params.settings} --name {wildcards.method} --target {input.target}"
        " --corpus {input.corpus} --seed {wildcards.seed} --compute {params.compute} {params.stop}"
        " --out {output.model} --timings {output.timings} > {log} 2>&1"
