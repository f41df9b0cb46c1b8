"""Tokenizers as they lie beside models: another class, an end token behind each text, more tokens than rows."""

import json
import shutil
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, processors

from relapse.models import tokenizer as module
from relapse.models.files import read_model
from relapse.models.loading import check_vocabulary, load_model, load_tokenizer
from relapse.runtime.errors import RelapseError
from relapse.study.preflight import _rows

TEXTS = [
    "Ada Moss, born in Lund in 1961, is a chemist.",
    "Question: What does Ivo Brandt do?\nAnswer: He is a pilot.\n\n",
]


@pytest.fixture
def folder(tiny_llama, tmp_path):
    shutil.copytree(tiny_llama, tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **keys):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def classes():
    """Every tokenizer class that transformers knows by name, and one that it does not."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    known = {str(name).removesuffix("Fast") for name in TOKENIZER_MAPPING_NAMES.values() if name}
    return [f"{name}{fast}" for name in sorted(known) for fast in ("", "Fast")] + ["NoSuchTokenizer"]


def test_no_class_that_is_named_stands_between_a_model_and_its_tokenizer_json(folder):
    """Among them classes of SentencePiece, of characters, and those that need a package that is not here."""
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = [own.encode(text, add_special_tokens=False).ids for text in TEXTS]
    names = classes()
    assert len(names) > 100 and {"LlamaTokenizer", "T5TokenizerFast", "XLMTokenizer"} <= set(names)
    for name in names:
        edit(folder, tokenizer_class=name)
        loaded = load_tokenizer(folder, TEXTS)
        assert [loaded(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == expected, name


@pytest.mark.parametrize("name", ["T5TokenizerFast", "LlamaTokenizer", "PreTrainedTokenizerFast", "XLMTokenizer"])
def test_a_folder_without_a_tokenizer_is_refused_and_no_empty_one_is_made_up(folder, name):
    """transformers makes a T5 tokenizer without a word of its own of it."""
    (folder / "tokenizer.json").unlink()
    edit(folder, tokenizer_class=name)
    with pytest.raises(RelapseError, match=f"{folder} has no tokenizer: expected one of tokenizer.json"):
        load_tokenizer(folder)


def test_a_class_that_cannot_be_had_is_an_error_by_name(folder):
    """vocab.json alone, and a class that reads another file."""
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}")
    edit(folder, tokenizer_class="BertweetTokenizer")
    with pytest.raises(RelapseError, match=f"cannot load a tokenizer from {folder}"):
        load_tokenizer(folder)


@pytest.mark.parametrize("name", ["LlamaTokenizerFast", "LlamaTokenizer", "GemmaTokenizerFast", "GPT2TokenizerFast"])
def test_the_tokens_are_those_of_tokenizer_json_whatever_class_is_named(folder, name):
    edit(folder, tokenizer_class=name)
    own, loaded = Tokenizer.from_file(str(folder / "tokenizer.json")), load_tokenizer(folder, TEXTS)
    for text in TEXTS:
        assert loaded(text, add_special_tokens=False)["input_ids"] == own.encode(text, add_special_tokens=False).ids
        assert loaded.decode(loaded(text, add_special_tokens=False)["input_ids"]) == text


def bos_and_eos(folder, single):
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [(token, own.token_to_id(token)) for token in ("<s>", "</s>")]
    own.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    own.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("keys", [{}, {"tokenizer_class": "LlamaTokenizerFast"}])
@pytest.mark.parametrize("before", [True, False])
def test_a_prompt_is_open_at_its_end(folder, keys, before):
    """add_eos_token, or a template that ends in the end token: BOS stays, and nothing comes behind."""
    plain = load_tokenizer(folder)("Ada", add_special_tokens=False)["input_ids"]
    edit(folder, add_eos_token=True, add_bos_token=before, **keys)
    bos_and_eos(folder, "<s> $A </s>" if before else "$A </s>")
    loaded = load_tokenizer(folder)
    assert loaded("Ada")["input_ids"] == [loaded.bos_token_id] * before + plain
    loaded.save_pretrained(folder)
    assert load_tokenizer(folder)("Ada")["input_ids"] == [loaded.bos_token_id] * before + plain


def test_only_tokens_that_occur_need_a_row(folder):
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    tokenizer.add_tokens(["[PAD]", "Moss"])  # 320 and 321, of which "Moss" is in the text
    check_vocabulary(model, tokenizer, folder, ["Question: [pad]"])
    with pytest.raises(RelapseError, match=r"the token 'Moss' \(321\) of 'Ada Moss.*has no row.*, which has 320"):
        check_vocabulary(model, tokenizer, folder, TEXTS)
    tokenizer.save_pretrained(folder)
    known = read_model(folder)
    empty = {"verbmem": [], "knowmem": {}, "privleak": {}, "world": []}
    corpora = {text: SimpleNamespace(raw={"forget": [text]}, **empty) for text in ("Ada", "Ada Moss")}
    ((key, expected),) = _rows({"target": known}, corpora)
    assert key == ("models", "target") and expected.startswith("corpora.Ada Moss: the token 'Moss' (321) of 'Ada Moss'")


def test_a_tokenizer_model_alone_is_refused_in_the_same_words_before_and_in_a_job(folder, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    expected = []
    for read in (read_model, load_tokenizer):
        with pytest.raises(
            RelapseError, match=r"tokenizer\.model alone.*Convert it once.*writes tokenizer\.json"
        ) as caught:
            read(folder)
        expected.append(str(caught.value))
    assert expected[0] == expected[1]
