"""What metrics ask of the models: wordings that a tokenizer or a corpus cannot have, and prompts longer than a context.

Checked before anything runs; a plan counts the same prompts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from relapse.corpora.corpus import Corpus
from relapse.metrics import fluency, knowmem, verbmem
from relapse.models.files import Model
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Settings
from relapse.study.messages import Problem
from relapse.study.settings import StudySettings
from relapse.study.sound import Sound
from relapse.text.wording import CHAT, Asked, Render, WordingSettings
from relapse.training.settings import TrainedModel


def started_from(study: StudySettings, name: str) -> str:
    """The models entry that decides shapes and context of `name`: itself, or base where it is trained here."""
    return "base" if isinstance(study.models.entries().get(name), TrainedModel) else name


def problems(
    study: StudySettings, sound: Sound, models: Mapping[str, Model], corpora: Mapping[str, Corpus]
) -> Iterator[Problem]:
    """What is wrong with sound metrics; once for a metric and a corpus."""
    metrics = {name: entry for name, entry in study.metrics.items() if sound("metrics", name)}
    for name, entry in metrics.items():
        if isinstance(entry, WordingSettings) and entry.system_prompt and entry.prompt != CHAT:
            yield ("metrics", name, "system_prompt"), "must be left out without prompt: chat."
    origins = {started_from(study, name) for name in study.models.entries() if name != "base"}
    readable = [name for name in sorted(origins & set(models)) if models[name].tokenizer is not None]
    for corpus_name, corpus in corpora.items() if readable else ():
        tokenizers = {name: make(corpus) for name in readable if (make := models[name].tokenizer)}
        for metric, entry in metrics.items():
            for name, tokenizer in tokenizers.items():
                where = f"corpora.{corpus_name}, models.{name}"
                try:
                    given = metric_prompts(corpus, {metric: entry}, models[name].render).get(metric)
                except RelapseError as error:
                    yield ("metrics", metric), f"{where}: {str(error).removeprefix(f'{metric}: ')}."
                    break
                text = _too_long(given, entry, tokenizer, models[name].context, corpus_name, name) if given else ""
                if text:
                    yield ("metrics", metric), text
                    break


def _too_long(given: Asked, entry: Settings, tokenizer: Any, context: int | None, corpus: str, model: str) -> str:
    """How far the longest prompt with its answer overruns a context; '' where it does not."""
    new = getattr(entry, "max_new_tokens", 0)
    longest = longest_prompt(tokenizer, given, entry)
    if not context or longest + new <= context:
        return ""
    return (
        f"the longest prompt of corpora.{corpus} ({longest} tokens) and {new} new tokens need "
        f"{longest + new} positions, but the context of models.{model} (max_position_embeddings) is "
        f"{context}: use a model with a longer context, or shorter examples."
    )


def metric_prompts(corpus: Corpus, metrics: Mapping[str, Settings], render: Render) -> dict[str, Asked]:
    """Generating metric of `metrics` (name -> its settings) -> its prompts; fluency's are the beginnings of these.

    render: the chat template of the model that is asked.
    """
    found: dict[str, Asked] = {}
    for name, entry in metrics.items():
        if isinstance(entry, knowmem.KnowMemSettings):
            found[name] = knowmem.asked(corpus.knowmem, name.removeprefix("knowmem_"), entry, render)
        elif isinstance(entry, verbmem.SampledVerbMem):
            found[name] = verbmem.asked(corpus.verbmem, entry, name, render)
        elif isinstance(entry, fluency.FluencySettings):
            found[name] = Asked(fluency.continued(corpus, entry), ())
    return found


def longest_prompt(tokenizer: Any, given: Asked, settings: Settings) -> int:
    """Tokens of the longest of a metric's prompts, which its settings may cut behind `prompt_tokens` and a BOS."""
    special = given.special_tokens
    longest = max(len(tokenizer.encode(text, add_special_tokens=special).ids) for text in given.prompts)
    most = None if getattr(settings, "instructions", None) else getattr(settings, "prompt_tokens", None)
    return longest if most is None else min(longest, most + 1)
