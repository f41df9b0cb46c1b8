# What lm-evaluation-harness's tasks ask, into the cache (HF_HOME) before any job scores: where Snakemake runs, also on a
# cluster, since the nodes of many have no way to the Hub. First of all, so that a task that cannot be had ends the run at
# its beginning. The second time it is loaded as scoring does, from the cache alone: every job sees the same data.
rule fetch_tasks:
    input:
        task_files(),
    output:
        f"{RESULTS}/tasks.txt",
    log:
        log_of("fetch_tasks", "tasks"),
    benchmark:
        benchmark_of("fetch_tasks", "tasks")
    priority: 200
    localrule: True
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        metrics=quoted(HARNESS),
        source=source("scripts/fetch_tasks.py", "relapse/metrics/utility.py"),
    message:
        "Data of lm-evaluation-harness's tasks"
    shell:
        "python -m scripts.fetch_tasks --metrics {params.metrics} --out {output} > {log} 2>&1;"
        " HF_HUB_OFFLINE=1 python -m scripts.fetch_tasks --metrics {params.metrics} --out {output} >> {log} 2>&1"


# One process per model scores it under one quantizer, or under as many as evaluation.quantizers_per_job says: it
# quantizes in memory and computes every metric, since starting a process costs more than either. A calibrated quantizer
# has written a checkpoint, which is scored as it is.
for label, batch in BATCHES.items():

    rule:
        name:
            f"evaluate_{label}"
        input:
            model=scored(batch),
            corpus=f"{RESULTS}/corpora/{{corpus}}",
            reference=privleak_records(batch),
            tasks=task_files(),
            fetched=rules.fetch_tasks.output if HARNESS else [],
            environment=built_environment(batch[0], "evaluation_environment"),
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
            # A packed checkpoint is unpacked.
            mem_mb=memory(12 if batch[0] in CALIBRATED else 2 if GPU else 4),
            runtime=growing(120 * len(batch)),
            gpu=GPU,
        params:
            python=("HF_HUB_OFFLINE=1 " if HARNESS else "")
            + python_of(batch[0], "evaluation_environment"),
            names=batch,
            quantizers=[quoted(ROUNDED_HOW[name]) for name in batch],
            metrics=branch("metrics"),
            evaluation=quoted(HOW_EVALUATED),
            compute=STUDY["compute"],
            reference=privleak_option(batch),
            source=source(
                "scripts/evaluate.py",
                *sorted({BACKENDS.source(BACKEND_OF[name].name) for name in batch}),
                *(["scripts/quantize.py"] if batch[0] in CALIBRATED else []),
                *sorted(METRICS.source(metric) for metric in STUDY["metrics"]),
            ),
        message:
            "Score {wildcards.model} under {params.names} on {wildcards.corpus}, seed {wildcards.seed}"
        shell:
            "{params.python} -m scripts.evaluate --checked --model {input.model} --corpus {input.corpus} {params.reference}"
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
        mem_mb=memory(1),
        # A 7B model's weights take half an hour and more for each.
        runtime=growing(60 * max(1, len(ROUNDING))),
    params:
        settings=lambda wildcards: quoted(MADE_HOW[wildcards.method]),
        names=ROUNDING,
        quantizers=[quoted(ROUNDED_HOW[name]) for name in ROUNDING],
        source=source(
            "scripts/absorption.py",
            *sorted({BACKENDS.source(BACKEND_OF[name].name) for name in ROUNDING}),
        ),
    message:
        "What of {wildcards.method}'s update survives each quantizer, {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "python -m scripts.absorption --settings {params.settings} --target {input.target} --model {input.model}"
        " --corpus-name {wildcards.corpus} --model-name {wildcards.method} --seed {wildcards.seed}"
        " --quantizer {params.quantizers} --quantizer-name {params.names} --out {output} > {log} 2>&1"


# A calibrated quantizer's checkpoints of a method and of its target, both folded back to the models' own scale.
rule absorption_calibrated:
    input:
        target=f"{RESULTS}/models/{{corpus}}/target/seed{{seed}}",
        model=f"{RESULTS}/models/{{corpus}}/{{method}}/seed{{seed}}",
        target_checkpoint=f"{RESULTS}/quantized/{{corpus}}/target/seed{{seed}}/{{quantizer}}",
        checkpoint=f"{RESULTS}/quantized/{{corpus}}/{{method}}/seed{{seed}}/{{quantizer}}",
    output:
        f"{RESULTS}/absorption/{{corpus}}/{{method}}/seed{{seed}}/{{quantizer,{one_of(CALIBRATED)}}}.json",
    log:
        log_of("absorption", "{corpus}-{method}-{seed}-{quantizer}"),
    benchmark:
        benchmark_of("absorption", "{corpus}/{method}/seed{seed}/{quantizer}")
    conda:
        "../envs/conda.yaml"
    threads: 1
    resources:
        # Two models in float32, and a third while it is read.
        mem_mb=memory(3),
        runtime=growing(60),
    params:
        settings=lambda wildcards: quoted(MADE_HOW[wildcards.method]),
        quantizer=lambda wildcards: quoted(ROUNDED_HOW[wildcards.quantizer]),
        source=lambda wildcards: source(
            "scripts/absorption.py",
            "scripts/quantize.py",
            BACKENDS.source(BACKEND_OF[wildcards.quantizer].name),
        ),
    message:
        "What of {wildcards.method}'s update survives {wildcards.quantizer}, {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "python -m scripts.absorption --settings {params.settings} --target {input.target} --model {input.model}"
        " --target-checkpoint {input.target_checkpoint} --checkpoint {input.checkpoint}"
        " --corpus-name {wildcards.corpus} --model-name {wildcards.method} --seed {wildcards.seed}"
        " --quantizer {params.quantizer} --quantizer-name {wildcards.quantizer} --out {output} > {log} 2>&1"
