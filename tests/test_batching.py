"""Batches that shrink: what counts as out of memory, and how often a batch is tried in vain."""

import pytest
import torch

from relapse.runtime.batching import BatchSize, attempt
from relapse.runtime.errors import RelapseError


def raising(error: Exception):
    def action() -> None:
        raise error

    return action


def test_what_counts_as_out_of_memory():
    assert attempt(raising(torch.OutOfMemoryError("CUDA out of memory"))) is None
    assert attempt(raising(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))) is None
    with pytest.raises(RuntimeError, match="shapes"):
        attempt(raising(RuntimeError("shapes do not fit")))


@pytest.mark.parametrize(("size", "items", "tried"), [(16, 6, [6, 3, 3]), (4, 6, [4, 2, 2, 2]), (2, 3, [2, 1])])
def test_a_batch_is_halved_from_what_it_was(size, items, tried):
    """Three fit: of 16 at most but 6 that there are, 3 are tried next, not 8. The last one is what is left."""
    sizes = []

    def three_fit(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("no memory")
        return [2 * item for item in batch]

    assert BatchSize(size).run(range(items), three_fit) == [2 * item for item in range(items)]
    assert sizes == tried


def test_not_even_one_fits():
    def none_fits(batch):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(RelapseError, match="out of memory with one example at a time"):
        BatchSize(2).run([1, 2], none_fits)
