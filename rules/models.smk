# Base, target and retrain: made here, or linked from a local directory or a Hub snapshot.
rule make_base:
    input:
        corpus=f"{RESULTS}/corpora/{{corpus}}",
    output:
        directory(f"{RESULTS}/models/{{corpus}}/{{place,{GRAPH.place_of(made=True)}}}"),
    log:
        log_of("make_base", "{corpus}-{place}"),
    benchmark:
        benchmark_of("make_base", "{corpus}-{place}")
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        settings=lambda wildcards: quoted(STUDY.models.base),
        source=source("scripts/make_base.py"),
    message:
        "Random base model for {wildcards.corpus}"
    shell:
        "python -m scripts.make_base --settings {params.settings} --corpus {input.corpus} --out {output} > {log} 2>&1"


# Where Snakemake runs, also on a cluster: the nodes of many cannot reach the Hub.
rule link_model:
    input:
        lambda wildcards: GRAPH.model_origin(name_at(wildcards.place)),
    output:
        directory(f"{RESULTS}/models/{{corpus}}/{{place,{GRAPH.place_of(made=False)}}}"),
    log:
        log_of("link_model", "{corpus}-{place}"),
    benchmark:
        benchmark_of("link_model", "{corpus}-{place}")
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=lambda wildcards: quoted(
            STUDY.models.entries()[name_at(wildcards.place)]
        ),
        # Training reads base in its own number format; target and retrain are what every variant starts from.
        stored=lambda wildcards: "--as-stored" if wildcards.place == "base" else "",
        source=source("scripts/link_model.py"),
    message:
        "Model {wildcards.place}, made elsewhere"
    shell:
        "python -m scripts.link_model --settings {params.settings} {params.stored} --out {output} > {log} 2>&1"


rule train:
    input:
        base=f"{RESULTS}/models/{{corpus}}/base",
        corpus=f"{RESULTS}/corpora/{{corpus}}",
    output:
        model=directory(
            f"{RESULTS}/models/{{corpus}}/{{model,{one_of(GRAPH.trained)}}}/seed{{seed}}"
        ),
        timings=benchmark_of("train", "{corpus}/{model}/seed{seed}", "json"),
    log:
        log_of("train", "{corpus}-{model}-{seed}"),
    benchmark:
        benchmark_of("train", "{corpus}/{model}/seed{seed}")
    # Long jobs first, so that short ones fill the cores in the end.
    priority: 100
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=weights(3 if GPU else 12),
        runtime=growing(240),
        gpu=GPU,
    params:
        settings=lambda wildcards: quoted(STUDY.models.entries()[wildcards.model]),
        compute=lambda wildcards: GRAPH.trained_in(wildcards.model),
        source=source("scripts/train.py"),
    message:
        "Train {wildcards.model} on {wildcards.corpus}, seed {wildcards.seed} (progress: {log})"
    shell:
        "python -m scripts.train --settings {params.settings} --base {input.base} --corpus {input.corpus}"
        " --model {wildcards.model} --seed {wildcards.seed} --compute {params.compute}"
        " --out {output.model} --timings {output.timings} > {log} 2>&1"
