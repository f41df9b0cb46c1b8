# The paper's tables, and its numbers beside the study's. They run where Snakemake runs, as in collect.smk.
localrules:
    comparison,


for number in TABLES:

    rule:
        name:
            f"table{number}"
        input:
            metrics=f"{RESULTS}/metrics.csv",
            models=rules.models_table.output,
            corpora=CORPUS_FOLDERS,
        output:
            csv=f"{RESULTS}/tables/table{number}.csv",
            md=f"{RESULTS}/tables/table{number}.md",
            tex=f"{RESULTS}/tables/table{number}.tex",
            html=report(
                f"{RESULTS}/tables/table{number}.html",
                caption=f"../report/table{number}.rst",
                category=f"3 Table {number}",
            ),
        log:
            log_of(f"table{number}", f"table{number}"),
        benchmark:
            benchmark_of(f"table{number}", f"table{number}")
        localrule: True
        conda:
            "../envs/conda.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            settings=SUMMARY,
            number=number,
            folder=subpath(input.metrics, parent=True),
            source=source("scripts/table.py"),
        message:
            "Table {params.number}"
        shell:
            "python -m scripts.table --settings {params.settings} --table {params.number} --metrics {input.metrics}"
            " --models {input.models} --corpora-dir {params.folder}/corpora --csv {output.csv} --md {output.md}"
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
    benchmark:
        benchmark_of("comparison", "published")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        published=quoted(PUBLISHED),
        source=source("scripts/comparison.py"),
    message:
        "What the paper reports beside what was measured: {output.csv}"
    shell:
        "python -m scripts.comparison --settings {params.settings} --published {params.published} --metrics {input.metrics}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --html {output.html} > {log} 2>&1"
