"""`make bench` of quantizers: a line with a time for every quantizer of a study."""

import subprocess
import sys

import yaml

from relapse.runtime.registry import ROOT


def test_every_quantizer_has_its_seconds_for_a_million_weights(tmp_path):
    study = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text())
    study["quantizers"]["autoawq-int4"] = {"backend": "autoawq", "group_size": 64, "sample_length": 64}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "scripts.bench_quantizers", "--config", str(tmp_path / "study.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    # Two layers of four matrices of 64 x 64 and three of 64 x 128.
    assert "(0.08 million here)" in first
    rows = {name: words for name, *words in map(str.split, lines)}
    assert rows.keys() == study["quantizers"].keys()
    assert "environment" in rows["autoawq-int4"]
    times = {name: float(words[0]) for name, words in rows.items() if name != "autoawq-int4"}
    assert times["full"] > 0 and times["full"] < times["gptq-int4"]
    assert rows["gptq-int4"][1:] == ["4", "x", "128"]
