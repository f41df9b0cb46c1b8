"""World facts: does the model still know what it was neither to forget nor to keep? The default study's Gen.

A multiple-choice test of the corpus's own (utility/world.json), for models too small for MMLU. It is code of ours and
no task of lm-evaluation-harness, since importing that and indexing its tasks takes 5 to 8 seconds, longer than a
whole scoring job of the default study, whose own part of this is a tenth of a second.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from relapse.metrics import METRICS, Evaluated, Score, group_of
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import check_context
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Settings
from relapse.text.prompts import choice_texts, question_context
from relapse.text.windows import predict


class WorldFactsSettings(Settings):
    """world_facts has no keys."""


class WorldFacts:
    """`world_facts`: share of questions whose true choice is the likeliest, times 100; guessing gives 25 of 4 choices.

    A choice's likelihood is that of " choice" after "Question: ...\\nAnswer:", summed over its tokens and not divided
    by their number, as in lm-evaluation-harness's `acc`. That favours short choices; in the synthetic world every
    choice is the true answer of exactly one question, so that favouring some gains nothing on average.
    """

    name = "world_facts"
    settings = WorldFactsSettings

    @torch.inference_mode()
    def records(self, run: Evaluated, settings: WorldFactsSettings) -> list[dict]:
        """One record per question: question, truth, chosen, score. Raises RelapseError for a corpus without questions,
        and for a score that is not finite."""
        items = run.corpus.world
        if not items:
            raise RelapseError(
                "world_facts needs the corpus's utility/world.json: set `world` of a synthetic corpus, or add the file"
            )
        known = [len(run.tokenizer(question_context(item["question"]))["input_ids"]) for item in items]
        of = [number for number, item in enumerate(items) for _ in item["choices"]]  # text -> its question
        windows = [run.tokenizer(text)["input_ids"] for item in items for text in choice_texts(item)]
        check_context(run.model, [len(window) for window in windows], 0)

        def likelihoods(chosen: Sequence[int]) -> list[float]:
            tokens = predict(run.model, [windows[place] for place in chosen])
            log_probs = -F.cross_entropy(tokens.logits, tokens.targets, reduction="none").double().cpu()  # (M,)
            rows = tokens.sequence.cpu()
            # Token t is predicted at place t - 1, so that a choice begins at the length of its context less one.
            return [float(log_probs[rows == row][known[of[place]] - 1 :].sum()) for row, place in enumerate(chosen)]

        found = run.batch_size.run(range(len(windows)), likelihoods)
        records = []
        for number, item in enumerate(items):
            scores = [score for its, score in zip(of, found, strict=True) if its == number]
            if not torch.tensor(scores).isfinite().all():
                raise RelapseError(f"world_facts, question {number}: a choice's log-likelihood is not finite")
            best = scores.index(max(scores))
            records.append(
                {
                    "id": f"world/{number}",
                    "question": item["question"],
                    "truth": item["choices"][item["answer"]],
                    "chosen": item["choices"][best],
                    "score": 100.0 * (best == item["answer"]),
                }
                | group_of(item)
            )
        return records

    def score(
        self, records: list[dict], settings: WorldFactsSettings, samples: int, reference: list[dict] | None
    ) -> Score:
        """Accuracy, times 100."""
        return mean_score(records, samples, self.name)


METRICS.register(WorldFacts())
