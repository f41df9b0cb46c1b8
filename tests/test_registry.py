"""Registries and source digests: the two things that let one file and one config entry be enough."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Literal

import pytest

from relapse.runtime.code_digest import digest, executed
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import ROOT, Registry
from relapse.runtime.settings import Count, Settings


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package `things` with a registry and one file that registers `apple`."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    write("things/__init__.py", "from relapse.runtime.registry import Registry\nTHINGS = Registry('thing', 'things')\n")
    write(
        "things/fruit.py",
        """
        from types import SimpleNamespace
        from things import THINGS
        THINGS.register(SimpleNamespace(name="apple"))
        """,
    )
    write("main.py", "def main():\n    from helper import help_out\n")
    write("helper.py", "import deeper\n")
    write("deeper.py", "X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_file_in_the_package_is_found_without_being_told(project, monkeypatch):
    import things

    import relapse.runtime.registry

    monkeypatch.setattr(relapse.runtime.registry, "ROOT", project)
    assert things.THINGS.names() == ["apple"]
    assert things.THINGS.source("apple") == "things/fruit.py"
    with pytest.raises(ConfigError, match=r"unknown thing 'appel'. Did you mean 'apple'\? Allowed: apple."):
        things.THINGS.get("appel")


def test_a_name_is_registered_once_and_from_the_package():
    registry = Registry("method", "relapse.unlearning.methods")
    with pytest.raises(RuntimeError, match="registered by a file in"):
        registry.register(SimpleNamespace(name="mine"))


class Fruit(Settings):
    size: Count = 1
    colour: Literal["red", "green"]


def test_an_entry_becomes_an_object_with_its_defaults_and_every_problem_is_named():
    things = Registry("thing", "things")
    things._entries, things._discovered = {"apple": SimpleNamespace(name="apple", settings=Fruit)}, True
    assert things.settings({"colour": "red"}, "apple").plain() == {"colour": "red", "size": 1}
    with pytest.raises(ConfigError) as caught:
        things.settings({"size": 0, "weight": 3}, "apple")
    assert str(caught.value) == (
        "size: is 0, must be greater than or equal to 1; colour: Field required; weight: Extra inputs are not permitted"
    )


def test_a_digest_covers_imports_at_any_depth_and_nothing_else(project):
    assert {path.name for path in executed(project / "main.py", project)} == {"main.py", "helper.py", "deeper.py"}
    before = digest(project, "main.py")
    (project / "things/fruit.py").write_text("# changed\n")
    digest.cache_clear()
    assert digest(project, "main.py") == before
    (project / "deeper.py").write_text("X = 2\n")
    digest.cache_clear()
    assert digest(project, "main.py") != before


def test_table_and_figure_jobs_import_neither_torch_nor_pydantic():
    scripts = ["collect", "retained", "recovery", "table", "models_table", "absorption_table", "timings", "costs"]
    scripts += ["figure"]
    figures = [f"relapse.report.{file.stem}" for file in (ROOT / "relapse" / "report").glob("*_figure.py")]
    for script in [f"scripts.{name}" for name in scripts] + figures:
        code = f"import sys, {script}; print({{'torch', 'pydantic'}} & set(sys.modules))"
        out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert out.stdout.strip() == "set()", (script, out.stdout, out.stderr)
