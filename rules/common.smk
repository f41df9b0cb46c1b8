# The study, and what all rules share. relapse/study/ decides which models, jobs, tables and figures there are, and which
# options each job gets. A lambda in a rule only looks up an entry by a wildcard; anything longer is a method there.
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
# A digest of source files and of everything that they import. As a parameter of a rule, it reruns jobs when code changes.
source = partial(digest, ROOT)
# The report's captions read this config, which includes all defaults.
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


# GPUs that a job requests if it trains or runs a model. profiles/default limits them on one machine, a scheduler on clusters.
GPU = int(STUDY.gpu)


resource_scopes:
    gpu="local",
