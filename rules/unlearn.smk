# From the target of the same seed, until the model has forgotten or for so many steps.
rule unlearn:
    input:
        target=GRAPH.model("target"),
        corpus=f"{RESULTS}/corpora/{{corpus}}",
    output:
        model=directory(
            f"{RESULTS}/models/{{corpus}}/{{method,{one_of(GRAPH.unlearned)}}}/seed{{seed}}"
        ),
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
        options=lambda wildcards: GRAPH.unlearning_options(wildcards.method),
        source=lambda wildcards: source(
            "scripts/unlearn.py", *GRAPH.method_sources(wildcards.method)
        ),
    message:
        "Unlearn with {wildcards.method} on {wildcards.corpus}, seed {wildcards.seed} (progress: {log})"
    shell:
        "python -m scripts.unlearn --settings {params.settings} --name {wildcards.method} --target {input.target}"
        " --corpus {input.corpus} --seed {wildcards.seed} --compute {params.compute} {params.options}"
        " --out {output.model} --timings {output.timings} > {log} 2>&1"


# An unlearned model that was made elsewhere: linked where Snakemake runs, like target and retrain, and before any long job,
# so that one that is no version of the target ends the run at its beginning. An adapter is merged into the target.
rule link_unlearned:
    input:
        origin=lambda wildcards: GRAPH.model_origin(wildcards.method),
        target=GRAPH.model("target"),
    output:
        directory(
            f"{RESULTS}/models/{{corpus}}/{{method,{one_of(GRAPH.elsewhere)}}}/seed{{seed}}"
        ),
    log:
        log_of("link_unlearned", "{corpus}-{method}-{seed}"),
    benchmark:
        benchmark_of("link_unlearned", "{corpus}/{method}/seed{seed}")
    priority: 150
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=lambda wildcards: quoted(GRAPH.made_how[wildcards.method]),
        source=source("scripts/link_unlearned.py"),
    message:
        "Unlearned model {wildcards.method}, made elsewhere"
    shell:
        "python -m scripts.link_unlearned --settings {params.settings} --target {input.target} --out {output}"
        " > {log} 2>&1"
