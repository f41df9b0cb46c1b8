# One process per model and quantizer: it quantizes in memory and computes every metric, since starting a process costs
# more than either.
MEASURED_REFERENCE = STUDY["metrics"].get("privleak", {}).get("reference") == "retrain"


def is_reference(wildcards):
    """Whether this is the model that PrivLeak measures every other one against."""
    return (wildcards.model, wildcards.quantizer) == ("retrain", "full")


def privleak_records(wildcards):
    """Records of the same seed's retrain model in full precision, where PrivLeak needs them."""
    if not MEASURED_REFERENCE or is_reference(wildcards):
        return []
    return f"{RESULTS}/metrics/{wildcards.corpus}/retrain/seed{wildcards.seed}/full.records.jsonl"


def privleak_option(wildcards, input):
    if not MEASURED_REFERENCE:
        return ""
    return "--reference " + ("self" if is_reference(wildcards) else input.reference)


rule evaluate:
    input:
        model=f"{RESULTS}/models/{{corpus}}/{{model}}/seed{{seed}}",
        corpus=f"{RESULTS}/corpora/{{corpus}}",
        reference=privleak_records,
    output:
        scores=f"{RESULTS}/metrics/{{corpus}}/{{model}}/seed{{seed}}/{{quantizer}}.json",
        records=f"{RESULTS}/metrics/{{corpus}}/{{model}}/seed{{seed}}/{{quantizer}}.records.jsonl",
        timings=timings_of("evaluate", "{corpus}-{model}-{seed}-{quantizer}"),
    log:
        log_of("evaluate", "{corpus}-{model}-{seed}-{quantizer}"),
    benchmark:
        benchmark_of("evaluate", "{corpus}-{model}-{seed}-{quantizer}")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        quantizer=lambda wildcards: branch("quantizers", wildcards.quantizer),
        metrics=branch("metrics"),
        evaluation=branch("evaluation"),
        compute=STUDY["compute"],
        reference=privleak_option,
        source=lambda wildcards: source(
            "scripts/evaluate.py",
            BACKENDS.source(STUDY["quantizers"][wildcards.quantizer]["backend"]),
            *sorted(METRICS.source(metric) for metric in STUDY["metrics"]),
        ),
    message:
        "Score {wildcards.model} under {wildcards.quantizer} on {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "{PYTHON} -m scripts.evaluate --model {input.model} --corpus {input.corpus} {params.reference}"
        " --quantizer {params.quantizer} --metrics {params.metrics} --evaluation {params.evaluation}"
        " --compute {params.compute} --seed {wildcards.seed} --corpus-name {wildcards.corpus}"
        " --model-name {wildcards.model} --quantizer-name {wildcards.quantizer}"
        " --out {output.scores} --records {output.records} --timings {output.timings} > {log} 2>&1"
