# A corpus as a folder in MUSE's layout. It is made where Snakemake runs: the nodes of many clusters cannot reach the Hub.
rule make_corpus:
    input:
        lambda wildcards: GRAPH.corpus_origin(wildcards.corpus),
    output:
        directory(f"{RESULTS}/corpora/{{corpus}}"),
    log:
        log_of("make_corpus", "{corpus}"),
    benchmark:
        benchmark_of("make_corpus", "{corpus}")
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=lambda wildcards: quoted(GRAPH.corpus_settings(wildcards.corpus)),
        source=lambda wildcards: source(
            "scripts/make_corpus.py", GRAPH.corpus_source(wildcards.corpus)
        ),
    message:
        "Corpus {wildcards.corpus}"
    shell:
        "python -m scripts.make_corpus --settings {params.settings} --out {output} > {log} 2>&1"
