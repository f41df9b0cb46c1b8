# Figures. They run where Snakemake runs, as in collect.smk.
localrules:
    figure_retained,
    figure_survival,
    figure_lr,
    figure_grid,
    figure_sure,
    figure_calibration,
    timings,


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
