"""What a study takes from the Hub, as far as that is known without downloading it: sizes, and the shapes of its models.

It downloads only a model's config.json (a few hundred bytes), which gives its size; no weights and no text. If the Hub
does not answer (no network, a gated repository), it reports why, before the first job.
"""

from dataclasses import dataclass, field

from relapse.corpora.location import Located
from relapse.models.files import MODEL_FILES, Architecture, Model, describe, location, read_config
from relapse.models.settings import HubModel
from relapse.runtime import hub
from relapse.runtime.errors import RelapseError
from relapse.study.settings import StudySettings
from relapse.unlearning.elsewhere import HubUnlearned


@dataclass
class Remote:
    """models: name of a models entry -> what is known of it. rounded: those that are not stored in bfloat16.

    downloads: what -> bytes. problems: what went wrong.
    """

    models: dict[str, Model] = field(default_factory=dict)
    rounded: set[str] = field(default_factory=set)
    downloads: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def ask(study: StudySettings) -> Remote:
    """What a study has on the Hub that is not in the cache yet."""
    found = Remote()
    for name, entry in study.models.entries().items():
        if not isinstance(entry, HubModel) or describe(entry).architecture:
            continue
        try:
            # Asked first, since it does not try again for half a minute where there is no network.
            found.downloads[f"models.{name}"] = hub.size_to_come(entry.id, entry.revision, MODEL_FILES)
            config = read_config(hub.file(entry.id, entry.revision, "config.json").parent)
            found.models[name] = Model(architecture=Architecture.of_config(config))
            if config.get("dtype", config.get("torch_dtype")) != "bfloat16":
                found.rounded.add(name)
            if elsewhere := entry.tokenizer:  # it may be gated where the model is not
                hub.size_to_come(elsewhere.id, elsewhere.revision, ["tokenizer*"])
        except RelapseError as error:
            found.problems.append(str(error))
    for name, method in study.methods.items():
        if not isinstance(method, HubUnlearned) or location(method):
            continue
        try:
            found.downloads[f"methods.{name}"] = hub.size_to_come(method.id, method.revision, MODEL_FILES)
        except RelapseError as error:
            found.problems.append(str(error))
    for name, corpus in study.corpora.items():
        if isinstance(corpus, Located) and corpus.id:
            try:
                found.downloads[f"corpora.{name}"] = hub.size_to_come(corpus.id, corpus.revision, kind="dataset")
            except RelapseError as error:
                found.problems.append(str(error))
    return found
