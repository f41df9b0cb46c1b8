"""Batched generation that gives the tokens of one-at-a-time generation.

Knows left padding, and computes the prompts' common beginning (the few-shot examples) once; what a prompt means and
which text ends an answer is the metrics'. Every example has a random generator of its own, so that sampled text does
not depend on the batch.
"""

import copy
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature

import torch

from relapse.metrics import Evaluated
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for
from relapse.text.wording import Asked


@dataclass(frozen=True)
class Sampling:
    """Draw from softmax(logits / temperature) of the `top_k` largest logits, 0 for all; seeded by (seed, example).

    Logits that tie with the last of the largest are drawn from too, as in transformers. Of these, the fewest likeliest
    whose probabilities add up to `top_p` are drawn from (Holtzman et al., arXiv 1904.09751).
    """

    temperature: float
    seed: int
    top_k: int = 0
    top_p: float = 1.0


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all sequences share, leaving every sequence at least one token of its own."""
    shared = min(map(len, sequences)) - 1
    first = sequences[0]
    for sequence in sequences[1:]:
        while sequence[:shared] != first[:shared]:
            shared -= 1
    return shared


def check_context(model, lengths: Sequence[int], max_new_tokens: int) -> None:
    """Raise RelapseError when a prompt of one of the `lengths` plus the new tokens overruns the model's context."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(lengths) + max_new_tokens
    if context is not None and longest > context:
        raise RelapseError(
            f"the longest prompt ({max(lengths)} tokens) and {max_new_tokens} new tokens need {longest} positions, but "
            f"the model's context (max_position_embeddings) is {context}: use a model with a longer context"
        )


@torch.inference_mode()
def generate(
    model,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: BatchSize,
    ends: Sequence[str] = (),
    sampling: Sampling | None = None,
    special_tokens: bool = True,
) -> list[str]:
    """Continue every prompt by at most `max_new_tokens` tokens, greedily unless `sampling` is given.

    A continuation ends at any of the model's end tokens, or before the first of the texts `ends` in it; generation
    stops once all of a batch have ended. special_tokens: whether the tokenizer puts its own, such as BOS, around a
    prompt; a chat template has written them already. Raises RelapseError for a prompt longer than the context.
    """
    encoded = [tokenizer(prompt, add_special_tokens=special_tokens)["input_ids"] for prompt in prompts]
    check_context(model, [len(ids) for ids in encoded], max_new_tokens)
    shared = common_prefix(encoded)
    last, pad = end_tokens(model, tokenizer), _padding(model, tokenizer)
    cache = _prefix_cache(model, encoded[0][: shared or 1])
    prefix = cache if shared else None

    def action(chosen: Sequence[int]) -> list[str]:
        generators = None
        if sampling:
            generators = [
                torch.Generator(model.device).manual_seed(seed_for(sampling.seed, "sample", number))
                for number in chosen
            ]
        if cache is None:
            rows = [encoded[number] for number in chosen]
            steps = _recomputed(model, rows)
        else:
            rows = [encoded[number][shared:] for number in chosen]
            steps = _cached(model, rows, prefix, shared, max_new_tokens, pad)
        return _continue(tokenizer, steps, len(rows), max_new_tokens, last, pad, ends, sampling, generators)

    return [cut(text, ends) for text in batch_size.run(range(len(encoded)), action)]


def answers(run: Evaluated, given: Asked, max_new_tokens: int, sampling: Sampling | None) -> list[str]:
    """`generate` for what a metric asks."""
    return generate(
        run.model,
        run.tokenizer,
        given.prompts,
        max_new_tokens,
        run.batch_size,
        given.ends,
        sampling,
        given.special_tokens,
    )


def cut(text: str, ends: Sequence[str]) -> str:
    """`text` before the first of `ends` in it; all of it where none is."""
    for end in ends:
        text = text.split(end)[0]
    return text


def end_tokens(model, tokenizer) -> set[int]:
    """Every token that ends a text: of the model's configuration, of its generation_config.json, of the tokenizer.

    A chat model's end of turn often stands in generation_config.json alone, which may name several.
    """
    configs = (model.config, model.config.get_text_config(), getattr(model, "generation_config", None), tokenizer)
    named = [getattr(config, "eos_token_id", None) for config in configs]
    lists = [one if isinstance(one, list | tuple) else [one] for one in named]
    return {int(token) for one in lists for token in one if token is not None}


def _padding(model, tokenizer) -> int:
    """A token to fill up rows with; what it is makes no difference, but the model must have it."""
    rows = model.get_input_embeddings().weight.shape[0]
    return tokenizer.eos_token_id if tokenizer.eos_token_id is not None and tokenizer.eos_token_id < rows else 0


def _prefix_cache(model, ids: Sequence[int]):
    """The key-value cache of `ids`, for a batch of one; None for a model whose memory of a text is another one.

    Recurrent states and convolutions (Mamba, Qwen3.5, LFM2, ...) take in padding, and cannot be repeated for a batch.
    So do models that take no positions for left-padded tokens.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    takes = signature(type(model).forward).parameters
    if getattr(model, "_is_stateful", False) or not {"past_key_values", "position_ids", "attention_mask"} <= set(takes):
        return None
    output = model(input_ids=torch.tensor([ids], device=model.device), use_cache=True)
    cache = getattr(output, "past_key_values", None)
    known = isinstance(cache, DynamicCache) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )
    return cache if known else None


@cache
def _roomy_layer():
    """A key-value cache layer with room for what is to come (defined here, since importing transformers takes seconds).

    transformers' own layer copies all keys and values for every new token, which for a batch behind a long few-shot
    prompt costs more than the model.
    """
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        def __init__(self, layer: DynamicLayer, rows: int, room: int):
            super().__init__()
            self.lazy_initialization(layer.keys, layer.values)
            self.buffers = [self._grown(states, rows, room) for states in (layer.keys, layer.values)]
            self._show(layer.keys.shape[-2])

        @staticmethod
        def _grown(states: torch.Tensor, rows: int, room: int) -> torch.Tensor:
            _, heads, length, width = states.shape  # (1, H, T, D) -> (rows, H, T + room, D)
            grown = states.new_empty(rows, heads, length + room, width)
            grown[:, :, :length] = states
            return grown

        def _show(self, length: int) -> None:
            self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)

        def update(self, key_states, value_states, *args, **kwargs):
            start, end = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
            for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[:, :, start:end] = states
            self._show(end)
            return self.keys, self.values

    return DynamicLayer, RoomyLayer


def _expanded(prefix, rows: int, room: int):
    """The prefix cache for a batch of `rows`, with room for `room` more tokens."""
    plain, roomy = _roomy_layer()
    expanded = copy.deepcopy(prefix)
    for number, layer in enumerate(expanded.layers):
        if type(layer) is plain:
            expanded.layers[number] = roomy(layer, rows, room)
        else:  # sliding windows keep their own way of forgetting
            layer.batch_repeat_interleave(rows)
    return expanded


Steps = Generator[torch.Tensor, torch.Tensor, None]  # logits (B, V) out, chosen tokens (B,) in


def _cached(model, rows, prefix, shared: int, room: int, pad: int) -> Steps:
    """The logits behind each row, token after token. rows: token lists after the shared prefix of `shared` tokens."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)  # (B, width)
    mask = torch.tensor(
        [[1] * shared + [0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device
    )  # (B, shared + width)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]  # (B, width)
    past = _expanded(prefix, len(rows), width + room) if prefix is not None else None
    keep = {"logits_to_keep": 1} if "logits_to_keep" in signature(type(model).forward).parameters else {}
    while True:
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True, **keep
        )
        past = output.past_key_values
        ids = (yield output.logits[:, -1].float())[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1


def _recomputed(model, rows) -> Steps:
    """The same without a cache: the whole text for every token, padded on the right, where no causal model looks."""
    rows = [list(row) for row in rows]
    while True:
        last = torch.tensor([len(row) - 1 for row in rows], device=model.device)
        width = int(last.max()) + 1
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)  # (B, T)
        logits = model(input_ids=ids, use_cache=False).logits
        chosen = yield logits[torch.arange(len(rows), device=model.device), last].float()
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.append(token)


def _continue(tokenizer, steps: Steps, count: int, max_new_tokens, last, pad, ends, sampling, generators) -> list[str]:
    """Continue one batch of `count` prompts, each to the first of the tokens `last`, which is not part of its text."""
    written: list[list[int]] = [[] for _ in range(count)]
    finished = [False] * count
    logits = next(steps)  # (B, V)
    for step in range(max_new_tokens):
        if not torch.isfinite(logits).all():
            raise RelapseError(f"non-finite logits while generating (token {step + 1}): the model is broken")
        chosen = _choose(logits, sampling, generators)
        chosen = chosen.masked_fill(torch.tensor(finished, device=chosen.device), pad)
        for row, token in enumerate(chosen.tolist()):
            finished[row] = finished[row] or token in last
            written[row] += [] if finished[row] else [token]
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        if all(done or cut(text, ends) != text for done, text in zip(finished, texts, strict=True)):
            break
        if step + 1 < max_new_tokens:
            logits = steps.send(chosen)
    return texts


def _choose(logits: torch.Tensor, sampling: Sampling | None, generators) -> torch.Tensor:
    """Next token (B,) from logits (B, V)."""
    if sampling is None:
        return logits.argmax(-1)
    if sampling.top_k:
        least = logits.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ascending, order = probabilities.sort(dim=-1)
        ascending[:, :-1] *= ascending.cumsum(-1)[:, :-1] > 1 - sampling.top_p  # multinomial takes weights
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ascending)
    return torch.cat(
        [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(probabilities, generators, strict=True)
        ]
    )
