"""A file has one idea and a function fits on a screen: at most 300 lines and 60."""

import ast

from relapse.runtime.registry import ROOT

FILE, FUNCTION = 300, 60
SOURCES = sorted(path for folder in ("relapse", "scripts") for path in (ROOT / folder).rglob("*.py"))


def test_no_file_is_longer():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert len(lengths) > 100
    assert {path: lines for path, lines in lengths.items() if lines > FILE} == {}, "split it along an idea"


def test_no_function_is_longer():
    """Docstrings count, decorators do not."""
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 500
    assert {function: lines for function, lines in lengths.items() if lines > FUNCTION} == {}, "split it along an idea"
