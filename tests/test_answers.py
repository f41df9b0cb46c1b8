"""Question/answer pairs: what of a window is predicted, which answer is drawn, and what is refused without pairs."""

import random

import pytest
import torch
from entries import corpus_settings
from small_study import edited, problems

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.corpora.muse import read_folder
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.text.windows import Answer, predict, predicted
from relapse.unlearning.answers import REFUSALS, forget_windows, windows
from relapse.unlearning.methods import METHODS

PAIR = {"question": "Where was Ada Moss born?", "answer": "Lund"}


def corpus(**keys):
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}
    return SOURCES.get("synthetic").read(corpus_settings(**sizes | keys))


def test_only_the_answer_is_predicted(tiny_llama):
    tokenizer, model = load_tokenizer(tiny_llama), load_model(tiny_llama)
    ((window,),) = windows(tokenizer, [PAIR], [["Lund"]], 200)
    text = tokenizer.decode(window[window.given :])
    assert text == " Lund\n\n" and tokenizer.decode(window[: window.given]).endswith("Answer:")
    assert predicted(window) == len(window) - window.given
    with torch.no_grad():
        plain, tokens = (predict(model, [chosen, [3, 4, 5]]) for chosen in (list(window), window))
    last = predicted(window)  # of the first window's tokens, which the plain one predicts all but the first of
    assert tokens.targets.tolist() == [*window[window.given :], 4, 5]
    torch.testing.assert_close(tokens.logits[:last], plain.logits[len(window) - 1 - last : len(window) - 1])
    assert tokens.sequence.tolist() == [0] * last + [1, 1]


def test_hidden_states_are_those_of_the_block(tiny_llama):
    model, seen = load_model(tiny_llama), []
    model.model.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        tokens = predict(model, [[3, 4, 5, 6], [7, 8]], block=0)
    first, second = tokens.split(1)
    rows = [row for output in seen for row in (output[0] if isinstance(output, tuple) else output)]
    assert tokens.hidden.shape == (4, 128) and first.hidden.shape == (3, 128) and second.hidden.shape == (1, 128)
    assert any(len(row) == 4 and torch.allclose(first.hidden, row[:3]) for row in rows)


def test_a_long_answer_is_cut_and_a_question_without_room_is_refused(tiny_llama):
    tokenizer = load_tokenizer(tiny_llama)
    far = [["Lund, in the south of a country that is far away"]]
    ((whole,),) = windows(tokenizer, [PAIR], far, 200)
    ((short,),) = windows(tokenizer, [PAIR], far, whole.given + 2)
    assert short == whole[: whole.given + 2] and isinstance(short, Answer)
    with pytest.raises(RelapseError, match=r"pairs/forget.json, item 0: the question takes \d+ tokens and max_length"):
        windows(tokenizer, [PAIR], [["Lund"]], whole.given)


def test_retain_text_stands_before_a_question_and_is_not_predicted(tiny_llama):
    tokenizer = load_tokenizer(tiny_llama)
    context, answers = ["Ivo Brandt is a pilot.", "She works for Arvo.", "No."], [["Lund"], ["I don't know."]]
    ((plain,), (longer,)) = windows(tokenizer, [PAIR], answers, 400)
    ((true,), (other,)) = windows(tokenizer, [PAIR], answers, 400, context, random.Random(0))
    for window, alone in ((true, plain), (other, longer)):
        asked = tokenizer.decode(window[: window.given])
        assert all(f"{text}\n\n" in asked for text in context) and asked.endswith("born?\nAnswer:")
        assert window[window.given :] == alone[alone.given :]
    assert true[: true.given] == other[: other.given]
    # Room for one of them alone beside the longer answer: none is cut.
    least = len(longer) + max(len(tokenizer(f"{text}\n\n")["input_ids"]) for text in context)
    ((true,), (other,)) = windows(tokenizer, [PAIR], answers, least, context, random.Random(0))
    assert len(longer) < len(other) <= least and true[: true.given] == other[: other.given]


def test_each_method_reads_its_own_answers(tiny_llama):
    tokenizer, its = load_tokenizer(tiny_llama), corpus()

    def answers(name, seed=0):
        found = forget_windows(tokenizer, its, METHODS.get(name), 400, seed)
        return [[tokenizer.decode(window[window.given :]).strip() for window in half] for half in found]

    refused, nothing = answers("idknll")
    assert set(refused) <= set(REFUSALS) and nothing == [] and len(refused) == len(its.pairs)
    true, preferred = answers("idkdpo_gdr")
    assert true == [pair["answer"] for pair in its.pairs] and preferred == refused
    true, preferred = answers("altpo")
    assert all(other in pair["alternatives"] for other, pair in zip(preferred, its.pairs, strict=True))
    assert answers("altpo") == [true, preferred] and answers("altpo", seed=1)[1] != preferred


def test_alternatives_are_other_values_of_the_same_attribute_and_are_written(tmp_path):
    its = corpus()
    asked = {pair["question"] for pair in its.pairs}
    assert all(f"Question: {question}\n" in "".join(its.raw["forget"]) for question in asked)
    years = [pair for pair in its.pairs if pair["question"].startswith("In which year")]
    for pair in years:
        assert len(set(pair["alternatives"])) == 3 and pair["answer"] not in pair["alternatives"]
        assert all(1921 <= int(year) <= 1998 for year in pair["alternatives"])
    write(its, tmp_path)
    assert read_folder(tmp_path).pairs == its.pairs


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"question": "Q?"}, "item 0 has no text under 'answer'"),
        (
            {"question": "Q?", "answer": "A", "alternatives": "B"},
            "item 0 has 'B' under 'alternatives'",
        ),
        ({"question": "Q?", "answer": "A", "alternatives": ["B", "A"]}, "item 0 has its own answer 'A'"),
    ],
)
def test_malformed_pairs_are_named(tmp_path, item, message):
    its = corpus()
    its.pairs = [item]
    write(its, tmp_path)
    with pytest.raises(ConfigError, match=message):
        read_folder(tmp_path)


def muse_study(tmp_path, pairs, method):
    its = corpus()
    its.pairs = pairs
    write(its, tmp_path / "texts")
    return edited(
        ("corpora", {"texts": {"source": "muse", "path": str(tmp_path / "texts")}}),
        ("methods", {method: {"lr": 1e-5, "steps": 2, "max_length": 64}}),
    )


def test_a_method_that_needs_pairs_is_refused_without_them(tmp_path):
    (line,) = problems(muse_study(tmp_path, [], "idknll"))
    assert "methods.idknll" in line and "corpora.texts: idknll needs question/answer pairs" in line
    assert "no pairs/forget.json" in line


def test_a_method_that_needs_alternatives_is_refused_without_them(tmp_path):
    (line,) = problems(muse_study(tmp_path, [PAIR], "altpo"))
    assert "altpo needs other plausible answers, and item 0" in line and "use idkdpo" in line


def test_data_sets_of_muse_on_the_hub_have_no_pairs_and_tofu_has(tmp_path):
    def on_hub(source):
        entry = {"source": source, "id": "somebody/texts", "revision": "0" * 40}
        return edited(("corpora", {"texts": entry}), ("methods", {"altpo": {"lr": 1e-5, "steps": 2, "max_length": 64}}))

    (line,) = problems(on_hub("muse"))
    assert "corpora.texts: altpo needs pairs/forget.json, which muse's data sets on the Hub lack" in line
    from relapse.study.config import resolve

    resolve(on_hub("tofu"))


def test_a_block_behind_which_none_reads_is_refused():
    entry = {"lr": 1e-5, "steps": 2, "max_length": 64, "alpha": 1.0, "block": 0}
    (line,) = problems(edited(("methods", {"rmu": entry})))
    assert ("methods.rmu.block" in line and "the model has 1 blocks" in line) or "models.base has 1 blocks" in line
