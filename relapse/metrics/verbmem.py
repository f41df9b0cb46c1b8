"""VerMem (M1): does the model continue a passage of the forget text word for word?"""

from relapse.metrics import METRICS, Evaluated, Score
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import Sampling, generate
from relapse.metrics.rouge import rouge_l
from relapse.seeding import seed_for


class VerbMem:
    """`verbmem_forget`: ROUGE-L F1 of the continuation of a forget prompt against the truth (MUSE, Eq. 2)."""

    name = "verbmem_forget"
    options = {
        "max_new_tokens": {
            "type": "integer",
            "minimum": 1,
            "default": 128,
            "description": "Tokens to generate; the truth is cut to as many. 128 in MUSE and the paper.",
        },
        "decoding": {
            "enum": ["greedy", "sample"],
            "default": "greedy",
            "description": "greedy as MUSE does, or sample at `temperature` as the paper's code does.",
        },
        "temperature": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.9,
            "description": "Temperature of decoding: sample; 0.9 in the paper's code.",
        },
    }

    def records(self, run: Evaluated, settings: dict) -> list[dict]:
        """One record per passage: prompt, truth, generated, score."""
        prompts = [item["prompt"] for item in run.corpus.verbmem]
        sampling = None
        if settings["decoding"] == "sample":
            sampling = Sampling(settings["temperature"], seed_for(run.seed, self.name))
        generated = generate(
            run.model, run.tokenizer, prompts, settings["max_new_tokens"], run.batch_size, sampling=sampling
        )
        records = []
        for number, (item, text) in enumerate(zip(run.corpus.verbmem, generated, strict=True)):
            ids = run.tokenizer(item["gt"], add_special_tokens=False)["input_ids"][: settings["max_new_tokens"]]
            truth = run.tokenizer.decode(ids, skip_special_tokens=True)
            records.append(
                {
                    "id": f"forget/{number}",
                    "prompt": item["prompt"],
                    "truth": truth,
                    "generated": text,
                    "score": rouge_l(truth, text),
                }
            )
        return records

    def score(self, records: list[dict], settings: dict, samples: int, reference: list[dict] | None) -> Score:
        """Mean ROUGE-L F1, times 100."""
        return mean_score(records, samples, self.name)


METRICS.register(VerbMem())
