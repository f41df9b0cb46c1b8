"""Wanda (arXiv 2306.11695) and SparseGPT (arXiv 2301.00774), a row or a column at a time."""

import torch


def wanda(weight: torch.Tensor, inputs: torch.Tensor, share: float) -> torch.Tensor:
    """W (out, in) without the share, rounded down, of every row whose |w| ||x||_2 is smallest; inputs: (tokens, in)."""
    scores = weight.double().abs() * inputs.double().norm(dim=0)
    pruned = weight.double().clone()
    for row, score in zip(pruned, scores, strict=True):
        row[score.argsort()[: int(share * len(row))]] = 0
    return pruned


def sparsegpt(weight: torch.Tensor, inputs: torch.Tensor, share: float, dampening: float) -> torch.Tensor:
    """W (out, in), float64, for a matrix of one block of columns; inputs: (tokens, in).

    H_j is the Hessian of columns j and later. A weight whose w^2 / [H_j^-1]_jj is among the share that is smallest in
    the whole matrix becomes 0 when its column comes; the later ones then take what keeps the layer's output nearest.
    """
    hessian = 2 * inputs.double().T @ inputs.double()
    hessian += dampening * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    inverses = [torch.linalg.inv(hessian[column:, column:]) for column in range(len(hessian))]
    pruned = weight.double().clone()
    scores = pruned**2 / torch.stack([inverse[0, 0] for inverse in inverses])
    gone = scores <= scores.flatten().sort().values[int(share * scores.numel())]
    for column, inverse in enumerate(inverses):
        error = torch.where(gone[:, column], pruned[:, column], 0) / inverse[0, 0]  # (out,)
        pruned[:, column:] -= error.unsqueeze(1) * inverse[0].unsqueeze(0)
    return torch.where(gone, 0, pruned)
