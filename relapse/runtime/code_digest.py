"""A digest of the project's own source files that a program executes.

Snakemake notices a changed parameter, not a changed import; a rule that carries this digest as a parameter reruns
exactly when code that it runs has changed.
"""

import hashlib
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path


@cache
def executed(file: Path, root: Path) -> frozenset[Path]:
    """`file` and every file below `root` that it imports, at whatever depth and also inside functions."""
    finder = ModuleFinder(path=[str(root)])
    finder.run_script(str(file))
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return frozenset(Path(file) for file in files if file)


@cache
def digest(root: Path, *files: str) -> str:
    """SHA-256 over the contents of `files` and of all that they import from below `root`.

    files: relative to `root`, or absolute paths of an installed package's.
    """
    found = frozenset().union(*(executed(root / file, root) for file in files))
    sha = hashlib.sha256()
    for path in sorted(found):
        name = path.relative_to(root) if path.is_relative_to(root) else path.name
        sha.update(str(name).encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:16]
