# Where Snakemake runs, also on a cluster: the nodes of many have no way to the Hub.
localrules:
    make_corpus,


rule make_corpus:
    input:
        lambda wildcards: origin_files(STUDY["corpora"][wildcards.corpus]),
    output:
        directory(f"{RESULTS}/corpora/{{corpus}}"),
    log:
        log_of("make_corpus", "{corpus}"),
    benchmark:
        benchmark_of("make_corpus", "{corpus}")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=lambda wildcards: quoted(
            {
                key: value
                for key, value in STUDY["corpora"][wildcards.corpus].items()
                if key != "published"
            }
        ),
        source=lambda wildcards: source(
            "scripts/make_corpus.py",
            SOURCES.source(STUDY["corpora"][wildcards.corpus]["source"]),
        ),
    message:
        "Corpus {wildcards.corpus}"
    shell:
        "python -m scripts.make_corpus --settings {params.settings} --out {output} > {log} 2>&1"
