"""One step of training as stock PyTorch does it: cost, autograd's backward, optimiser."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def cost(
    module: nn.Module, loss: nn.Module, x: Tensor, y: Tensor, weights: Iterable[Tensor], l2: float
) -> tuple[Tensor, Tensor]:
    """J with its penalty, and J without: sum of losses / m + (l2/2) sum of squares of the weights.

    `loss` sums over the batch; x holds one sample a row, m of them.
    """
    data = loss(module(x), y) / x.shape[0]
    total = data
    if l2:
        for W in weights:
            total = total + (l2 / 2) * (W * W).sum()
    return total, data


def backward(module: nn.Module, J: Tensor) -> list[Tensor]:
    """Autograd's gradient of J for every parameter of the module, in its order; also left in `.grad`."""
    module.zero_grad(set_to_none=True)
    J.backward()  # type: ignore[no-untyped-call]
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]


def sgd(module: nn.Module, lr: float) -> torch.optim.SGD:
    """The optimiser of the twin; L2 is in the cost, so that `weight_decay` stays 0."""
    return torch.optim.SGD(module.parameters(), lr=lr, weight_decay=0.0)
