"""One step of training as stock PyTorch does it: cost, autograd's backward, optimiser."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


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


def sgd_step_(module: nn.Module, lr: float) -> None:
    """The update of `torch.optim.SGD`, in place, from each parameter's `.grad`; L2 is in the cost, not a weight decay.

    It is the optimiser's functional form, which `torch.optim.SGD.step` calls too: the class itself loads torch's
    compiler when it is made, which takes as long as to import torch once more.
    """
    parameters: list[Tensor] = [p for p in module.parameters() if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    momenta: list[Tensor | None] = [None] * len(parameters)
    with torch.no_grad():
        sgd(
            parameters,
            gradients,
            momenta,
            lr=lr,
            weight_decay=0.0,
            momentum=0.0,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
