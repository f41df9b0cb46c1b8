"""Recovery: shares and Holm by hand, verdicts on constructed cells, and what the bootstrap is paired over."""

import numpy as np
import pytest
from test_retained import settings, write_records

from relapse.analysis import recovery
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.paper import recovery_table

QUANTIZERS = {"full": {"backend": "full"}, "rtn-int4": {"backend": "rtn", "bits": 4, "group_size": 64}}
N = 40


def rows_of(folder, methods, seeds=(0,)):
    """(model, metric) -> row of recovery.csv, for the one quantizer."""
    study = read_study(
        settings(methods={name: {"constrained": True} for name in methods}, quantizers=QUANTIZERS, seeds=list(seeds))
    )
    rows = recovery.recoveries(Reader(folder, study))
    return {(row.model, row.metric): row for row in rows}, study


def write(folder, model, full, quantized, seed=0):
    for quantizer, scores in (("full", full), ("rtn-int4", quantized)):
        write_records(folder, "bios", model, seed, quantizer, scores, scores)


def known(share, seed=0):
    """Scores of N examples, `share` of them known, spread at random."""
    order = np.random.default_rng(seed).permutation(N)
    return [100.0 if place < share * N else 0.0 for place in order]


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.6: times 4, 3, 2, 1 are 0.04, 0.06, 0.06, 0.6.
    assert recovery.holm([0.03, 0.01, 0.6, 0.02]) == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert recovery.holm([0.9, 0.8]) == [1.0, 1.0]
    assert recovery.holm([]) == []


def test_one_sided_p_values():
    assert recovery.one_sided(1.6449, 1.0) == pytest.approx(0.05, abs=1e-4)
    assert recovery.one_sided(0.0, 1.0) == pytest.approx(0.5)
    assert recovery.one_sided(3.0, 0.0) == 0 and recovery.one_sided(0.0, 0.0) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((50, 0.5, 0.9, 0.001), "recovered"),
        ((50, 0.5, 0.9, 0.2), "cannot tell"),
        ((50, -0.1, 0.05, 0.9), "not detected"),
        ((50, -0.1, 0.3, 0.3), "cannot tell"),
        ((50, None, None, 0.001), "cannot tell"),
        ((4, 0.5, 0.9, 0.001), "nothing forgotten"),
    ],
)
def test_verdict_follows_its_rule(arguments, expected):
    assert recovery.verdict(*arguments) == expected


def test_shares_by_hand(tmp_path):
    write(tmp_path, "target", [100.0] * N, [90.0] * N)
    write(tmp_path, "npo_klr", [40.0] * N, [65.0] * N)
    rows, _ = rows_of(tmp_path, ["npo_klr"])
    assert set(rows) == {("npo_klr", metric) for metric in ("verbmem_forget", "knowmem_forget", "knowledge")}
    row = rows["npo_klr", "knowledge"]
    assert (row.target, row.full, row.quantized, row.difference) == pytest.approx((90, 40, 65, 25))
    # Every example alike, so that there is no uncertainty: (65 - 40) / (90 - 40).
    assert (row.recovered, row.ci_low, row.ci_high) == pytest.approx((0.5, 0.5, 0.5))
    assert (row.p, row.verdict, row.equivalent) == (0, "recovered", "no")


def test_verdicts_on_constructed_models(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    write(tmp_path, "back", known(0.3), known(0.9))  # the order of examples is the same, so most came back
    write(tmp_path, "gone", known(0.3), known(0.3))
    write(tmp_path, "kept", known(1), known(1))
    write(tmp_path, "noisy", known(0.5, seed=1), known(0.55, seed=2))
    rows, _ = rows_of(tmp_path, ["back", "gone", "kept", "noisy"])
    verdicts = {model: row.verdict for (model, metric), row in rows.items() if metric == "knowledge"}
    assert verdicts == {
        "back": "recovered",
        "gone": "not detected",
        "kept": "nothing forgotten",
        "noisy": "cannot tell",
    }
    assert rows["gone", "knowledge"].equivalent == "yes"
    assert rows["noisy", "knowledge"].equivalent == "no"
    assert rows["kept", "knowledge"].recovered is None


def test_the_bootstrap_is_paired_over_examples(tmp_path):
    """The same examples known before and after tell more than as many other ones."""
    write(tmp_path, "target", known(1), known(1))
    write(tmp_path, "same", known(0.5), known(0.55))
    write(tmp_path, "other", known(0.5), known(0.55, seed=3))
    rows, _ = rows_of(tmp_path, ["same", "other"])
    same, other = (rows[model, "knowledge"] for model in ("same", "other"))
    assert same.diff_high - same.diff_low < 0.5 * (other.diff_high - other.diff_low)


def test_seeds_widen_the_interval_where_they_disagree(tmp_path):
    for seed, share in ((0, 0.3), (1, 0.9)):
        write(tmp_path, "target", known(1), known(1), seed)
        write(tmp_path, "agree", known(0.3), known(0.6), seed)
        write(tmp_path, "differ", known(0.3), known(share), seed)
    rows, _ = rows_of(tmp_path, ["agree", "differ"], seeds=(0, 1))
    agree, differ = rows["agree", "knowledge"], rows["differ", "knowledge"]
    assert agree.recovered == pytest.approx(differ.recovered)
    assert differ.ci_high - differ.ci_low > 1.5 * (agree.ci_high - agree.ci_low)


def test_more_models_make_a_p_value_larger(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    names = [f"model{number}" for number in range(5)]
    for number, name in enumerate(names):
        write(tmp_path, name, known(0.5, seed=number), known(0.6, seed=number + 10))
    alone, _ = rows_of(tmp_path, names[:1])
    together, _ = rows_of(tmp_path, names)
    assert together[names[0], "knowledge"].p > alone[names[0], "knowledge"].p


def test_csv_reads_back(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    write(tmp_path, "back", known(0.3), known(0.9))
    write(tmp_path, "kept", known(1), known(1))
    rows = list(rows_of(tmp_path, ["back", "kept"])[0].values())
    recovery.write_csv(rows, tmp_path / "recovery.csv")
    back = recovery.read_csv(tmp_path / "recovery.csv")
    assert [(row.model, row.metric, row.verdict) for row in back] == [(r.model, r.metric, r.verdict) for r in rows]
    assert back[0].recovered == pytest.approx(rows[0].recovered, abs=1e-4)
    assert next(row for row in back if row.model == "kept").recovered is None


def test_rank_correlation_by_hand():
    assert recovery.correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert recovery.correlation([1, 2, 3], [9, 4, 1]) == pytest.approx(-1)
    # Ranks 0, 1, 2, 3 against 1, 0, 3, 2: 1 - 6 * 4 / (4 * 15) = 0.6.
    assert recovery.correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)
    assert np.isnan(recovery.correlation([1, 2], [3, 3]))


def test_table_shows_shares_verdicts_and_the_rule(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    write(tmp_path, "back", known(0.3), known(0.9))
    write(tmp_path, "gone", known(0.3), known(0.3))
    write(tmp_path, "kept", known(1), known(1))
    rows, study = rows_of(tmp_path, ["back", "gone", "kept"])
    markdown = recovery_table.write_markdown(study, list(rows.values()))
    lines = {line.split("|")[1].strip(): line for line in markdown.splitlines() if line.startswith("| ")}
    assert "**86**" in lines["back"]  # (90 - 30) / (100 - 30)
    assert "**" not in lines["gone"] and "0<br>" in lines["gone"]
    assert "nothing forgotten" in lines["kept"]
    assert "3 comparisons" in markdown and "10 %" in markdown and "5 points" in markdown
    assert "rtn-int4: equivalent to full precision for 2 of 3 models" in markdown
    page = recovery_table.write_html(study, list(rows.values()))
    assert page.count('class="recovered"') == 1 and "<script" not in page
    assert page.count('<td class="nothing">–</td>') == 1
