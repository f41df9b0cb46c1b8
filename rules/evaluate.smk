# One process per model and quantizer: it quantizes in memory and computes every metric, since starting a process costs
# more than either.
rule evaluate:
    input:
        model=f"{RESULTS}/models/{{corpus}}/{{model}}/seed{{seed}}",
        corpus=f"{RESULTS}/corpora/{{corpus}}",
        reference=privleak_records,
    output:
        scores=f"{RESULTS}/metrics/{{corpus}}/{{model}}/seed{{seed}}/{{quantizer}}.json",
        records=f"{RESULTS}/metrics/{{corpus}}/{{model}}/seed{{seed}}/{{quantizer}}.records.jsonl",
        timings=timings_of("evaluate", "{corpus}/{model}/seed{seed}/{quantizer}"),
    log:
        log_of("evaluate", "{corpus}-{model}-{seed}-{quantizer}"),
    benchmark:
        benchmark_of("evaluate", "{corpus}/{model}/seed{seed}/{quantizer}")
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
        "python -m scripts.evaluate --model {input.model} --corpus {input.corpus} {params.reference}"
        " --quantizer {params.quantizer} --metrics {params.metrics} --evaluation {params.evaluation}"
        " --compute {params.compute} --seed {wildcards.seed} --corpus-name {wildcards.corpus}"
        " --model-name {wildcards.model} --quantizer-name {wildcards.quantizer}"
        " --out {output.scores} --records {output.records} --timings {output.timings} > {log} 2>&1"
