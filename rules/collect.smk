# Scores and updates of a whole study in one place: metrics.csv and what is computed from it. None of these jobs imports
# torch. On a cluster they run where Snakemake runs: they take
# seconds, less than their way through a queue.
localrules:
    collect,
    retained,
    models_table,
    absorption_table,
    recovery,


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
    input:
        [f"{RESULTS}/models/{update}" for update in UPDATES],
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
        settings=quoted(
            {"models": STUDY["models"], "methods": MADE_HOW}
            | {"corpora": CORPORA, "seeds": SEEDS}
        ),
        folder=subpath(output[0], parent=True),
        source=source("scripts/models_table.py"),
    message:
        "What every model was made with, and how its unlearning ended: {output}"
    shell:
        "python -m scripts.models_table --settings {params.settings} --models-dir {params.folder}/models --out {output}"
        " > {log} 2>&1"


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
        predictions=branch("predictions"),
        folder=subpath(output.csv, parent=True),
        source=source("scripts/recovery.py"),
    message:
        "What comes back under every quantizer: {output.csv}"
    shell:
        "python -m scripts.recovery --settings {params.settings} --predictions {params.predictions}"
        " --metrics-dir {params.folder}/metrics --out {output.csv} --md {output.md} --html {output.html} > {log} 2>&1"
