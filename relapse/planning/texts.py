"""How large a corpus's texts are, in tokens of a model's tokenizer: what a plan counts without loading a model."""

from collections.abc import Mapping
from typing import Any

from relapse.corpora.corpus import Corpus
from relapse.runtime.settings import Settings
from relapse.study.prompt_needs import longest_prompt, metric_prompts
from relapse.text.prompts import as_text, choice_texts
from relapse.text.windows import SEPARATOR
from relapse.text.wording import Asked, Render
from relapse.unlearning.settings import MethodSettings


class Texts:
    """Sizes of a corpus's texts in tokens of a model's tokenizer. render: its chat template."""

    def __init__(self, corpus: Corpus, tokenizer: Any, render: Render):
        self.corpus, self.tokenizer, self.render = corpus, tokenizer, render
        self._tokens: dict[tuple[str, bool], int] = {}  # every method asks for the same

    def tokens(self, part: str, joined: bool = False) -> int:
        """Tokens of a part of the raw text; joined: of all its texts as one, without what begins a prompt."""
        if (part, joined) not in self._tokens:
            texts = [SEPARATOR.join(self.corpus.raw[part])] if joined else list(self.corpus.raw[part])
            encoded = self.tokenizer.encode_batch(texts, add_special_tokens=not joined)
            self._tokens[part, joined] = sum(len(encoding.ids) for encoding in encoded)
        return self._tokens[part, joined]

    def windows(self, part: str, method: MethodSettings) -> tuple[int, int]:
        """Windows that a method's entry cuts a part into, and the tokens in all of them.

        Packed ones as if none had room left.
        """
        length = method.max_length
        if method.windows == "packed":
            tokens = self.tokens(part)
            return -(-tokens // length), tokens
        body = length - self.tokenizer.num_special_tokens_to_add(False)  # BOS, where it is one
        number = -(-self.tokens(part, joined=True) // body)
        return number, number * length

    def pairs(self) -> tuple[int, int]:
        """Question/answer pairs of the forget text, and the tokens in all of them."""
        encoded = self.tokenizer.encode_batch([as_text(pair) for pair in self.corpus.pairs])
        return len(encoded), sum(len(encoding.ids) for encoding in encoded)

    def prompts(self, metrics: Mapping[str, Settings]) -> dict[str, tuple[int, int, int]]:
        """What the metrics generate or score, as `memory.scoring` takes it."""
        asked = {
            name: (
                len(given.prompts),
                longest_prompt(self.tokenizer, given, metrics[name]),
                getattr(metrics[name], "max_new_tokens", 0),
            )
            for name, given in metric_prompts(self.corpus, metrics, self.render).items()
        }
        if "privleak" in metrics:
            texts = [text for part in self.corpus.privleak.values() for text in part]
            asked["privleak"] = (len(texts), longest_prompt(self.tokenizer, Asked(texts, ()), metrics["privleak"]), 0)
        if "world_facts" in metrics:
            texts = [text for item in self.corpus.world for text in choice_texts(item)]
            longest = longest_prompt(self.tokenizer, Asked(texts, ()), metrics["world_facts"])
            asked["world_facts"] = (len(texts), longest, 0)
        return asked
