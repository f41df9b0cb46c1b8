"""Text in any script: what a word is, and that an answer which is the truth scores 100."""

import json
import random
from types import SimpleNamespace

import pytest
from entries import corpus_settings, metric_settings, training_settings
from rouge_score.tokenizers import DefaultTokenizer

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.corpora.muse import read_folder
from relapse.corpora.tofu import read_pairs
from relapse.metrics import METRICS, Evaluated
from relapse.metrics.fluency import fluency
from relapse.metrics.rouge import rouge_l
from relapse.models.loading import load_model, load_tokenizer
from relapse.quantization.calibration import grams
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.text.prompts import as_prompt, as_text
from relapse.text.words import words, written_words
from relapse.training.fine_tuning import train

# text -> its words
TEXTS = {
    "She was born in Lund, 1961.": "she was born in lund 1961",
    "Björk's café": "björk s café",
    "Родилась в Казани": "родилась в казани",
    "π": "π",
    "Γειά σου": "γειά σου",
    "東京タワー": "東 京 タ ワ ー",
    "彼は1961年生まれ": "彼 は 1961 年 生 ま れ",
    "서울에서 태어났다": "서울에서 태어났다",
    "שָׁלוֹם עולם": "שָׁלוֹם עולם",
    "ولد في القاهرة": "ولد في القاهرة",
    "हिन्दी में": "हिन्दी में",
    "ที่นี่": "ที่ นี่",
    "በአዲስ አበባ": "በአዲስ አበባ",
    "၁၉၆၁": "၁ ၉ ၆ ၁",
    "١٩٦١": "١٩٦١",
    "Straße": "strasse",
    "𠮷野": "𠮷 野",
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_words_of_every_script(text):
    assert words(text) == TEXTS[text].split()
    assert rouge_l(text, f" {text}\n") == pytest.approx(100)


def test_encodings_and_marks_that_nobody_sees_make_no_difference():
    assert words("Bjo\u0308rk e\u0301te\u0301") == words("Björk été") == ["björk", "été"]
    assert words("می\u200cخواهم Ge\u00adbirge \u200fשלום") == words("میخواهم Gebirge שלום")
    assert rouge_l("BJÖRK", "bjo\u0308rk") == 100


def test_a_part_of_a_text_scores_its_part():
    """Two of four ideographs: precision 1, recall 1/2, F1 2/3; one Russian word of two likewise."""
    assert rouge_l("東京都庁", "東京") == pytest.approx(100 * 2 / 3)
    assert rouge_l("в Казани", "Казани") == pytest.approx(100 * 2 / 3)
    assert rouge_l("Казань", "Москва") == 0


def test_words_of_ascii_text_are_those_of_rouge_score():
    rng, theirs = random.Random(0), DefaultTokenizer(use_stemmer=False)
    texts = ["".join(chr(rng.randrange(128)) for _ in range(40)) for _ in range(2000)]
    assert all(words(text) == theirs.tokenize(text) and written_words(text) == text.split() for text in texts)


def test_fluency_and_overlap_know_the_words_of_scripts_without_spaces():
    """Four ideographs make three bigrams and two trigrams, all different: (2/3 log2 3 + 4/3 log2 2) / 2."""
    assert fluency("春夏秋冬") == pytest.approx((2 / 3 * 1.584962500721156 + 4 / 3) / 2)
    assert fluency("春春春春") == 0
    assert written_words("Ada Moss, 春夏.") == ["Ada", "Moss,", "春", "夏", "."]
    assert grams(["ที่นี่"], 2) == {("ที่", "นี่")}
    assert grams(["हिन्दी में है"], 3) == {("हिन्दी", "में", "है")}  # vowel signs stay in their words


PAIRS = [
    {"question": "Где родилась Ада?", "answer": "Она родилась в Казани."},
    {"question": "伊沃在哪里?", "answer": "他住在北京。"},
]


def test_a_model_that_knows_every_answer_scores_100_in_russian_and_chinese(tiny_llama):
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    settings = training_settings(steps=120, batch_size=1, max_length=160, lr=5e-3, weight_decay=0.0)
    train(model, tokenizer, [as_text(pair) for pair in PAIRS * 2], settings, 0, lambda step, loss: None)
    passages = [{"prompt": as_prompt(pair), "gt": pair["answer"]} for pair in PAIRS]
    corpus = SimpleNamespace(verbmem=passages, knowmem={"forget": PAIRS, "forget_icl": []})
    run = Evaluated(model.eval(), tokenizer, corpus, BatchSize(2), 0)
    for name, more in (("verbmem_forget", {"until": "\n\n"}), ("knowmem_forget", {})):
        metric = METRICS.get(name)
        found = metric.records(run, metric_settings(name, max_new_tokens=60, **more))
        assert [record["score"] for record in found] == pytest.approx([100, 100]), name


@pytest.fixture
def muse(tmp_path):
    source = SOURCES.get("synthetic")
    write(source.read(corpus_settings(forget=2, retain1=2, retain2=2, holdout=2)), tmp_path)

    def change(file, number, **keys):
        path = tmp_path / file
        items = json.loads(path.read_text())
        items[number] = items[number] | keys if keys else "\ud83d"
        path.write_text(json.dumps(items))
        return tmp_path

    return change


@pytest.mark.parametrize(
    ("file", "key"),
    [("verbmem/forget.json", "gt"), ("knowmem/forget_qa.json", "answer"), ("knowmem/retain_qa.json", "answer")],
)
@pytest.mark.parametrize("truth", ["?!", "😀", "…", "€ —"])
def test_a_truth_without_a_word_is_refused_by_file_and_item(muse, file, key, truth):
    with pytest.raises(ConfigError, match=rf"{file}: item 1 has no word under '{key}', only .* leave the item out"):
        read_folder(muse(file, 1, **{key: truth}))


def test_an_example_without_a_word_is_shown_all_the_same(muse):
    assert read_folder(muse("knowmem/forget_qa_icl.json", 0, answer="?")).knowmem["forget_icl"][0]["answer"] == "?"


def test_tofus_truths_have_words_too(tmp_path):
    (tmp_path / "forget01.json").write_text(json.dumps({"question": "Who?", "answer": "?"}) + "\n")
    with pytest.raises(ConfigError, match=r"forget01\.json: item 0 has no word under 'answer', only '\?'"):
        read_pairs(tmp_path / "forget01.json")


def test_a_truth_of_which_cutting_leaves_no_word_is_refused_before_anything_is_scored(tiny_llama):
    metric, corpus = METRICS.get("verbmem_forget"), SimpleNamespace(verbmem=[{"prompt": "Ada", "gt": "\n\nborn"}])
    run = Evaluated(None, load_tokenizer(tiny_llama), corpus, BatchSize(1), 0)
    metric.check(run, metric_settings("verbmem_forget"), None)
    with pytest.raises(RelapseError, match=r"verbmem/forget\.json, item 0: no word is left of its truth"):
        metric.check(run, metric_settings("verbmem_forget", until="\n\n"), None)


def test_half_a_character_is_refused_by_file_and_item(muse):
    """JSON can escape a lone surrogate; no tokenizer takes one, and no record could be written."""
    with pytest.raises(ConfigError, match=r"forget_qa\.json: item 0 is no Unicode text"):
        read_folder(muse("knowmem/forget_qa.json", 0, question="who \udc00?"))
    with pytest.raises(ConfigError, match=r"raw/retain1\.json: item 0 is no Unicode text: it holds '\\ud83d'"):
        read_folder(muse("raw/retain1.json", 0))
