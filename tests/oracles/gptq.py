"""GPTQ (arXiv 2210.17323, Algorithm 1) one column at a time, without blocks or a Cholesky factor.

A column is rounded; its error is spread over the columns that are still to come, by the inverse Hessian of the layer's
output error ||(W - Q) X||^2 over these columns; then the column leaves the inverse (Eq. 2 and 3).
"""

import torch

from oracles.rtn import nearest, steps


def gptq(weight: torch.Tensor, inputs: torch.Tensor, bits: int, group_size: int, dampening: float, order: str):
    """Q(W) for a matrix (out, in) and the inputs (tokens, in) that it sees, float64.

    The steps are those of the unchanged weights. order: "static", columns with the largest Hessian diagonal first, or
    "none", as they lie. dampening: share of the mean diagonal that is added to the diagonal.
    """
    hessian = 2 * inputs.double().T @ inputs.double()  # (in, in)
    dead = hessian.diagonal() == 0
    hessian[dead, dead] = 1
    weight = weight.double().clone()
    weight[:, dead] = 0
    step = steps(weight, bits, group_size)
    columns = hessian.diagonal().argsort(descending=True) if order == "static" else torch.arange(len(hessian))
    hessian += dampening * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    inverse = torch.linalg.inv(hessian)
    for column in columns.tolist():
        rounded = nearest(weight[:, column], step[:, column], bits)
        error = (weight[:, column] - rounded) / inverse[column, column]  # (out,)
        weight -= error.unsqueeze(1) * inverse[column].unsqueeze(0)  # (out, 1) * (1, in); finished columns have 0 there
        weight[:, column] = rounded
        inverse -= torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return weight
