"""A study as one object: a study file with every default.

The entries' classes stand next to what they configure; which class an entry has, its registry knows.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny
from pydantic.json_schema import SkipJsonSchema

from relapse.attacks import ATTACKS, AttackSettings
from relapse.corpora import SOURCES
from relapse.corpora.settings import CorpusSettings
from relapse.evaluation.settings import Evaluation
from relapse.metrics import METRICS
from relapse.models.settings import MADE_ELSEWHERE, HubModel, LocalModel, PackageModel, RandomModel
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.registry import Registry
from relapse.runtime.settings import UNIQUE, Compute, Settings, Whole
from relapse.training.settings import TrainedModel
from relapse.unlearning import elsewhere
from relapse.unlearning.elsewhere import MadeElsewhere
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings

PATTERN = "^[a-z0-9][a-z0-9._-]*$"
ALLOWED = "lower-case letters, digits, dots, dashes and underscores, a letter or digit first"

BaseModel = Annotated[RandomModel | LocalModel | HubModel | PackageModel, Field(discriminator="source")]
GivenModel = Annotated[TrainedModel | LocalModel | HubModel | PackageModel, Field(discriminator="source")]
# section -> what its entries name
REGISTRIES: dict[str, Registry] = {
    "corpora": SOURCES,
    "methods": METHODS,
    "quantizers": BACKENDS,
    "attacks": ATTACKS,
    "metrics": METRICS,
}
# source -> the class of a models entry
MODELS: dict[str, type[Settings]] = {"random": RandomModel, "train": TrainedModel, **MADE_ELSEWHERE}


def names(*taken: str) -> dict[str, Any]:
    """The schema of a mapping's keys: names without those that are taken."""
    schema: dict[str, Any] = {"type": "string", "pattern": PATTERN, "description": ALLOWED}
    if taken:
        schema |= {"not": {"enum": list(taken)}, "description": f"{ALLOWED}; taken: {', '.join(taken)}"}
    return schema


def registered(registry: Registry) -> Callable[[Any], Any]:
    """Turns a section's entries into objects of the classes of what they name."""

    def objects(entries: Any) -> Any:
        if not isinstance(entries, Mapping):
            return entries
        return {name: entry if isinstance(entry, Settings) else of(name, entry) for name, entry in entries.items()}

    def of(name: str, entry: Mapping[str, Any]) -> Settings:
        if registry is METHODS:
            return elsewhere.settings_of(entry)
        return registry.settings(entry, None if registry.named_by else name)

    return objects


class Models(Settings):
    """The models before unlearning."""

    base: BaseModel | None = Field(
        None,
        description="The model that target and retrain are trained from. Leave it out if neither is trained here.",
    )
    target: GivenModel = Field(
        description="The model trained on the text to forget and the text to keep. The methods unlearn from it."
    )
    retrain: GivenModel | None = Field(
        None,
        description="The model trained without the text to forget. Leave it out if metrics.privleak.reference is a "
        "number.",
    )

    def entries(self) -> dict[str, BaseModel | GivenModel]:
        """Those that there are, by name."""
        return {name: entry for name, entry in self if entry is not None}


class Prediction(Settings):
    """A model under a quantizer, and what is expected of it, in every corpus."""

    model: str = Field(
        description="Name of an entry of methods; for an entry with a grid, the name of one of its models, such as "
        "npo_klr-lr5e-05-float32."
    )
    quantizer: str = Field(description="A quantizer's name, or an attack's; not full.")
    metric: Literal["knowledge", "verbmem_forget", "knowmem_forget"] = Field(
        "knowledge", description="knowledge: VerMem and KnowMem on forget together."
    )
    expected: Literal["recovered", "not detected", "equivalent"] = Field(
        description="The verdict that is expected, or that the score is equivalent to full precision."
    )


class StudySettings(Settings):
    """Corpora, models, unlearning methods, quantizers and metrics of one study. The file is complete in itself."""

    study: str = Field(
        "default",
        pattern=PATTERN,
        title="text of lower-case letters, digits, dots, dashes and underscores",
        description="Name of the study: results go to results/{study}/. Lower-case letters, digits, dot, dash, "
        "underscore.",
    )
    seeds: Annotated[list[Whole], Field(min_length=1, json_schema_extra=UNIQUE)] = Field(
        [0],
        description="Seed s trains target and retrain and unlearns from the target of seed s. Scores are averaged over "
        "seeds.",
    )
    compute: Compute = Field(
        "float32",
        description="Number format of activations and gradients. Weights on disk are bfloat16 in both cases.",
    )
    gpu: bool = Field(
        False,
        description="Whether the jobs that train or run a model need a GPU. true: each requests one on a cluster; on a "
        "workstation they run one after the other; without a GPU the run ends with an error. false: they request none, "
        "and use a GPU if there is one.",
    )
    corpora: Annotated[dict[str, SerializeAsAny[CorpusSettings]], BeforeValidator(registered(SOURCES))] = Field(
        min_length=1,
        json_schema_extra={"propertyNames": names("all")},
        description="name -> text to forget, to keep, and to ask about. The study runs everything below for every "
        "corpus.",
    )
    models: Models = Field(description="The models before unlearning.")
    methods: Annotated[
        dict[str, SerializeAsAny[MethodSettings | SkipJsonSchema[MadeElsewhere]]], BeforeValidator(registered(METHODS))
    ] = Field(
        min_length=1,
        json_schema_extra={"propertyNames": names("base", "target", "retrain", "average")},
        description="name -> an unlearning run from the target. Several entries may use one method with different "
        "settings.",
    )
    quantizers: Annotated[dict[str, SerializeAsAny[QuantizerSettings]], BeforeValidator(registered(BACKENDS))] = Field(
        json_schema_extra={"required": ["full"], "propertyNames": names()},
        description="name -> how weights are stored. The others are compared with `full`, full precision.",
    )
    attacks: Annotated[dict[str, SerializeAsAny[AttackSettings]], BeforeValidator(registered(ATTACKS))] = Field(
        {},
        json_schema_extra={"propertyNames": names()},
        description="name -> another way to bring knowledge back, or to find out whether it is there. Scored like a "
        "quantizer, so no name may be a quantizer's. recovery.csv has both.",
    )
    metrics: Annotated[dict[str, SerializeAsAny[Settings]], BeforeValidator(registered(METRICS))] = Field(
        json_schema_extra={"required": ["verbmem_forget", "knowmem_forget"]},
        description="Registered metric -> its settings ({} for the defaults). The headline, retained knowledge, is "
        "computed from verbmem_forget and knowmem_forget.",
    )
    evaluation: Evaluation = Field(Evaluation(), description="How models are scored.")
    predictions: list[Prediction] = Field(
        [],
        description="Expected rows of recovery.csv, written down before the run. They are the primary family: their p "
        "values are corrected among themselves. About six; all other rows are exploratory.",
    )

    def runs(self) -> dict[str, MethodSettings]:
        """The methods that this study runs by itself, by name: without the models that were made elsewhere."""
        return {name: entry for name, entry in self.methods.items() if isinstance(entry, MethodSettings)}
