# Downloads the data of lm-evaluation-harness's tasks into the cache (HF_HOME), before any job scores. It runs where Snakemake
# runs, also on a cluster, since many clusters' nodes cannot reach the Hub. It runs first, so that a missing task ends the run
# at its beginning. The second load reads only the cache, as scoring does: so every job sees the same data.
rule fetch_tasks:
    input:
        GRAPH.task_files,
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
    params:
        metrics=quoted(GRAPH.harness),
        source=source("scripts/fetch_tasks.py", "relapse/metrics/utility.py"),
    message:
        "Data of lm-evaluation-harness's tasks"
    shell:
        "python -m scripts.fetch_tasks --metrics {params.metrics} --out {output} > {log} 2>&1;"
        " HF_HUB_OFFLINE=1 python -m scripts.fetch_tasks --metrics {params.metrics} --out {output} >> {log} 2>&1"


# One process scores a model under one quantizer and computes every metric. It quantizes in memory, or loads the checkpoint
# that a calibrated quantizer has written. With evaluation.quantizers_per_job, further rules score a model under several.
for rule_name, listed in GRAPH.evaluation_rules.items():
    JOBS = Quantized(GRAPH, rule_name)

    rule:
        name:
            rule_name
        input:
            model=JOBS.model,
            corpus=f"{RESULTS}/corpora/{{corpus}}",
            reference=JOBS.reference,
            target=JOBS.target,
            tasks=GRAPH.task_files,
            fetched=rules.fetch_tasks.output if GRAPH.harness else [],
            environment=JOBS.environment,
        output:
            scores=JOBS.scores("json"),
            records=JOBS.scores("records.jsonl"),
            timings=benchmark_of(
                "evaluate", f"{{corpus}}/{{model}}/seed{{seed}}/{JOBS.label}", "json"
            ),
        log:
            log_of("evaluate", f"{{corpus}}-{{model}}-{{seed}}-{JOBS.label}"),
        benchmark:
            benchmark_of("evaluate", f"{{corpus}}/{{model}}/seed{{seed}}/{JOBS.label}")
        conda:
            "../envs/conda.yaml"
        resources:
            mem_mb=weights(4),
            runtime=growing(120 * len(listed)),
            gpu=GPU,
        params:
            python=JOBS.python,
            names=JOBS.names,
            quantizers=JOBS.quantizers,
            metrics=quoted(STUDY.metrics),
            evaluation=quoted(GRAPH.evaluation_settings),
            compute=STUDY.compute,
            reference=JOBS.reference_option,
            target=JOBS.target_option,
            source=JOBS.source,
        message:
            "Score {wildcards.model} under {params.names} on {wildcards.corpus}, seed {wildcards.seed}"
        shell:
            "{params.python} -m scripts.evaluate --checked --model {input.model} --corpus {input.corpus} {params.reference}"
            " {params.target} --quantizer {params.quantizers} --metrics {params.metrics} --evaluation {params.evaluation}"
            " --compute {params.compute} --seed {wildcards.seed} --corpus-name {wildcards.corpus}"
            " --model-name {wildcards.model} --quantizer-name {params.names}"
            " --out {output.scores} --records {output.records} --timings {output.timings} > {log} 2>&1"


rule absorption:
    input:
        target=GRAPH.model("target"),
        model=GRAPH.model("{method}"),
    output:
        [
            f"{RESULTS}/absorption/{{corpus}}/{{method}}/seed{{seed}}/{name}.json"
            for name in GRAPH.rounding
        ],
    log:
        log_of("absorption", "{corpus}-{method}-{seed}"),
    benchmark:
        benchmark_of("absorption", "{corpus}/{method}/seed{seed}")
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=weights(1),
        # A 7B model's weights take half an hour and more for each.
        runtime=growing(60 * max(1, len(GRAPH.rounding))),
    params:
        settings=lambda wildcards: quoted(GRAPH.made_how[wildcards.method]),
        names=GRAPH.rounding,
        quantizers=[quoted(GRAPH.rounded_how[name]) for name in GRAPH.rounding],
        source=source("scripts/absorption.py", *GRAPH.backend_sources(GRAPH.rounding)),
    message:
        "Absorption of {wildcards.method} under each quantizer, {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "python -m scripts.absorption --settings {params.settings} --target {input.target} --model {input.model}"
        " --corpus-name {wildcards.corpus} --model-name {wildcards.method} --seed {wildcards.seed}"
        " --quantizer {params.quantizers} --quantizer-name {params.names} --out {output} > {log} 2>&1"


# Compares a calibrated quantizer's checkpoints of a method and of its target, both scaled back to the models' own scale.
rule absorption_calibrated:
    input:
        target=GRAPH.model("target"),
        model=GRAPH.model("{method}"),
        target_checkpoint=f"{RESULTS}/quantized/{{corpus}}/target/seed{{seed}}/{{quantizer}}",
        checkpoint=f"{RESULTS}/quantized/{{corpus}}/{{method}}/seed{{seed}}/{{quantizer}}",
    output:
        f"{RESULTS}/absorption/{{corpus}}/{{method}}/seed{{seed}}/{{quantizer,{one_of(GRAPH.calibrated)}}}.json",
    log:
        log_of("absorption", "{corpus}-{method}-{seed}-{quantizer}"),
    benchmark:
        benchmark_of("absorption", "{corpus}/{method}/seed{seed}/{quantizer}")
    conda:
        "../envs/conda.yaml"
    resources:
        # Two models in float32, and a third while it is read.
        mem_mb=weights(3),
        runtime=growing(60),
    params:
        settings=lambda wildcards: quoted(GRAPH.made_how[wildcards.method]),
        quantizer=lambda wildcards: quoted(GRAPH.rounded_how[wildcards.quantizer]),
        source=lambda wildcards: source(
            "scripts/absorption.py",
            "scripts/quantize.py",
            *GRAPH.backend_sources([wildcards.quantizer]),
        ),
    message:
        "Absorption of {wildcards.method} under {wildcards.quantizer}, {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "python -m scripts.absorption --settings {params.settings} --target {input.target} --model {input.model}"
        " --target-checkpoint {input.target_checkpoint} --checkpoint {input.checkpoint}"
        " --corpus-name {wildcards.corpus} --model-name {wildcards.method} --seed {wildcards.seed}"
        " --quantizer {params.quantizer} --quantizer-name {wildcards.quantizer} --out {output} > {log} 2>&1"
