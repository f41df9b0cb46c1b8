# One process attacks a model and scores it, like rules/evaluate.smk under a quantizer. An attack changes the loaded model,
# or how answers are drawn.
rule attack:
    input:
        model=GRAPH.model("{model}"),
        corpus=f"{RESULTS}/corpora/{{corpus}}",
        target=ATTACKED.target,
        reference=ATTACKED.reference,
        tasks=GRAPH.task_files,
        fetched=rules.fetch_tasks.output if GRAPH.harness else [],
    output:
        scores=f"{RESULTS}/metrics/{{corpus}}/{{model}}/seed{{seed}}/{{attack}}.json",
        records=f"{RESULTS}/metrics/{{corpus}}/{{model}}/seed{{seed}}/{{attack}}.records.jsonl",
        timings=benchmark_of("attack", "{corpus}/{model}/seed{seed}/{attack}", "json"),
    log:
        log_of("attack", "{corpus}-{model}-{seed}-{attack}"),
    benchmark:
        benchmark_of("attack", "{corpus}/{model}/seed{seed}/{attack}")
    conda:
        "../envs/conda.yaml"
    resources:
        mem_mb=weights(12),
        runtime=growing(120),
        gpu=GPU,
    params:
        offline=ATTACKED.offline,
        options=ATTACKED.options,
        metrics=quoted(STUDY.metrics),
        evaluation=quoted(GRAPH.evaluation_settings),
        compute=STUDY.compute,
        reference=ATTACKED.reference_option,
        source=ATTACKED.source,
    message:
        "Attack {wildcards.model} with {wildcards.attack} on {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "{params.offline}python -m scripts.evaluate --checked --model {input.model} --corpus {input.corpus}"
        " {params.reference} {params.options} --metrics {params.metrics} --evaluation {params.evaluation}"
        " --compute {params.compute} --seed {wildcards.seed} --corpus-name {wildcards.corpus}"
        " --model-name {wildcards.model} --quantizer-name {wildcards.attack}"
        " --out {output.scores} --records {output.records} --timings {output.timings} > {log} 2>&1"
