"""From texts to token windows and padded batches, for training and unlearning alike.

Knows how text becomes windows of `max_length` tokens (each with the tokenizer's BOS) and how windows become tensors;
knows no losses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

SEPARATOR = "\n\n"


def windows(tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Cut every text into windows of at most `max_length` tokens, BOS included, in order and without overlap."""
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    body = max_length - len(bos)
    cut = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        cut += [bos + ids[start : start + body] for start in range(0, len(ids), body)]
    # A window without a token to predict (BOS and one more where there is no BOS) teaches nothing.
    return [window for window in cut if len(window) > 1]


def pack(tokenizer, texts: Sequence[str], max_length: int, rng: random.Random) -> list[list[int]]:
    """Shuffle the texts and join whole ones, each followed by a blank line, into windows of at most `max_length`.

    A window starts with BOS and never with a torn text, unless a text alone is longer than a window.
    """
    separator = tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    pieces = [piece[len(bos) :] + separator for piece in windows(tokenizer, texts, max_length - len(separator))]
    rng.shuffle(pieces)
    packed = [list(bos)]
    for piece in pieces:
        if len(packed[-1]) + len(piece) > max_length:
            packed.append(list(bos))
        packed[-1] += piece
    return packed


@dataclass
class Batch:
    """Right-padded windows.

    input_ids: (B, T). `predicted` marks, in (B, T-1), the positions whose next token is real; targets: (M,) those next
    tokens; sequence: (M,) the row that each belongs to. M counts the real targets.
    """

    input_ids: torch.Tensor
    predicted: torch.Tensor
    targets: torch.Tensor
    sequence: torch.Tensor

    @property
    def size(self) -> int:
        return self.input_ids.shape[0]


def collate(batch: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Batch:
    """Pad windows on the right to the longest of them."""
    lengths = torch.tensor([len(window) for window in batch])
    input_ids = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
    for row, window in enumerate(batch):
        input_ids[row, : len(window)] = torch.tensor(window)
    predicted = torch.arange(1, input_ids.shape[1]) < lengths[:, None]  # (B, T-1)
    return Batch(
        input_ids.to(device),
        predicted.to(device),
        input_ids[:, 1:][predicted].to(device),
        predicted.nonzero()[:, 0].to(device),
    )


def token_logits(model, batch: Batch) -> torch.Tensor:
    """Logits (M, V) in float32 at the positions that predict a real token.

    Without an attention mask: padding stands on the right, where a causal model's real tokens never look.
    """
    logits = model(input_ids=batch.input_ids, use_cache=False).logits
    return logits[:, :-1][batch.predicted].float()  # (B, T-1, V) -> (M, V)


class Order:
    """An endless, seeded order of `size` items: every epoch a fresh shuffle, batches running on across epochs."""

    def __init__(self, size: int, rng: random.Random):
        self.size, self.rng, self.queue = size, rng, []

    def take(self, number: int) -> list[int]:
        """The next `number` item indices."""
        while len(self.queue) < number:
            epoch = list(range(self.size))
            self.rng.shuffle(epoch)
            self.queue += epoch
        taken, self.queue = self.queue[:number], self.queue[number:]
        return taken
