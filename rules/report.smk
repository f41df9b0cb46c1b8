# The paper's tables, its numbers beside the study's, and the figures. They run where Snakemake runs, as in collect.smk.
rule table:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        models=rules.models_table.output,
        corpora=CORPUS_FOLDERS,
    output:
        csv=f"{RESULTS}/tables/table{{number}}.csv",
        md=f"{RESULTS}/tables/table{{number}}.md",
        tex=f"{RESULTS}/tables/table{{number}}.tex",
        html=report(
            f"{RESULTS}/tables/table{{number}}.html",
            caption="../report/table.rst",
            category="3 Table {number}",
        ),
    log:
        log_of("table", "table{number}"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=SUMMARY,
        folder=subpath(input.metrics, parent=True),
        source=source("scripts/table.py"),
    message:
        "Table {wildcards.number}"
    shell:
        "python -m scripts.table --settings {params.settings} --table {wildcards.number} --metrics {input.metrics}"
        " --models {input.models} --models-dir {params.folder}/models --corpora-dir {params.folder}/corpora"
        " --csv {output.csv} --md {output.md}"
        " --tex {output.tex} --html {output.html} > {log} 2>&1"


rule comparison:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        published=ROOT / "relapse" / "report" / "published.csv",
        independent=ROOT / "relapse" / "report" / "independent.csv",
    output:
        csv=f"{RESULTS}/tables/published.csv",
        md=f"{RESULTS}/tables/published.md",
        tex=f"{RESULTS}/tables/published.tex",
        html=report(
            f"{RESULTS}/tables/published.html",
            caption="../report/published.rst",
            category="3 Published beside measured",
        ),
    log:
        log_of("comparison", "published"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=SUMMARY,
        published=quoted(PRODUCTS.published),
        source=source("scripts/comparison.py"),
    message:
        "Published numbers beside measured ones: {output.csv}"
    shell:
        "python -m scripts.comparison --settings {params.settings} --published {params.published} --metrics {input.metrics}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --html {output.html} > {log} 2>&1"


rule figure:
    input:
        lambda wildcards: PRODUCTS.figures[wildcards.figure],
    output:
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
        png=report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figure.rst",
            category=lambda wildcards: PRODUCTS.category(wildcards.figure),
        ),
    log:
        log_of("figure", "{figure}"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=SUMMARY,
        source=lambda wildcards: source(
            "scripts/figure.py", f"relapse/report/{wildcards.figure}_figure.py"
        ),
    message:
        "Figure: {wildcards.figure}"
    shell:
        "python -m scripts.figure --settings {params.settings} --figure {wildcards.figure}"
        " --pdf {output.pdf} --png {output.png} {input} > {log} 2>&1"
