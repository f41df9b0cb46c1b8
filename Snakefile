# Does your language model truly unlearn? From base model to tables, figures and report; one file per stage in rules/.
# config.yaml says what to run; a study given with --configfile replaces it, they are never merged.


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/corpora.smk"
include: "rules/models.smk"
include: "rules/unlearn.smk"
include: "rules/quantize.smk"
include: "rules/evaluate.smk"
include: "rules/paper.smk"
include: "rules/cluster.smk"


rule all:
    default_target: True
    input:
        gpu_where_needed,
        f"{RESULTS}/metrics.csv",
        rules.models_table.output,
        rules.absorption_table.output if ABSORPTIONS else [],
        rules.retained.output,
        [
            f"{RESULTS}/tables/table{number}.{kind}"
            for number in TABLES
            for kind in ("csv", "md", "tex", "html")
        ],
        rules.recovery.output,
        rules.comparison.output if PUBLISHED else [],
        [
            f"{RESULTS}/figures/{name}.{kind}"
            for name in FIGURES
            for kind in ("pdf", "png")
        ],
        rules.timings.output,
        [
            files
            for name, files in CHECKPOINTS.items()
            if STUDY["quantizers"][name]["keep"]
        ],
