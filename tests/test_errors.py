"""How a program ends: a message and status 1 for what a user can mend, a traceback for what nobody foresaw."""

import errno

import pytest
import torch
from safetensors import SafetensorError

from relapse.runtime.errors import RelapseError, exit_on_error


def raising(error: Exception):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RelapseError("lower lr"), "error: lower lr"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "Make room and run again"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 27 GiB."),
            "Tried to allocate 27 GiB. Use a machine",
        ),
        (MemoryError(), "out of memory: of this machine"),
    ],
)
def test_what_a_user_can_mend_is_said_without_a_traceback(error, expected):
    with pytest.raises(SystemExit, match=expected) as caught:
        exit_on_error(raising(error))
    assert str(caught.value).startswith("error: ")


def test_a_full_disk_behind_another_error_is_found():
    outer = RuntimeError("cannot write")
    outer.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    with pytest.raises(SystemExit, match="no space left"):
        exit_on_error(raising(outer))


def test_what_nobody_foresaw_keeps_its_traceback():
    with pytest.raises(KeyError):
        exit_on_error(raising(KeyError("loss")))
