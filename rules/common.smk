# The study, and what every rule shares. Which models, jobs, tables and figures there are, and what each job is given, is
# relapse/study/'s. A rule looks an entry up by a wildcard in a lambda; what takes more is a method that it names.
import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from relapse.runtime.code_digest import digest
from relapse.runtime.errors import RelapseError
from relapse.study.config import quoted, read_for_snakemake
from relapse.study.graph import ENVIRONMENTS, Graph, name_at, one_of
from relapse.study.products import Products
from relapse.study.resources import growing, weights
from relapse.study.scoring import Attacked, Quantized

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config.yaml")


FILES = workflow.overwrite_configfiles or [ROOT / "config.yaml"]
try:
    GRAPH = Graph(*read_for_snakemake(config, FILES, sys.argv))
except RelapseError as error:
    raise WorkflowError(str(error)) from None
PRODUCTS, ATTACKED = Products(GRAPH), Attacked(GRAPH)
STUDY, RESULTS = GRAPH.study, GRAPH.results
log_of, benchmark_of = GRAPH.log, GRAPH.benchmark
# Digest of some source files and of all that they import: a parameter that changes when their code does.
source = partial(digest, ROOT)
# The report's captions read it: with its defaults.
config.clear()
config.update(STUDY.plain())

if any(Path(".snakemake/locks").glob("*")) and workflow.is_main_process:
    logger.warning(
        "Locked by another run, or by one that was killed. If none is running: make unlock, and run again."
    )


wildcard_constraints:
    corpus=one_of(GRAPH.corpora),
    model=one_of(GRAPH.models),
    method=one_of(GRAPH.methods),
    quantizer=one_of(GRAPH.quantizers),
    attack=one_of(GRAPH.attacks),
    figure=one_of(PRODUCTS.figures),
    number=r"[123]",
    seed=r"\d+",


# What a job that trains or runs a model asks for. profiles/default caps it on one machine; a cluster's scheduler does so.
GPU = int(STUDY.gpu)


resource_scopes:
    gpu="local",
