"""The paper's Gen, Tru and Fac through lm-evaluation-harness: MMLU, TruthfulQA MC2 and TriviaQA.

Knows how a loaded model is handed to the harness and how its samples become records; prompts, few-shot examples and
what counts as right are the tasks'. The paper asks subsets of its own (RWKU's), and scores TriviaQA by F1, so that its
numbers are not these. Importing the harness and indexing its tasks takes 5 to 8 seconds: only who asks for one pays.
"""

import copy
import math
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, create_model

from relapse.metrics import METRICS, Evaluated, Score
from relapse.metrics.bootstrap import mean_score
from relapse.runtime.batching import attempt
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import did_you_mean
from relapse.runtime.settings import UNIQUE, Settings, Text, Whole

FEWSHOT_SEED = 1234  # the harness's own, which its published scores use


@cache
def _task_manager(include_path: str):
    """The index of the harness's tasks and of those in a folder; building it takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path or None)


Tasks = Annotated[list[Text], Field(min_length=1, json_schema_extra=UNIQUE)]
TASKS = "Tasks or groups of lm-evaluation-harness, or of include_path"
MEASURE = "The task's measure of an example (0 to 1) that is the score"


class HarnessSettings(Settings):
    """What is asked of lm-evaluation-harness; each metric has tasks and a measure by default."""

    tasks: Tasks = Field(description=TASKS)
    include_path: str = Field(
        "", description="Folder with task files (.yaml) of your own, whose names go before the harness's."
    )
    num_fewshot: Literal["task"] | Whole = Field(
        "task", description="Examples before a question; task: as many as its file asks for, or none."
    )
    limit: Whole = Field(0, description="Only the first so many examples of each task; 0: all.")
    measure: Text = Field(description=MEASURE)


def task_files_of(folder: str) -> list[str]:
    """The files of a folder with tasks for lm-evaluation-harness, which may read any of them; not hidden ones."""
    files = (file for file in sorted(Path(folder).rglob("*")) if file.is_file())
    skipped = (".", "__pycache__")
    return [str(file) for file in files if not any(part.startswith(skipped) for part in file.relative_to(folder).parts)]


class HarnessMetric:
    """Mean over the examples of some tasks of what the harness calls `measure`, times 100.

    The examples of several tasks, or of a group of tasks such as MMLU's 57, count alike.
    """

    def __init__(self, name: str, task: str, measure: str):
        self.name = name
        self.settings = create_model(
            "HarnessSettings",
            __base__=HarnessSettings,
            tasks=(Tasks, Field([task], description=f"{TASKS}; {task} by default.")),
            measure=(Text, Field(measure, description=f"{MEASURE}; {measure} by default.")),
        )

    def records(self, run: Evaluated, settings: HarnessSettings) -> list[dict]:
        """One record per example: task, the harness's measure times 100 as score, and what the model answered.

        Raises RelapseError for a task that is unknown or cannot be loaded (no network), has no such measure, or whose
        prompts the model's context does not hold.
        """
        tasks = self.load(settings)
        while (found := attempt(_samples, run, tasks, settings)) is None:
            run.batch_size.halve("example")
        return [self._record(task, sample, settings.measure) for task in found for sample in _first_filter(found[task])]

    def load(self, settings: HarnessSettings) -> list:
        """The harness's task objects with their data, which is downloaded where the cache (HF_HOME) does not hold it.

        Raises RelapseError for a task that is unknown or cannot be loaded, or that is fixed to no examples.
        """
        folder = settings.include_path
        if folder and not Path(folder).is_dir():
            raise RelapseError(f"{self.name}: include_path: no such folder: {folder}")
        manager = _task_manager(str(Path(folder).resolve()) if folder else "")
        for task in settings.tasks:
            if task not in manager.all_tasks:
                raise RelapseError(
                    f"{self.name}: lm-evaluation-harness has no task {task!r}"
                    f"{f', and {folder} neither' if folder else ''}.{did_you_mean(task, manager.all_tasks)} "
                    "`lm-eval ls tasks` lists them; include_path is a folder with files of your own."
                )
        try:
            tasks = list(manager.load(settings.tasks)["tasks"].values())
        except Exception as error:  # offline, gated, no such data set or file: all end here
            raise RelapseError(
                f"{self.name}: cannot load {', '.join(settings.tasks)}: {error}. Without a network, download the "
                "data first: `python -m scripts.fetch_tasks` where there is one, into HF_HOME; or set include_path to "
                "a folder of task files whose data are local files."
            ) from None
        for task in tasks:
            own, wanted = task.get_config("num_fewshot"), settings.num_fewshot
            if wanted != "task" and own == 0 != wanted:
                raise RelapseError(
                    f"{self.name}: num_fewshot is {wanted}, but {task.config.task} is fixed to no examples: leave "
                    "num_fewshot out, or give a task file of your own in include_path"
                )
            task.set_config(key="num_fewshot", value=(own or 0) if wanted == "task" else wanted)
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
        return tasks

    def _record(self, task: str, sample: dict, measure: str) -> dict:
        origin = f"{task}/{sample['doc_id']}"
        if measure not in sample["metrics"]:
            raise RelapseError(
                f"{self.name}: {task} has no measure {measure!r}; `measure` may be {', '.join(sample['metrics'])}"
            )
        score = 100 * float(sample[measure])
        if not math.isfinite(score):
            raise RelapseError(f"{self.name}: the {measure} of {origin} is {score}: the model is broken")
        return {
            "id": origin,
            "task": task,
            "target": str(sample["target"]),
            "answered": _plain(sample["filtered_resps"]),
            "score": score,
        }

    def score(
        self, records: list[dict], settings: HarnessSettings, samples: int, reference: list[dict] | None
    ) -> Score:
        """Mean over all examples, times 100."""
        return mean_score(records, samples, self.name)


def _samples(run: Evaluated, tasks: list, settings: HarnessSettings) -> dict[str, list[dict]]:
    """Task name -> the harness's samples, with the batch size of now."""
    # Not simple_evaluate, which does the same but asks the system for its versions first, for 6 seconds.
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    # The harness sets a padding token and side on the tokenizer that it is given.
    tokenizer = copy.deepcopy(run.tokenizer)
    model = HFLM(pretrained=run.model, tokenizer=tokenizer, batch_size=run.batch_size.size)
    by_name = {task.config.task: task for task in tasks}
    found = evaluate(
        model,
        {"tasks": by_name, "groups": {}, "group_map": {}},
        limit=settings.limit or None,
        bootstrap_iters=0,
        log_samples=True,
    )["samples"]
    _check_context(model, found)
    return found


def _check_context(model, found: dict[str, list[dict]]) -> None:
    """Raise RelapseError for a prompt that is longer than the context, whose beginning the harness leaves out."""
    for task, samples in found.items():
        texts = [
            (context, rest.get("max_gen_toks", model.max_gen_toks)) if isinstance(rest, dict) else (context + rest, 0)
            for sample in samples
            for context, rest in sample["arguments"]
        ]
        longest = max(len(model.tok_encode(text)) + new for text, new in texts)
        if longest > model.max_length:
            raise RelapseError(
                f"the longest prompt of {task} needs {longest} positions with its answer, but the model's context is "
                f"{model.max_length}: lower num_fewshot, or use a model with a longer context"
            )


def _first_filter(samples: list[dict]) -> list[dict]:
    """The samples of a task's first filter: with several, the harness scores each example once under each."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _plain(answered: list) -> list:
    """The harness's answers as JSON has them: generated texts, or the log-likelihood of each choice."""
    return [answer if isinstance(answer, str) else float(answer[0]) for answer in answered]


METRICS.register(HarnessMetric("mmlu", "mmlu", "acc"))
METRICS.register(HarnessMetric("truthfulqa", "truthfulqa_mc2", "acc"))
METRICS.register(HarnessMetric("triviaqa", "triviaqa", "exact_match"))
