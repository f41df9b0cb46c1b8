# Scores and updates of a whole study in one place: metrics.csv and what is computed from it. None of these jobs imports
# torch. On a cluster they run where Snakemake runs, since they take seconds, less than waiting in a queue.
RECORDS = [f"{RESULTS}/metrics/{item}.records.jsonl" for item in GRAPH.evaluations]
CORPUS_FOLDERS = [f"{RESULTS}/corpora/{corpus}" for corpus in GRAPH.corpora]
SUMMARY = quoted(PRODUCTS.summary)


rule collect:
    input:
        [f"{RESULTS}/metrics/{item}.json" for item in GRAPH.evaluations],
    output:
        f"{RESULTS}/metrics.csv",
    log:
        log_of("collect", "metrics"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        source=source("scripts/collect.py"),
    message:
        "Every score in one table: {output}"
    shell:
        "python -m scripts.collect --out {output} {input} > {log} 2>&1"


rule retained:
    input:
        records=RECORDS,
        corpora=CORPUS_FOLDERS,
    output:
        table=f"{RESULTS}/retained.csv",
        headline=report(
            f"{RESULTS}/headline.txt",
            caption="../report/headline.rst",
            category="1 Headline",
        ),
    log:
        log_of("retained", "retained"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=SUMMARY,
        folder=subpath(output.table, parent=True),
        source=source("scripts/retained.py"),
    message:
        "Retained knowledge, and the headline"
    shell:
        "python -m scripts.retained --settings {params.settings} --metrics-dir {params.folder}/metrics"
        " --corpora-dir {params.folder}/corpora --out {output.table} --headline {output.headline} > {log} 2>&1"


rule models_table:
    input:
        [f"{RESULTS}/models/{update}" for update in GRAPH.updates],
    output:
        f"{RESULTS}/models.csv",
    log:
        log_of("models_table", "models"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=quoted(
            {"models": STUDY.models, "methods": GRAPH.made_how}
            | {"corpora": GRAPH.corpora, "seeds": GRAPH.seeds}
        ),
        folder=subpath(output[0], parent=True),
        source=source("scripts/models_table.py"),
    message:
        "Settings of every model, and how its unlearning ended: {output}"
    shell:
        "python -m scripts.models_table --settings {params.settings} --models-dir {params.folder}/models --out {output}"
        " > {log} 2>&1"


rule absorption_table:
    input:
        GRAPH.absorptions,
    output:
        f"{RESULTS}/absorption.csv",
    log:
        log_of("absorption_table", "absorption"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        source=source("scripts/absorption_table.py"),
    message:
        "Absorption of every model under every quantizer: {output}"
    shell:
        "python -m scripts.absorption_table --out {output} {input} > {log} 2>&1"


rule recovery:
    input:
        records=RECORDS,
    output:
        csv=f"{RESULTS}/recovery.csv",
        md=f"{RESULTS}/tables/recovery.md",
        html=report(
            f"{RESULTS}/tables/recovery.html",
            caption="../report/recovery.rst",
            category="4 Recovery",
        ),
    log:
        log_of("recovery", "recovery"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=SUMMARY,
        predictions=quoted(STUDY.predictions),
        folder=subpath(output.csv, parent=True),
        source=source("scripts/recovery.py"),
    message:
        "Recovery of every model under every quantizer: {output.csv}"
    shell:
        "python -m scripts.recovery --settings {params.settings} --predictions {params.predictions}"
        " --metrics-dir {params.folder}/metrics --out {output.csv} --md {output.md} --html {output.html} > {log} 2>&1"


rule counterfactual:
    input:
        records=RECORDS,
    output:
        f"{RESULTS}/counterfactual.csv",
    log:
        log_of("counterfactual", "counterfactual"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        settings=SUMMARY,
        folder=subpath(output[0], parent=True),
        source=source("scripts/counterfactual.py"),
    message:
        "Scores with counterfactual weights: {output}"
    shell:
        "python -m scripts.counterfactual --settings {params.settings} --metrics-dir {params.folder}/metrics"
        " --out {output} > {log} 2>&1"


rule costs:
    input:
        timings=[f"{RESULTS}/benchmarks/unlearn/{run}.json" for run in GRAPH.runs],
        models=[f"{RESULTS}/models/{run}" for run in GRAPH.runs],
    output:
        f"{RESULTS}/costs.csv",
    log:
        log_of("costs", "costs"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        runs=GRAPH.runs,
        folder=subpath(output[0], parent=True),
        source=source("scripts/costs.py"),
    message:
        "Cost of every unlearning run: {output}"
    shell:
        "python -m scripts.costs --benchmarks-dir {params.folder}/benchmarks/unlearn --models-dir {params.folder}/models"
        " --out {output} {params.runs} > {log} 2>&1"


rule timings:
    input:
        [f"{RESULTS}/benchmarks/{item}.json" for item in GRAPH.timed],
    output:
        csv=f"{RESULTS}/timings.csv",
        pdf=f"{RESULTS}/figures/time.pdf",
        png=report(
            f"{RESULTS}/figures/time.png",
            caption="../report/time.rst",
            category="6 Where the time goes",
        ),
    log:
        log_of("timings", "timings"),
    localrule: True
    conda:
        "../envs/conda.yaml"
    params:
        folder=subpath(output.csv, parent=True),
        source=source("scripts/timings.py"),
    message:
        "Time of every rule"
    shell:
        "python -m scripts.timings --benchmarks-dir {params.folder}/benchmarks --out {output.csv}"
        " --pdf {output.pdf} --png {output.png} {input} > {log} 2>&1"
