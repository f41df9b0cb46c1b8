"""Packages in miniature, of the same layout as the real ones: a wheel around a GGUF file, and Austen's novels."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import rdata

from relapse.corpora import austen


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """folder/NAME-1.0-py3-none-any.whl with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path


def deb(path: Path, files: dict[str, bytes]) -> Path:
    """A Debian package with these files, as dpkg-deb writes it: an `ar` archive of three members."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in parts.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content)
            file.write(b"\n" * (len(content) % 2))
    return path


def serialized(value) -> bytes:
    return rdata.unparser.unparse_data(rdata.conversion.convert_python_to_r_data(value))


def novels(folder: Path, lines: dict[str, list[str]]) -> Path:
    """A Debian package with novels in R's lazy-load database, and beside it the package with the general text."""
    folder.mkdir(parents=True, exist_ok=True)
    objects, places = b"", {}
    for title, text in lines.items():
        content = serialized(np.array(text))
        chunk = len(content).to_bytes(4, "big") + zlib.compress(content)
        places[title] = np.array([len(objects), len(chunk)], dtype=np.int32)
        objects += chunk
    files = {
        f"{austen.NOVELS_FILE}.rdx": gzip.compress(serialized({"variables": places, "references": {}})),
        f"{austen.NOVELS_FILE}.rdb": objects,
    }
    return deb(folder / austen.NOVELS_URL.rpartition("/")[2], files)


def general(folder: Path, articles: int) -> Path:
    """The package with first paragraphs of articles, each of 80 words."""
    texts = {f"t{number}": {"extract": " ".join([f"w{number}"] * 80)} for number in range(articles)}
    return wheel(folder, austen.GENERAL[0], {austen.GENERAL_FILE: json.dumps(texts).encode()})
