# One process per model scores it under one quantizer, or under as many as evaluation.quantizers_per_job says: it
# quantizes in memory and computes every metric, since starting a process costs more than either.
for label, batch in BATCHES.items():

    rule:
        name:
            f"evaluate_{label}"
        input:
            model=f"{RESULTS}/models/{{corpus}}/{{model}}/seed{{seed}}",
            corpus=f"{RESULTS}/corpora/{{corpus}}",
            reference=privleak_records(batch),
        output:
            scores=expand(
                f"{RESULTS}/metrics/{{{{corpus}}}}/{{{{model}}}}/seed{{{{seed}}}}/{{quantizer}}.json",
                quantizer=batch,
            ),
            records=expand(
                f"{RESULTS}/metrics/{{{{corpus}}}}/{{{{model}}}}/seed{{{{seed}}}}/{{quantizer}}.records.jsonl",
                quantizer=batch,
            ),
            timings=timings_of("evaluate", f"{{corpus}}/{{model}}/seed{{seed}}/{label}"),
        log:
            log_of("evaluate", f"{{corpus}}-{{model}}-{{seed}}-{label}"),
        benchmark:
            benchmark_of("evaluate", f"{{corpus}}/{{model}}/seed{{seed}}/{label}")
        conda:
            "../envs/conda.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=120 * len(batch),
        params:
            names=batch,
            quantizers=[branch("quantizers", name) for name in batch],
            metrics=branch("metrics"),
            evaluation=quoted(HOW_EVALUATED),
            compute=STUDY["compute"],
            reference=privleak_option(batch),
            source=source(
                "scripts/evaluate.py",
                *sorted(
                    {
                        BACKENDS.source(STUDY["quantizers"][name]["backend"])
                        for name in batch
                    }
                ),
                *sorted(METRICS.source(metric) for metric in STUDY["metrics"]),
            ),
        message:
            "Score {wildcards.model} under {params.names} on {wildcards.corpus}, seed {wildcards.seed}"
        shell:
            "python -m scripts.evaluate --model {input.model} --corpus {input.corpus} {params.reference}"
            " --quantizer {params.quantizers} --metrics {params.metrics} --evaluation {params.evaluation}"
            " --compute {params.compute} --seed {wildcards.seed} --corpus-name {wildcards.corpus}"
            " --model-name {wildcards.model} --quantizer-name {params.names}"
            " --out {output.scores} --records {output.records} --timings {output.timings} > {log} 2>&1"


rule absorption:
    input:
        target=f"{RESULTS}/models/{{corpus}}/target/seed{{seed}}",
        model=f"{RESULTS}/models/{{corpus}}/{{method}}/seed{{seed}}",
    output:
        [
            f"{RESULTS}/absorption/{{corpus}}/{{method}}/seed{{seed}}/{name}.json"
            for name in ROUNDING
        ],
    log:
        log_of("absorption", "{corpus}-{method}-{seed}"),
    benchmark:
        benchmark_of("absorption", "{corpus}/{method}/seed{seed}")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wildcards: branch("methods", wildcards.method),
        names=ROUNDING,
        quantizers=[branch("quantizers", name) for name in ROUNDING],
        source=source(
            "scripts/absorption.py",
            *sorted(
                {
                    BACKENDS.source(STUDY["quantizers"][name]["backend"])
                    for name in ROUNDING
                }
            ),
        ),
    message:
        "What of {wildcards.method}'s update survives each quantizer, {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "python -m scripts.absorption --settings {params.settings} --target {input.target} --model {input.model}"
        " --corpus-name {wildcards.corpus} --model-name {wildcards.method} --seed {wildcards.seed}"
        " --quantizer {params.quantizers} --quantizer-name {params.names} --out {output} > {log} 2>&1"
