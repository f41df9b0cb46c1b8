"""Figure 2 and Table 2: what they show, in which order, and what they say on top."""

import matplotlib.pyplot as plt
import pytest

from relapse.analysis.recovery import Recovery
from relapse.analysis.study import read_study
from relapse.report.calibration_figure import calibration_figure, shown
from relapse.report.tables import quantizer_study
from relapse.runtime.errors import RelapseError

GPTQ = {"backend": "gptq", "bits": 4, "group_size": 64, "samples": 8, "sample_length": 64}
SETTINGS = {
    "study": "toy",
    "corpora": {"bios": {}},
    "seeds": [0],
    "methods": {name: {"constrained": name != "ga"} for name in ("ga", "ga_gdr", "npo_klr")},
    "quantizers": {
        "full": {"backend": "full"},
        "nf4": {"backend": "bitsandbytes", "format": "nf4"},
        "rtn-int8": {"backend": "rtn", "bits": 8, "group_size": "row"},
        "rtn-int4": {"backend": "rtn", "bits": 4, "group_size": 64},
        "gptq-forget": GPTQ | {"calibration": "forget", "methods": ["npo_klr"]},
        "gptq": GPTQ | {"calibration": "general", "methods": ["ga_gdr", "npo_klr"]},
    },
}
SHARES = {"rtn-int8": 0.0, "rtn-int4": 0.6, "gptq": 0.2, "gptq-forget": 0.3}


def rows(study):
    return [
        Recovery(
            *("bios", model, quantizer, "knowledge", 90.0, 50.0, 70.0, 20.0, 10.0, 30.0),
            *(share, share - 0.1, share + 0.1, 0.01, "recovered", "no", 1.0),
        )
        for quantizer, share in SHARES.items()
        for model in study.methods
        if study.covers(model, quantizer)
    ]


def test_quantizers_stand_by_bits_backend_and_text():
    assert shown(read_study(SETTINGS)) == ["rtn-int8", "rtn-int4", "gptq", "gptq-forget"]


def test_the_title_says_the_median_of_each_backend_at_the_fewest_bits():
    study = read_study(SETTINGS)
    figure = calibration_figure(study, rows(study))
    try:
        text = " ".join(text.get_text() for text in figure.texts)
        # RTN: 60 and 60; GPTQ: 20, 20 and 30.
        assert "At 4 bit comes back: 60 % under RTN, 20 % under GPTQ (medians)" in text
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert labels[0] == "GPTQ 4 bit, groups of 64\nforget text" and labels[-1] == "RTN 8 bit, rows"
    finally:
        plt.close(figure)


def test_table_2_has_the_four_bit_quantizers_of_the_paper_and_the_methods_they_cover():
    others = {"prune-10": {"backend": "prune", "share": 0.1}, "wanda": {"backend": "wanda", "calibration": "general"}}
    study = quantizer_study(read_study(SETTINGS | {"quantizers": SETTINGS["quantizers"] | others}))
    assert list(study.quantizers) == ["full", "rtn-int4", "gptq", "gptq-forget"]
    assert list(study.methods) == ["ga_gdr", "npo_klr"]


def test_a_study_without_calibrated_quantizers_has_neither():
    plain = {name: entry for name, entry in SETTINGS["quantizers"].items() if "gptq" not in name}
    study = read_study(SETTINGS | {"quantizers": plain})
    with pytest.raises(RelapseError, match="calibrated on text"):
        shown(study)
    with pytest.raises(RelapseError, match="Table 2"):
        quantizer_study(study)
