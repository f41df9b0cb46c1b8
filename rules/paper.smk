# Tables, figures and the headline. None of these jobs imports torch. On a cluster they run where Snakemake runs: they take
# seconds, less than their way through a queue.
localrules:
    collect,
    retained,
    models_table,
    absorption_table,
    comparison,
    recovery,
    figure_retained,
    figure_survival,
    figure_lr,
    figure_grid,
    figure_sure,
    figure_calibration,
    timings,


EVALUATIONS = [
    item
    for quantizer in QUANTIZERS
    for item in expand(
        f"{{corpus}}/{{model}}/seed{{seed}}/{quantizer}",
        corpus=CORPORA,
        model=applied_to(quantizer),
        seed=SEEDS,
    )
]
SCORES = [f"{RESULTS}/metrics/{item}.json" for item in EVALUATIONS]
EVALUATION_JOBS = [
    item
    for label, batch in BATCHES.items()
    for item in expand(
        f"{{corpus}}/{{model}}/seed{{seed}}/{label}",
        corpus=CORPORA,
        model=applied_to(batch[0]),
        seed=SEEDS,
    )
]
CHECKPOINTS = {
    quantizer: expand(
        f"{RESULTS}/quantized/{{corpus}}/{{model}}/seed{{seed}}/{quantizer}",
        corpus=CORPORA,
        model=applied_to(quantizer),
        seed=SEEDS,
    )
    for quantizer in CALIBRATED
}
UPDATES = expand(
    "{corpus}/{method}/seed{seed}",
    corpus=CORPORA,
    method=sorted(STUDY["methods"]),
    seed=SEEDS,
)
ON_GRIDS = [
    f"{RESULTS}/absorption/{update}/{quantizer}.json"
    for update in UPDATES
    for quantizer in ROUNDING
]
ABSORPTIONS = ON_GRIDS + [
    f"{RESULTS}/absorption/{update}/{quantizer}.json"
    for quantizer in CALIBRATED
    for update in expand(
        "{corpus}/{method}/seed{seed}",
        corpus=CORPORA,
        method=[name for name in applied_to(quantizer) if name in STUDY["methods"]],
        seed=SEEDS,
    )
]
FOUR_BIT_CALIBRATED = [
    name for name in CALIBRATED if STUDY["quantizers"][name]["bits"] == 4
]
# The paper's tables that this study has something for.
SURE_MODELS = [
    name
    for name, entry in STUDY["methods"].items()
    if METHODS.get(entry["method"]).sure
]
TABLES = [1] + ([2] if FOUR_BIT_CALIBRATED else []) + ([3] if SURE_MODELS else [])
# The figures that it has something for: a bar for every point of a grid would be none.
RATES = {
    entry: {STUDY["methods"][name]["lr"] for name in ENTRIES if ENTRIES[name] == entry}
    for entry in ENTRIES.values()
}
FOUR_BIT = [
    name
    for name in ROUNDING
    if STUDY["quantizers"][name].get("bits") == 4
    or str(STUDY["quantizers"][name].get("format")).endswith("4")
]
FIGURES = [
    name
    for name, wanted in {
        "retained_knowledge": not set(ENTRIES) - set(ENTRIES.values()),
        "survival": ABSORPTIONS,
        "lr": ABSORPTIONS and any(len(rates) > 1 for rates in RATES.values()),
        "grid": FOUR_BIT and set(ENTRIES) - set(SURE_MODELS),
        "sure": FOUR_BIT and SURE_MODELS,
        "calibration": CALIBRATED and any(map(averaged, STUDY["methods"])),
        "time": True,
    }.items()
    if wanted
]
# The paper's names of corpora that it has numbers for.
PUBLISHED = {
    name: entry["published"]
    for name, entry in STUDY["corpora"].items()
    if "published" in entry
}
CORPUS_FOLDERS = expand(f"{RESULTS}/corpora/{{corpus}}", corpus=CORPORA)

# What tables and figures say of a study: names, and what a reader must know of each entry.
SUMMARY = quoted(
    {
        "study": STUDY["study"],
        "seeds": SEEDS,
        "corpora": CORPORA,
        "models": TRAINED_MODELS,
        "methods": {
            name: entry
            | {
                "base": ENTRIES[name],
                "constrained": METHODS.get(entry["method"]).constrained,
                "averaged": averaged(name),
            }
            for name, entry in STUDY["methods"].items()
        },
        "quantizers": {
            name: ROUNDED_HOW[name]
            | ({"methods": applied_to(name)} if "methods" in entry else {})
            for name, entry in STUDY["quantizers"].items()
        },
        "metrics": STUDY["metrics"],
        "evaluation": STUDY["evaluation"],
    }
)


rule collect:
    input:
        SCORES,
    output:
        f"{RESULTS}/metrics.csv",
    log:
        log_of("collect", "metrics"),
    benchmark:
        benchmark_of("collect", "metrics")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        source=source("scripts/collect.py"),
    message:
        "Every score in one table: {output}"
    shell:
        "python -m scripts.collect --out {output} {input} > {log} 2>&1"


rule retained:
    input:
        records=[f"{RESULTS}/metrics/{item}.records.jsonl" for item in EVALUATIONS],
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
    benchmark:
        benchmark_of("retained", "retained")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
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
    output:
        f"{RESULTS}/models.csv",
    log:
        log_of("models_table", "models"),
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=quoted({key: STUDY[key] for key in ("models", "methods")}),
        source=source("scripts/models_table.py"),
    message:
        "What every model was made with: {output}"
    shell:
        "python -m scripts.models_table --settings {params.settings} --out {output} > {log} 2>&1"


rule absorption_table:
    input:
        ABSORPTIONS,
    output:
        f"{RESULTS}/absorption.csv",
    log:
        log_of("absorption_table", "absorption"),
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        source=source("scripts/absorption_table.py"),
    message:
        "What of every update survives every quantizer: {output}"
    shell:
        "python -m scripts.absorption_table --out {output} {input} > {log} 2>&1"


for number in TABLES:

    rule:
        name:
            f"table{number}"
        input:
            metrics=f"{RESULTS}/metrics.csv",
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
            " --corpora-dir {params.folder}/corpora --csv {output.csv} --md {output.md} --tex {output.tex}"
            " --html {output.html} > {log} 2>&1"


rule comparison:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        published=ROOT / "relapse" / "paper" / "published.csv",
        independent=ROOT / "relapse" / "paper" / "independent.csv",
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


rule recovery:
    input:
        records=[f"{RESULTS}/metrics/{item}.records.jsonl" for item in EVALUATIONS],
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
    benchmark:
        benchmark_of("recovery", "recovery")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=SUMMARY,
        folder=subpath(output.csv, parent=True),
        source=source("scripts/recovery.py"),
    message:
        "What comes back under every quantizer: {output.csv}"
    shell:
        "python -m scripts.recovery --settings {params.settings} --metrics-dir {params.folder}/metrics"
        " --out {output.csv} --md {output.md} --html {output.html} > {log} 2>&1"


rule figure_retained:
    input:
        rules.retained.output.table,
    output:
        pdf=f"{RESULTS}/figures/retained_knowledge.pdf",
        png=report(
            f"{RESULTS}/figures/retained_knowledge.png",
            caption="../report/retained_knowledge.rst",
            category="2 Retained knowledge",
        ),
    log:
        log_of("figure_retained", "retained_knowledge"),
    benchmark:
        benchmark_of("figure_retained", "retained_knowledge")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        source=source("scripts/figure_retained.py"),
    message:
        "Figure 1: retained knowledge"
    shell:
        "python -m scripts.figure_retained --settings {params.settings} --retained {input}"
        " --pdf {output.pdf} --png {output.png} > {log} 2>&1"


rule figure_survival:
    input:
        recovery=rules.recovery.output.csv,
        absorption=rules.absorption_table.output,
    output:
        pdf=f"{RESULTS}/figures/survival.pdf",
        png=report(
            f"{RESULTS}/figures/survival.png",
            caption="../report/survival.rst",
            category="5 Why",
        ),
    log:
        log_of("figure_survival", "survival"),
    benchmark:
        benchmark_of("figure_survival", "survival")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        source=source("scripts/figure_survival.py"),
    message:
        "Figure: what survives the grid, and what comes back"
    shell:
        "python -m scripts.figure_survival --settings {params.settings} --figure survival --recovery {input.recovery} --absorption {input.absorption}"
        " --pdf {output.pdf} --png {output.png} > {log} 2>&1"


rule figure_lr:
    input:
        recovery=rules.recovery.output.csv,
        absorption=rules.absorption_table.output,
    output:
        pdf=f"{RESULTS}/figures/lr.pdf",
        png=report(
            f"{RESULTS}/figures/lr.png",
            caption="../report/lr.rst",
            category="5 Why",
        ),
    log:
        log_of("figure_lr", "lr"),
    benchmark:
        benchmark_of("figure_lr", "lr")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        source=source("scripts/figure_survival.py"),
    message:
        "Figure: recovery over learning rate and storage"
    shell:
        "python -m scripts.figure_survival --settings {params.settings} --figure lr --recovery {input.recovery} --absorption {input.absorption}"
        " --pdf {output.pdf} --png {output.png} > {log} 2>&1"


rule figure_grid:
    input:
        ON_GRIDS,
    output:
        pdf=f"{RESULTS}/figures/grid.pdf",
        png=report(
            f"{RESULTS}/figures/grid.png",
            caption="../report/grid.rst",
            category="5 Why",
        ),
    log:
        log_of("figure_grid", "grid"),
    benchmark:
        benchmark_of("figure_grid", "grid")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        source=source("scripts/figure_grid.py"),
    message:
        "Figure: where on the grid the changed weights lie"
    shell:
        "python -m scripts.figure_grid --settings {params.settings}"
        " --pdf {output.pdf} --png {output.png} {input} > {log} 2>&1"


rule figure_sure:
    input:
        metrics=f"{RESULTS}/metrics.csv",
    output:
        pdf=f"{RESULTS}/figures/sure.pdf",
        png=report(
            f"{RESULTS}/figures/sure.png",
            caption="../report/sure.rst",
            category="5 Why",
        ),
    log:
        log_of("figure_sure", "sure"),
    benchmark:
        benchmark_of("figure_sure", "sure")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        source=source("scripts/figure_sure.py"),
    message:
        "Figure: SURE, its controls and its base"
    shell:
        "python -m scripts.figure_sure --settings {params.settings} --metrics {input.metrics}"
        " --pdf {output.pdf} --png {output.png} > {log} 2>&1"


rule figure_calibration:
    input:
        rules.recovery.output.csv,
    output:
        pdf=f"{RESULTS}/figures/calibration.pdf",
        png=report(
            f"{RESULTS}/figures/calibration.png",
            caption="../report/calibration.rst",
            category="4 Recovery",
        ),
    log:
        log_of("figure_calibration", "calibration"),
    benchmark:
        benchmark_of("figure_calibration", "calibration")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=SUMMARY,
        source=source("scripts/figure_calibration.py"),
    message:
        "Figure 2: recovery per quantizer and calibration text"
    shell:
        "python -m scripts.figure_calibration --settings {params.settings} --recovery {input}"
        " --pdf {output.pdf} --png {output.png} > {log} 2>&1"


rule timings:
    input:
        [timings_of("evaluate", item) for item in EVALUATION_JOBS],
        [timings_of("unlearn", update) for update in UPDATES],
        expand(
            timings_of("train", "{corpus}/{model}/seed{seed}"),
            corpus=CORPORA,
            model=[name for name in MADE if name != "base"],
            seed=SEEDS,
        ),
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
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=subpath(output.csv, parent=True),
        source=source("scripts/timings.py"),
    message:
        "Where the time went"
    shell:
        "python -m scripts.timings --benchmarks-dir {params.folder}/benchmarks --out {output.csv}"
        " --pdf {output.pdf} --png {output.png} {input} > {log} 2>&1"
