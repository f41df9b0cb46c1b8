"""Recovery: shares and Holm by hand, verdicts on constructed cells, and what the bootstrap is paired over."""

import numpy as np
import pytest
from test_retained import settings, write_records

from relapse.analysis import recovery
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.report import recovery_table

QUANTIZERS = {"full": {"backend": "full"}, "rtn-int4": {"backend": "rtn", "bits": 4, "group_size": 64}}
N = 40


def rows_of(folder, methods, seeds=(0,), predictions=(), twins=(), **changes):
    """(model, metric) -> row of recovery.csv, for the one quantizer. twins: (model, its twin)."""
    entries = {name: {"constrained": True} for name in methods}
    for name, twin in twins:
        entries[name]["twin"] = twin
    keys = {"methods": entries, "quantizers": QUANTIZERS, "seeds": list(seeds), "models": ["target"]} | changes
    study = read_study(settings(**keys))
    rows = recovery.recoveries(Reader(folder, study), predictions)
    return {(row.model, row.metric): row for row in rows}, study


def write(folder, model, full, quantized, seed=0):
    for quantizer, scores in (("full", full), ("rtn-int4", quantized)):
        write_records(folder, "bios", model, seed, quantizer, scores, scores)


def predicted(model, expected, metric="knowledge"):
    return {"model": model, "quantizer": "rtn-int4", "metric": metric, "expected": expected}


def known(share, seed=0):
    """Scores of N examples, `share` of them known, spread at random."""
    order = np.random.default_rng(seed).permutation(N)
    return [100.0 if place < share * N else 0.0 for place in order]


def test_an_attack_stands_where_a_quantizer_does_and_retrain_says_what_it_gives_anybody(tmp_path):
    """Relearning: the target keeps 100, the unlearned model rises from 20 to 50, retrain from 10 to 22."""
    for model, full, attacked in (("target", 100, 100), ("npo_klr", 20, 50), ("retrain", 10, 22)):
        for name, value in (("full", full), ("relearn", attacked)):
            write_records(tmp_path, "bios", model, 0, name, [float(value)] * N, [float(value)] * N)
    full = {"full": QUANTIZERS["full"]}
    attacks = {"relearn": {"attack": "relearn", "steps": 3}}
    both = {"quantizers": full, "attacks": attacks, "models": ["target", "retrain"]}
    rows, study = rows_of(tmp_path, ["npo_klr"], **both)
    row = rows["npo_klr", "knowledge"]
    # (50 - 20) / (100 - 20), and of it all but (22 - 10) / (100 - 20).
    assert (row.quantizer, row.recovered, row.verdict) == ("relearn", pytest.approx(30 / 80), "recovered")
    assert (row.beyond_retrain, row.beyond_retrain_low) == pytest.approx((18 / 80, 18 / 80))
    assert study.changes == ["relearn"] and study.covers("npo_klr", "relearn")
    assert "relearn" in recovery_table.write_markdown(study, list(rows.values()))
    path = tmp_path / "recovery.csv"
    recovery.write_csv(list(rows.values()), path)
    assert recovery.read_csv(path)[-1].beyond_retrain == pytest.approx(18 / 80)


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


def test_seeds_are_the_unit_by_hand(tmp_path):
    """Five training runs in which 10, 20, 30, 40 and 50 points of 100 come back."""
    for seed in range(5):
        write(tmp_path, "target", [100.0] * N, [100.0] * N, seed)
        write(tmp_path, "back", [0.0] * N, [10.0 * (seed + 1)] * N, seed)
    rows, _ = rows_of(tmp_path, ["back"], seeds=range(5))
    row = rows["back", "knowledge"]
    half = 2.776 * np.sqrt(250 / 5)  # t(0.975, 4) sd / sqrt(5)
    assert (row.difference, row.diff_low, row.diff_high) == pytest.approx((30, 30 - half, 30 + half), abs=0.01)
    assert (row.recovered, row.ci_low, row.ci_high) == pytest.approx(
        (0.3, 0.3 - half / 100, 0.3 + half / 100), abs=1e-4
    )
    assert row.p == pytest.approx(0.0067, abs=1e-4)  # t = 30 / 7.07 = 4.243 with 4 degrees of freedom
    assert row.verdict == "recovered"  # 0.1037 is above the margin
    fewer, _ = rows_of(tmp_path, ["back"], seeds=(0, 2, 4))  # as large on average, +- 4.303 * 20 / sqrt(3)
    assert fewer["back", "knowledge"].ci_low == pytest.approx(0.3 - 0.497, abs=1e-3)
    assert fewer["back", "knowledge"].verdict == "cannot tell"


def test_holm_is_over_the_predictions_alone(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    names = [f"model{number}" for number in range(6)]
    for number, name in enumerate(names):
        write(tmp_path, name, known(0.5, seed=number), known(0.6, seed=number + 10))
    alone = {name: rows_of(tmp_path, [name])[0][name, "knowledge"] for name in names}
    predictions = [predicted(name, "recovered") for name in names[:3]]
    rows, _ = rows_of(tmp_path, names, predictions=predictions)
    families = {name: rows[name, "knowledge"].family for name in names}
    assert families == dict.fromkeys(names[:3], "primary") | dict.fromkeys(names[3:], "exploratory")
    for family in (names[:3], names[3:]):
        least, middle, most = sorted(alone[name].p for name in family)
        wanted = {least: 3 * least, middle: max(3 * least, 2 * middle)}
        wanted[most] = max(wanted[middle], most)
        for name in family:
            assert rows[name, "knowledge"].p == pytest.approx(min(1, wanted[alone[name].p]))
    assert rows[names[0], "verbmem_forget"].family == "exploratory"


def test_predictions_hold_fail_or_stay_open(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    write(tmp_path, "back", known(0.3), known(0.9))
    write(tmp_path, "gone", known(0.3), known(0.3))
    write(tmp_path, "kept", known(1), known(1))
    write(tmp_path, "noisy", known(0.5, seed=1), known(0.55, seed=2))
    names = ["back", "gone", "kept", "noisy"]

    def outcomes(expected):
        rows, _ = rows_of(tmp_path, names, predictions=[predicted(name, expected) for name in names])
        return [rows[name, "knowledge"].outcome for name in names]

    assert outcomes("recovered") == ["held", "failed", "cannot tell", "cannot tell"]
    assert outcomes("not detected") == ["failed", "held", "cannot tell", "cannot tell"]
    assert outcomes("equivalent") == ["failed", "held", "held", "cannot tell"]
    rows, _ = rows_of(tmp_path, names)
    assert {(row.family, row.expected, row.outcome) for row in rows.values()} == {("exploratory", "", "")}


def test_a_twin_takes_away_what_coarse_rounding_does_by_itself(tmp_path):
    write(tmp_path, "target", [90.0] * N, [90.0] * N)
    write(tmp_path, "stored", [40.0] * N, [70.0] * N)
    write(tmp_path, "float", [50.0] * N, [60.0] * N)
    rows, _ = rows_of(tmp_path, ["stored", "float"], twins=[("stored", "float")])
    row = rows["stored", "knowledge"]
    # (70 - 40) / (90 - 40), and without the 10 points of the twin (30 - 10) / 50.
    assert (row.recovered, row.beyond_twin, row.beyond_low, row.beyond_high) == pytest.approx((0.6, 0.4, 0.4, 0.4))
    assert rows["float", "knowledge"].beyond_twin is None
    # The same effect in the twin: nothing is left, in every seed.
    for seed, more in ((0, 10.0), (1, 20.0), (2, 30.0)):
        write(tmp_path, "target", [90.0] * N, [90.0] * N, seed)
        write(tmp_path, "stored", [40.0] * N, [40.0 + more] * N, seed)
        write(tmp_path, "float", [50.0] * N, [50.0 + more] * N, seed)
    rows, _ = rows_of(tmp_path, ["stored", "float"], seeds=range(3), twins=[("stored", "float")])
    row = rows["stored", "knowledge"]
    assert row.ci_high - row.ci_low > 0.9  # 2 * 4.303 * 5.77 / 50
    assert (row.beyond_twin, row.beyond_low, row.beyond_high) == pytest.approx((0, 0, 0))


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
    predictions, twins = [predicted("back", "recovered")], [("back", "kept")]
    rows = list(rows_of(tmp_path, ["back", "kept"], predictions=predictions, twins=twins)[0].values())
    recovery.write_csv(rows, tmp_path / "recovery.csv")
    back = recovery.read_csv(tmp_path / "recovery.csv")
    assert [(row.model, row.metric, row.verdict) for row in back] == [(r.model, r.metric, r.verdict) for r in rows]
    assert back[0].recovered == pytest.approx(rows[0].recovered, abs=1e-4)
    assert next(row for row in back if row.model == "kept").recovered is None
    (primary,) = (row for row in back if row.family == "primary")
    assert (primary.expected, primary.outcome, primary.beyond_twin) == (
        "recovered",
        "held",
        pytest.approx(0.857, abs=1e-3),
    )


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


def test_table_shows_predictions_first_and_what_goes_beyond_the_twin(tmp_path):
    write(tmp_path, "target", known(1), known(1))
    write(tmp_path, "back", known(0.3), known(0.9))
    write(tmp_path, "gone", known(0.3), known(0.3))
    predictions = [predicted("back", "recovered"), predicted("gone", "equivalent", "verbmem_forget")]
    rows, study = rows_of(tmp_path, ["back", "gone"], predictions=predictions, twins=[("back", "gone")])
    markdown = recovery_table.write_markdown(study, list(rows.values()))
    first, rest = markdown.split("**bios: recovered share (%), exploratory**")
    head, _, *lines = (line for line in first.splitlines() if line.startswith("|"))
    assert "expected | came out" in head and "beyond its float32 twin" in head
    assert lines[0].startswith("| bios | back | rtn-int4 | VerMem and KnowMem | recovered | held | 86 [")
    assert lines[1].startswith("| bios | gone | rtn-int4 | VerMem | equivalent | held | 0 [")
    assert lines[0].endswith("] |") and lines[1].endswith("|  |")  # only the one has a twin
    assert "**86†**" in rest and "**bios: beyond its float32 twin (%), exploratory**" in rest
    assert "one of the 2 predictions" in rest and "1 comparison)" in rest
    page = recovery_table.write_html(study, list(rows.values()))
    assert page.index("Primary family") < page.index("recovered share (%), exploratory") < page.index("twin (%)")
    plain, study = rows_of(tmp_path, ["back", "gone"])
    markdown = recovery_table.write_markdown(study, list(plain.values()))
    assert "primary" not in markdown and "Nothing was predicted: all of it is exploratory." in markdown
