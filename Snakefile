# Does your language model truly unlearn? From base model to tables, figures and report; one file per stage in rules/.
# config.yaml is the study that runs; a study given with --configfile replaces it, and the two are never merged.


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/corpora.smk"
include: "rules/models.smk"
include: "rules/unlearn.smk"
include: "rules/quantize.smk"
include: "rules/evaluate.smk"
include: "rules/attack.smk"
include: "rules/collect.smk"
include: "rules/report.smk"
include: "rules/run.smk"


rule all:
    default_target: True
    input:
        gpu_where_needed,
        rules.collect.output,
        rules.models_table.output,
        rules.absorption_table.output if GRAPH.absorptions else [],
        rules.retained.output,
        expand(rules.table.output, number=PRODUCTS.tables),
        rules.recovery.output,
        rules.counterfactual.output if GRAPH.compared else [],
        rules.comparison.output if PRODUCTS.published else [],
        expand(rules.figure.output, figure=PRODUCTS.figures),
        rules.timings.output,
        rules.costs.output if GRAPH.runs else [],
        GRAPH.kept_checkpoints,
