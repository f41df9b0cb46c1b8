"""Published numbers beside measured ones: which cells are compared, and the notes on them."""

import csv
import io

import pytest

from relapse.analysis.study import read_study
from relapse.report import comparison_table
from relapse.report.published import compare, read
from relapse.report.tables import Cell

SETTINGS = {
    "study": "toy",
    "corpora": {"news": {}, "made-up": {}},
    "seeds": [0],
    "models": ["target", "retrain"],
    "methods": {
        "npo_klr": {"method": "npo_klr", "constrained": True, "formulation": "released"},
        "npo_klr_text": {"method": "npo_klr", "constrained": True, "formulation": "paper"},
        "ga_gdr": {"method": "ga_gdr", "constrained": True},
    },
    "quantizers": {
        "full": {"backend": "full"},
        "bnb-fp4": {"backend": "bitsandbytes", "format": "fp4"},
        "bnb-nf4": {"backend": "bitsandbytes", "format": "nf4"},
        "rtn-int4": {"backend": "rtn", "bits": 4, "group_size": 128},
    },
    "metrics": {"verbmem_forget": {"decoding": "greedy"}, "knowmem_forget": {}},
}
PUBLISHED = {"news": "NEWS"}


def cells(*found):
    """(model, quantizer, metric, value) -> a cell with an interval of 2 to either side."""
    return {
        ("news", model, quantizer, metric): Cell(value, value - 2, value + 2, 100)
        for model, quantizer, metric, value in found
    }


def rows(settings=SETTINGS, found=()):
    return compare(read_study(settings), cells(*found), PUBLISHED)


def one(found, *wanted):
    (row,) = [row for row in found if (row.model, row.quantizer, row.metric) == wanted]
    return row


def test_a_cell_within_the_interval_and_one_beyond_it():
    """NEWS, GA_GDR, 4 bit, KnowMem forget: 50.1 in Table 1; full precision: 28.9."""
    found = rows(found=[("ga_gdr", "bnb-fp4", "knowmem_forget", 51.0), ("ga_gdr", "full", "knowmem_forget", 20.0)])
    near = one(found, "ga_gdr", "bnb-fp4", "knowmem_forget")
    assert (near.table, near.reported, near.transcriptions) == ("1", 50.1, 2)
    assert near.difference == pytest.approx(0.9) and not near.beyond
    far = one(found, "ga_gdr", "full", "knowmem_forget")
    assert far.difference == pytest.approx(-8.9) and far.beyond


def test_a_published_cell_that_was_not_scored_has_no_difference():
    row = one(rows(), "ga_gdr", "full", "knowmem_forget")
    assert row.reproduced is None and row.difference is None and not row.beyond
    assert comparison_table.texts(row)[:3] == ["28.9", "–", "–"]


def test_nf4_and_other_corpora_stand_for_nothing_published():
    assert {row.quantizer for row in rows()} == {"full", "bnb-fp4", "rtn-int4"}
    assert {row.corpus for row in rows()} == {"news"}


def test_sampled_cells_are_held_against_sampled_ones_where_there_are_some():
    found = rows()
    assert one(found, "target", "full", "verbmem_forget").unlike == ()
    assert one(found, "ga_gdr", "full", "verbmem_forget").unlike == ("reported sampled, reproduced greedy",)
    both = SETTINGS | {"metrics": SETTINGS["metrics"] | {"verbmem_forget_sampled": {}}}
    found = rows(both)
    assert one(found, "ga_gdr", "full", "verbmem_forget_sampled").unlike == ()
    assert one(found, "target", "full", "verbmem_forget").reported == 58.4
    assert one(found, "target", "bnb-fp4", "verbmem_forget_sampled").reported == 34.2


def test_both_formulations_are_compared_and_the_papers_text_is_marked():
    found = rows()
    assert one(found, "npo_klr", "full", "knowmem_forget").unlike == ()
    assert one(found, "npo_klr_text", "full", "knowmem_forget").unlike == ("reported released losses, ours paper",)
    assert "the released code rounds with bitsandbytes" in one(found, "npo_klr", "rtn-int4", "knowmem_forget").unlike


def test_published_utility_is_of_other_questions_and_stays_out():
    """The file has MMLU of NEWS' other corpus, BOOKS, target, full: 28.7, on RWKU's subset."""
    books = SETTINGS | {"corpora": {"books": {}}, "metrics": SETTINGS["metrics"] | {"mmlu": {}, "fluency": {}}}
    assert ("BOOKS", "target", "full", "mmlu", "28.7") in {
        (row["corpus"], row["model"], row["precision"], row["metric"], row["value"]) for row in read("published")
    }
    study = read_study(books)
    scored = {("books", "target", "full", metric): Cell(28.7, 20, 30, 100) for metric in study.metrics}
    found = compare(study, scored, {"books": "BOOKS"})
    assert {row.metric for row in found} == {"verbmem_forget", "knowmem_forget"}
    for text in (comparison_table.write_markdown(study, found), comparison_table.write_html(study, found)):
        assert "Not compared: MMLU, Fluency." in text
    assert "Not compared" not in comparison_table.write_markdown(read_study(SETTINGS), rows())


def test_published_utility_is_compared_where_its_questions_are_asked():
    """BOOKS, target: MMLU 28.7 in full precision. RWKU's prompts are not in its files, so it is never counted alike."""
    metrics = SETTINGS["metrics"] | {"mmlu": {"tasks": ["rwku_mmlu"]}, "triviaqa": {"tasks": ["triviaqa"]}}
    study = read_study(SETTINGS | {"corpora": {"books": {}}, "metrics": metrics})
    found = [row for row in compare(study, {}, {"books": "BOOKS"}) if row.metric in ("mmlu", "triviaqa")]
    assert {row.metric for row in found} == {"mmlu"}
    assert 28.7 in {row.reported for row in found if (row.model, row.quantizer) == ("target", "full")}
    assert all("reported in RWKU's prompts" in row.unlike for row in found)


def test_the_independent_numbers_are_those_decoded_alike():
    """independent.csv: NEWS, target, full: VerMem 58.2 greedy and 43.5 sampled."""
    assert one(rows(), "target", "full", "verbmem_forget").independent == 58.2
    sampled = SETTINGS | {"metrics": {"verbmem_forget": {"decoding": "sample"}}}
    # The published cell is greedy, and so is the number beside it, whatever the study decodes.
    row = one(rows(sampled), "target", "full", "verbmem_forget")
    assert row.independent == 58.2 and row.unlike == ("reported greedy, reproduced sampled",)


BOOKS = SETTINGS | {
    "corpora": {"books": {}},
    "methods": SETTINGS["methods"]
    | {
        f"npo_klr_sure_{mask}": {"method": "npo_klr_sure", "constrained": True, "formulation": "released", "mask": mask}
        for mask in ("released", "paper")
    },
    "quantizers": SETTINGS["quantizers"] | {"gptq": {"backend": "gptq", "bits": 4}},
}


def test_sure_with_a_mask_is_not_what_the_released_code_ran():
    found = compare(read_study(BOOKS), {}, {"books": "BOOKS"})
    cell = ("full", "knowmem_forget")
    assert one(found, "npo_klr_sure_released", *cell).unlike == ()
    masked = one(found, "npo_klr_sure_paper", *cell)
    assert masked.unlike == ("reported no mask and the forget gradient twice, ours mask paper",)
    # The second group's released run is beside the released one alone.
    assert one(found, "npo_klr_sure_released", *cell).independent is not None and masked.independent is None


def test_questions_and_samples_that_differ_from_the_released_ones_are_marked():
    asked = {"knowmem_forget": {"prompt_ending": "colon"}, "verbmem_forget": {"decoding": "sample", "top_k": 0}}
    found = rows(SETTINGS | {"metrics": asked})
    assert one(found, "ga_gdr", "full", "knowmem_forget").unlike == ("reported questions end in a space",)
    words = ("reported samples are of the 50 likeliest tokens",)
    assert one(found, "ga_gdr", "full", "verbmem_forget").unlike == words
    alike = {"knowmem_forget": {"prompt_ending": "space"}, "verbmem_forget": {"decoding": "sample", "top_k": 50}}
    for row in rows(SETTINGS | {"metrics": alike}):
        assert not row.unlike or (row.model, row.quantizer) != ("ga_gdr", "full")


def test_what_the_second_group_alone_has_is_shown_with_what_is_known_of_it():
    """independent.csv: BOOKS, target, gptq; npo_klr, full, whose training diverged; rtn is in groups of 128."""
    theirs = {(r["model"], r["quantizer"], r["metric"], r["decoding"]): r for r in read("independent")}
    study = read_study(BOOKS)
    scored = {("books", "target", "gptq", "knowmem_forget"): Cell(40.0, 30.0, 50.0, 100)}
    found = compare(study, scored, {"books": "BOOKS"})
    alone = one(found, "target", "gptq", "knowmem_forget")
    assert alone.reported is None and alone.difference is None and alone.beyond is None
    assert f"{alone.independent:g}" == theirs["target", "gptq", "knowmem_forget", ""]["value"]
    assert comparison_table.texts(alone)[:3] == ["–", "40.0 [30.0, 50.0]", "–"]
    full = {row.independent_note for row in found if (row.model, row.quantizer) == ("npo_klr", "full")}
    assert full == {"training diverged"}
    rounded = [row for row in found if (row.model, row.quantizer) == ("target", "rtn-int4")]
    assert rounded and all(row.independent is not None for row in rounded)
    markdown = comparison_table.write_markdown(study, found)
    assert "Independent npo_klr / full: training diverged." in markdown
    page = comparison_table.write_html(study, found)
    assert "<th>target</th><td>gptq</td>" in page


def test_every_number_is_printed_as_it_is_in_the_file():
    published = {
        (row["corpus"], row["model"], row["precision"], row["metric"], float(row["value"])) for row in read("published")
    }
    precision = {"full": "full", "bnb-fp4": "4bit", "rtn-int4": "4bit"}
    lines = list(csv.DictReader(io.StringIO(comparison_table.write_csv(rows()))))
    assert len(lines) > 20
    for line in lines:
        method = SETTINGS["methods"].get(line["model"], {}).get("method", line["model"])
        key = ("NEWS", method, precision[line["quantizer"]], line["metric"].removesuffix("_sampled"))
        assert (*key, float(line["reported"])) in published


def test_files_hold_what_was_found_and_nothing_twice():
    keys = [(r["table"], r["corpus"], r["model"], r["precision"], r["metric"]) for r in read("published")]
    assert len(keys) == len(set(keys)) == 269
    assert {row["transcriptions"] for row in read("published")} == {"1", "2"}
    assert all(
        row["decoding"] in ("greedy", "sample") for row in read("published") if row["metric"] == "verbmem_forget"
    )


def test_the_tables_say_what_a_star_and_a_mark_mean():
    found = rows(found=[("ga_gdr", "full", "knowmem_forget", 20.0), ("npo_klr_text", "full", "knowmem_forget", 36.0)])
    study = read_study(SETTINGS)
    markdown = comparison_table.write_markdown(study, found)
    assert "| 1 | ga_gdr | full | 28.9 | 20.0 [18.0, 22.0] | −8.9 ! |" in markdown
    assert "| 1 | npo_klr_text | full | 36.6 | 36.0 [34.0, 38.0] | (−0.6) |" in markdown
    assert (
        "known from one transcription only" in markdown
        and "outside the interval (1 of 1 that were measured alike)" in markdown
    )
    page = comparison_table.write_html(study, found)
    assert '<td class="beyond">−8.9 !</td>' in page and '<td class="unlike">(−0.6)</td>' in page
    latex = comparison_table.write_tex(study, found)
    assert r"npo\_klr\_text & full & 36.6 & 36.0 [34.0, 38.0] & ($-$0.6)" in latex
