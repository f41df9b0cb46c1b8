"""Files from the Hugging Face Hub: room for them, the download, and whether they are what the Hub lists.

This module reads the Hub's cache and turns the Hub's errors into messages with a remedy. huggingface_hub reads HF_HOME,
HF_TOKEN, HF_HUB_OFFLINE and HF_ENDPOINT (a mirror), with their usual meaning.
"""

import errno
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relapse.runtime.disk_space import gigabytes, require_room
from relapse.runtime.errors import RelapseError, chain, disk_is_full

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # how the cache names content: git's blob SHA-1, or SHA-256
LARGE = 100_000_000  # bytes; hashing more takes so long that it is announced


def snapshot(repository: str, revision: str, patterns: Sequence[str] | None = None, kind: str = "model") -> Path:
    """Folder of a Hub snapshot in the cache, downloaded where it is not there yet, every file checked by its hash.

    patterns: names such as *.json to which the download is limited; None: all files. kind: model or dataset. What broke
    off goes on: a cut connection at the byte that it had reached, a killed run at the file. Raises RelapseError with
    the next step for whatever stands in the way; a file that does not match its hash is deleted from the cache first.
    """
    from huggingface_hub import constants, snapshot_download

    download = _download(revision, patterns, kind)
    with _explained(repository, revision, kind):
        if constants.HF_HUB_OFFLINE:
            folder = Path(snapshot_download(repository, local_files_only=True, **download))
        else:
            count, size = _to_come(repository, download)
            require_room(
                size - _begun(repository, kind),
                Path(constants.HF_HUB_CACHE),
                f"{repository} at revision {revision}",
                "set HF_HOME to a folder on a larger disk.",
            )
            if count:
                print(f"downloading {count} files of {repository}, {gigabytes(size)}", flush=True)
            folder = Path(snapshot_download(repository, **download))
        _verify(folder, repository, revision, patterns, kind)
    return folder


def size_to_come(repository: str, revision: str, patterns: Sequence[str] | None = None, kind: str = "model") -> int:
    """Bytes that `snapshot` would download, of which nothing is downloaded. Raises RelapseError as it does."""
    with _explained(repository, revision, kind):
        return _to_come(repository, _download(revision, patterns, kind))[1]


def file(repository: str, revision: str, name: str) -> Path:
    """One file of a model's repository in the cache, downloaded where it is not there. Raises RelapseError likewise."""
    from huggingface_hub import hf_hub_download

    with _explained(repository, revision, "model"):
        return Path(hf_hub_download(repository, name, revision=revision))


def _download(revision: str, patterns: Sequence[str] | None, kind: str) -> dict[str, Any]:
    """What of a repository is downloaded, as `snapshot_download` takes it."""
    return {"revision": revision, "repo_type": kind, "allow_patterns": None if patterns is None else list(patterns)}


def _to_come(repository: str, download: dict[str, Any]) -> tuple[int, int]:
    """Files that are not in the cache, and their bytes."""
    from huggingface_hub import snapshot_download

    wanted = [file for file in snapshot_download(repository, dry_run=True, **download) if file.will_download]
    return len(wanted), sum(file.file_size or 0 for file in wanted)


def _begun(repository: str, kind: str) -> int:
    """Bytes in the cache of files whose download broke off, and which goes on there."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)
    return sum(path.stat().st_size for path in folder.glob("blobs/*.incomplete"))


@contextmanager
def _explained(repository: str, revision: str, kind: str) -> Iterator[None]:
    """Whatever goes wrong as a RelapseError with the next step."""
    try:
        yield
    except RelapseError:
        raise
    except Exception as error:  # huggingface_hub, httpx, hf_xet and the disk have no error class in common
        raise RelapseError(
            f"cannot download {repository} at revision {revision}: {_reason(error, repository, revision, kind)}"
        ) from None


# --- what the files should be -----------------------------------------------------------------------------------------


def _verify(folder: Path, repository: str, revision: str, patterns: Sequence[str] | None, kind: str) -> None:
    """Check the files of a snapshot against their hashes; delete those that differ and raise RelapseError naming them.

    A hash is known from the name of the blob that a snapshot's link leads to, or where the cache has no links from the
    list of files that a download leaves; for a cache that has neither, a line reports that nothing could be checked.
    """
    from huggingface_hub.utils import filter_repo_objects

    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    listed = _listed(repository, revision, kind)
    wrong, unknown = [], []
    for name in filter_repo_objects(names, allow_patterns=None if patterns is None else list(patterns)):
        path = folder / name
        blob = path.readlink().name if path.is_symlink() else ""
        expected = blob if HASH.fullmatch(blob) else listed.get(name, "")
        if not expected:
            unknown.append(name)
        elif not path.is_file() or _hash(path, len(expected)) != expected:
            wrong.append(name)
            _delete(path)
    if wrong:
        raise RelapseError(
            f"{repository} at revision {revision}: the content of {', '.join(wrong)} differs from the Hub's and was "
            "deleted from the cache. Run again to download what was deleted."
        )
    if unknown:
        print(f"{repository}: not checked, since no hash is known: {', '.join(unknown)} in {folder}", flush=True)


def _listed(repository: str, revision: str, kind: str) -> dict[str, str]:
    """File name -> hash, from the list that huggingface_hub keeps of a revision; empty where there is none."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(repository, repo_type=kind, revision=revision)
    except CachedRepoTreeNotFoundError:
        return {}
    return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}


def _hash(path: Path, digits: int) -> str:
    """SHA-256 of a file, or with 40 digits the SHA-1 that git gives it as a blob."""
    size = path.stat().st_size
    if size > LARGE:
        print(f"checking {path.name} ({gigabytes(size)})", flush=True)
    with path.open("rb") as file:
        if digits == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.file_digest(file, lambda: hashlib.sha1(b"blob %d\0" % size)).hexdigest()


def _delete(path: Path) -> None:
    """Delete a file of a snapshot with all that its link leads to: the blob, and what several blobs share."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


# --- what went wrong --------------------------------------------------------------------------------------------------


def _reason(error: Exception, repository: str, revision: str, kind: str) -> str:
    """What `error` means, and the next step."""
    import httpx
    from huggingface_hub import constants, errors, get_token

    links = list(chain(error))
    answers = [link.response for link in links if isinstance(link, errors.HfHubHTTPError)]
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
    token = "the token that is set is of no such account" if get_token() else "no token is set"

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in links)

    if disk_is_full(error):
        return (
            f"no space left in {constants.HF_HUB_CACHE}. Make room, or set HF_HOME to a folder on a larger disk, and "
            "run again: complete files are kept."
        )
    if any(answer.headers.get("X-Error-Message", "").startswith("Invalid credentials") for answer in answers):
        return (
            "the Hub does not accept the token. Make a new one at https://huggingface.co/settings/tokens and set "
            "HF_TOKEN; without HF_TOKEN, public repositories can be read."
        )
    if any_is(errors.GatedRepoError):
        return (
            f"it is gated. Accept its licence at {page} and set HF_TOKEN to a token of the same account ({token}); or "
            f"give a local copy ({_local(kind)})."
        )
    if any_is(errors.RepositoryNotFoundError):
        return f"there is no such {kind}, or it is private. Check the id; if it is private, set HF_TOKEN ({token})."
    if any_is(errors.RevisionNotFoundError):
        return f"there is no such revision. Take the hash of a commit from {page}/commits/main."
    if constants.HF_HUB_OFFLINE and any_is(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        flag = " --repo-type dataset" if kind == "dataset" else ""
        return (
            f"it is not in the cache ({constants.HF_HUB_CACHE}), or not whole, and HF_HUB_OFFLINE is set. Unset it; or "
            f"run `hf download {repository} --revision {revision}{flag}` on a machine with a network and copy its "
            f"HF_HOME here; or give a local copy ({_local(kind)})."
        )
    if any_is(httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError):
        return (
            f"{constants.ENDPOINT} cannot be reached. Check the network and its proxy; a mirror is named by "
            "HF_ENDPOINT; what is in the cache is used with HF_HUB_OFFLINE=1."
        )
    if any_is(httpx.TransportError) or "Consistency check failed" in str(error):
        return f"the connection broke off ({error}). Run again: complete files are kept."
    if any_is(errors.HFValidationError):
        return f"{repository!r} is no id on the Hub: it reads OWNER/NAME."
    if any_is(PermissionError) or any(getattr(link, "errno", None) == errno.EROFS for link in links):
        return (
            f"{constants.HF_HUB_CACHE} may not be written ({error}). Set HF_HOME to a folder that may; or, where all "
            "is there, HF_HUB_OFFLINE=1."
        )
    if answers:
        return f"{constants.ENDPOINT} answered {answers[0].status_code}. Run again later. {error}"
    return f"{type(error).__name__}: {error}"


def _local(kind: str) -> str:
    return "path: FOLDER" if kind == "dataset" else "source: local, path: FOLDER"
