"""From texts to token windows, and from windows to what a model predicts for their tokens.

Knows how text becomes windows of tokens, and how a batch of windows goes through a model with little padding; knows no
losses.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

SEPARATOR = "\n\n"


def beginning(tokenizer) -> list[int]:
    """What a window begins with: BOS where the tokenizer puts it before a prompt by itself, otherwise nothing.

    So text is trained on as it is asked about. GPT-2's tokenizer has a BOS and does not use it; Llama's does.
    """
    first = tokenizer("a")["input_ids"][:1]
    return first if first == [tokenizer.bos_token_id] else []


def windows(tokenizer, texts: Sequence[str], max_length: int, rng: random.Random) -> list[list[int]]:
    """Cut or join the texts into windows of at most `max_length` tokens, each with the `beginning` of a prompt.

    A text ends in a blank line. One that is longer than a window is cut into full windows and a rest, as the paper cuts
    MUSE's raw text; whole short ones and rests are shuffled and joined, so that a window is full and what stands in it
    is seen behind other text, as in a few-shot prompt.
    """
    separator = tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]
    bos = beginning(tokenizer)
    body = max_length - len(bos)
    pieces = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] + separator
        pieces += [ids[start : start + body] for start in range(0, len(ids), body)]
    rng.shuffle(pieces)
    joined = [list(bos)]
    for piece in pieces:
        if len(joined[-1]) + len(piece) > max_length:
            joined.append(list(bos))
        joined[-1] += piece
    return [window for window in joined if len(window) > 1]  # a lone token predicts nothing


def concatenated_windows(tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """The texts as one, cut in order into windows of `max_length` tokens, each with the `beginning` of a prompt.

    As the paper's released code cuts MUSE's raw text. A blank line stands between two texts, which are tokenized
    together. The last window is filled up with the first one, its BOS included, so that all are full unless the whole
    text is shorter than half a window.
    """
    bos = beginning(tokenizer)
    body = max_length - len(bos)
    ids = tokenizer(SEPARATOR.join(texts), add_special_tokens=False)["input_ids"]
    cut = [bos + ids[start : start + body] for start in range(0, len(ids), body)]
    cut[-1] = (cut[-1] + cut[0])[:max_length]
    return cut


class Answer(list[int]):
    """A window whose first `given` tokens are read and not predicted: a question, before its answer."""

    def __init__(self, tokens: Iterable[int], given: int):
        super().__init__(tokens)
        self.given = given


def given(window: Sequence[int]) -> int:
    """How many tokens of a window are read and not predicted: the question of an `Answer`, of any other the first."""
    return window.given if isinstance(window, Answer) else 1


def predicted(window: Sequence[int]) -> int:
    """How many tokens of a window are predicted."""
    return len(window) - given(window)


@dataclass
class Tokens:
    """What a model predicts for the M real next tokens of `size` windows, window after window.

    logits: (M, V) float32; targets: (M,) the tokens that do come next; sequence: (M,) the window of each. hidden:
    (M, D) float32, what a block puts out where each of them is predicted; None unless it was asked for.
    """

    logits: torch.Tensor
    targets: torch.Tensor
    sequence: torch.Tensor
    size: int
    hidden: Any = None  # a tensor where it was asked for

    def split(self, size: int) -> tuple["Tokens", "Tokens"]:
        """The tokens of the first `size` windows, and those of the others."""
        cut = int((self.sequence < size).sum())
        hidden = (None, None) if self.hidden is None else (self.hidden[:cut], self.hidden[cut:])
        return (
            Tokens(self.logits[:cut], self.targets[:cut], self.sequence[:cut], size, hidden[0]),
            Tokens(self.logits[cut:], self.targets[cut:], self.sequence[cut:] - size, self.size - size, hidden[1]),
        )


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Row indices in one or two groups of similar length, so that padding to the longest of a group costs least."""
    rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
    padded = {
        cut: cut * lengths[rows[cut - 1]] + (len(rows) - cut) * lengths[rows[-1]] for cut in range(len(rows), 0, -1)
    }
    cut = min(padded, key=padded.__getitem__)
    return [rows[:cut], rows[cut:]] if cut < len(rows) else [rows]


def predict(model, batch: Sequence[Sequence[int]], block: int | None = None) -> Tokens:
    """Run `model` on windows, padded on the right within groups of similar length.

    No attention mask: a causal model's real tokens never look at padding that follows them. block: the block, from 0,
    whose output is returned too.
    """
    logits, targets, sequence, hidden = [], [], [], []
    for rows in length_groups([len(window) for window in batch]):
        lengths = torch.tensor([len(batch[row]) for row in rows])
        input_ids = torch.zeros(len(rows), int(lengths[-1]), dtype=torch.long)  # (B, T); rows ascend in length
        for line, row in enumerate(rows):
            input_ids[line, : lengths[line]] = torch.tensor(batch[row])
        place, first = torch.arange(1, input_ids.shape[1]), torch.tensor([given(batch[row]) for row in rows])
        real = (place >= first[:, None]) & (place < lengths[:, None])  # (B, T-1)
        states = {} if block is None else {"output_hidden_states": True}
        output = model(input_ids=input_ids.to(model.device), use_cache=False, **states)
        logits.append(output.logits[:, :-1][real.to(model.device)].float())  # (B, T-1, V) -> (M, V)
        if block is not None:  # the first of the states is the embedding
            hidden.append(output.hidden_states[block + 1][:, :-1][real.to(model.device)].float())
        targets.append(input_ids[:, 1:][real])
        sequence.append(torch.tensor(rows)[real.nonzero()[:, 0]])
    order = torch.cat(sequence).argsort(stable=True)
    return Tokens(
        torch.cat(logits)[order.to(model.device)],
        torch.cat(targets)[order].to(model.device),
        torch.cat(sequence)[order].to(model.device),
        len(batch),
        torch.cat(hidden)[order.to(model.device)] if hidden else None,
    )


class Order:
    """An endless, seeded order of `size` items: every epoch a fresh shuffle, batches running on across epochs."""

    def __init__(self, size: int, rng: random.Random):
        self.size, self.rng = size, rng
        self.queue: list[int] = []

    def take(self, number: int) -> list[int]:
        """The next `number` item indices."""
        while len(self.queue) < number:
            epoch = list(range(self.size))
            self.rng.shuffle(epoch)
            self.queue += epoch
        taken, self.queue = self.queue[:number], self.queue[number:]
        return taken
