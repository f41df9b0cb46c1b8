"""From text to windows and batches, on a tokenizer small enough to check by eye."""

import random

import pytest
import torch
from entries import method_settings

from relapse.models.loading import load_model, load_tokenizer
from relapse.models.random_base import train_tokenizer
from relapse.text.windows import Order, concatenated_windows, length_groups, predict, windows
from relapse.unlearning.trainer import retain_index, steps_of
from scripts import unlearn


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    """It has a BOS and puts none before a text, as GPT-2's and Phi's."""
    return load_tokenizer(tiny_llama)


@pytest.fixture(scope="module", params=["as Llama's", "as GPT-2's"])
def either(request, tokenizer):
    """A tokenizer that begins a text with BOS, and one that does not."""
    return tokenizer if request.param == "as GPT-2's" else train_tokenizer(["She works for Arvo."], 320)


def cut(tokenizer, texts, max_length):
    return windows(tokenizer, texts, max_length, random.Random(0))


def test_windows_begin_as_prompts_do(tokenizer):
    """BOS where the tokenizer gives it to a prompt, nothing where it does not, although it has one."""
    llama = train_tokenizer(["Ada Moss"], 320)
    assert (llama.bos_token, tokenizer.bos_token) == ("<s>", "<s>")
    for begins, made in ((True, cut(llama, ["Ada Moss"], 24)), (False, cut(tokenizer, ["Ada Moss"], 24))):
        assert (made[0][0] == llama.bos_token_id) == begins
    assert cut(llama, ["Ada Moss"], 24) == [llama("Ada Moss\n\n")["input_ids"]]
    assert cut(tokenizer, ["Ada Moss"], 24) == [tokenizer("Ada Moss\n\n")["input_ids"]]
    without = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer)
    assert without.bos_token is None
    assert cut(without, ["Ada Moss"], 24) == cut(tokenizer, ["Ada Moss"], 24)


def test_a_long_text_is_cut_in_order_without_overlap(either):
    text = "She works for Arvo and collects stamps."
    ids = either(f"{text}\n\n", add_special_tokens=False)["input_ids"]
    start = either("")["input_ids"]
    body = 6 - len(start)  # BOS and five tokens, or six
    made = cut(either, [text], 6)
    assert all(window[: len(start)] == start for window in made)
    pieces = [ids[place : place + body] for place in range(0, len(ids), body)]
    assert sorted(window[len(start) :] for window in made) == sorted(pieces)


def test_short_texts_are_joined_whole_between_blank_lines(either):
    texts = ["Ada Moss", "Ivo Brandt", "She works for Arvo", "stamps"]
    start = either("")["input_ids"]
    made = cut(either, texts, 24)
    assert all(window[: len(start)] == start and len(window) <= 24 for window in made)
    assert len(made) < len(texts)
    joined = "".join(either.decode(window[len(start) :]) for window in made)
    assert sorted(joined.removesuffix("\n\n").split("\n\n")) == sorted(texts)


def test_concatenated_texts_are_cut_in_order_whatever_stands_at_the_cut():
    """Tokens are bytes here: "abcd", a blank line, "efg" are 9; windows of BOS and four take 4, 4 and 1."""
    llama = train_tokenizer([""], 258)
    made = concatenated_windows(llama, ["abcd", "efg"], 5)
    bos, first = llama.bos_token_id, llama("abcd", add_special_tokens=False)["input_ids"]
    assert [llama.decode(window[1:]) for window in made[:2]] == ["abcd", "\n\nef"]
    assert all(window[0] == bos and len(window) == 5 for window in made)
    # The last is filled up with the first window, BOS included.
    assert made[2] == [bos, *llama("g", add_special_tokens=False)["input_ids"], bos, *first[:2]]


def test_concatenated_windows_give_the_text_back(either):
    texts = ["She works for Arvo and collects stamps.", "Ada Moss", "Ivo Brandt is a pilot"]
    whole = either("\n\n".join(texts), add_special_tokens=False)["input_ids"]
    start = len(either("")["input_ids"])
    for max_length in range(8, 12):
        made = concatenated_windows(either, texts, max_length)
        assert {len(window) for window in made} == {max_length}
        assert len(made) == -(-len(whole) // (max_length - start))
        assert [token for window in made for token in window[start:]][: len(whole)] == whole
        assert made == concatenated_windows(either, texts, max_length)
    # One that is shorter than half a window comes twice and stays short, as in the released code.
    (short,) = concatenated_windows(either, ["Ada"], 64)
    assert short == 2 * either("Ada")["input_ids"]


def test_a_method_says_how_its_text_is_cut(either):
    texts = ["She works for Arvo and collects stamps.", "Ada Moss", "Ivo Brandt is a pilot"]
    asked = method_settings("ga", max_length=24)
    assert unlearn.cut(either, texts, asked, random.Random(0)) == cut(either, texts, 24)
    made = unlearn.cut(either, texts, method_settings("ga", max_length=24, windows="concatenated"), random.Random(0))
    assert made == concatenated_windows(either, texts, 24) != cut(either, texts, 24)


def test_length_groups_pad_least():
    # One group pads to 4 * 9 = 36 tokens; {2, 3, 3} and {9} to 9 + 9 = 18.
    assert length_groups([3, 9, 2, 3]) == [[2, 0, 3], [1]]
    assert length_groups([5, 5]) == [[0, 1]]
    assert length_groups([7]) == [[0]]


def test_predict_gives_each_window_what_it_gets_alone(tiny_llama, tokenizer):
    """Padding never reaches a real token, and tokens come back in the order of the windows."""
    model = load_model(tiny_llama)
    texts = ["She works for Arvo and collects stamps.", "Ada Moss", "Ivo Brandt", "A pilot."]
    batch = [tokenizer(text)["input_ids"] for text in texts]
    together = predict(model, batch)
    assert together.sequence.tolist() == [row for row, window in enumerate(batch) for _ in window[1:]]
    assert together.targets.tolist() == [token for window in batch for token in window[1:]]
    alone = torch.cat([predict(model, [window]).logits for window in batch])
    torch.testing.assert_close(together.logits, alone, rtol=1e-5, atol=1e-5)
    first, rest = together.split(3)
    assert (first.size, rest.size) == (3, 1)
    assert rest.targets.tolist() == batch[3][1:] and set(rest.sequence.tolist()) == {0}


def test_order_sees_every_item_once_an_epoch():
    order = Order(5, random.Random(0))
    taken = [index for _ in range(5) for index in order.take(2)]
    assert sorted(taken[:5]) == sorted(taken[5:]) == list(range(5))
    assert taken[:5] != taken[5:]


def test_rotating_pairs_begin_as_the_fixed_ones_and_use_all_retain_windows():
    assert [retain_index("rotating", i, 0, 4, 3) for i in range(4)] == [0, 1, 2, 0]  # i mod n
    assert {retain_index("rotating", i, epoch, 4, 10) for i in range(4) for epoch in range(3)} == set(range(10))


def test_fixed_pairs_are_the_same_in_every_epoch():
    for epoch in range(3):
        assert [retain_index("fixed", i, epoch, 4, 3) for i in range(4)] == [0, 1, 2, 0]
        assert [retain_index("fixed", i, epoch, 4, 10) for i in range(4)] == [0, 1, 2, 3]


def test_epochs_become_steps():
    assert steps_of(method_settings("ga", steps=7), 100) == 7
    assert steps_of(method_settings("ga", steps=None, epochs=3, batch_size=8), 10) == 4  # 30 windows in batches of 8
