"""More fused kernels as their parts, for shadows alone: here only the exact formula matters, not how it rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from compare.check import parts
from compare.check.shadow_entries import Unknown


def mse_loss(x: Tensor, y: Tensor, reduction: int = 1) -> Tensor:
    """(x - y)^2, reduced."""
    return parts.reduced((x - y) ** 2, reduction)


def binary_cross_entropy_with_logits(
    x: Tensor, y: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """(1 - y) x + softplus(-x), reduced; positive labels weighted."""
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * y
    loss = (1 - y) * x + positive * parts.softplus(-x)
    return parts.reduced(loss if weight is None else loss * weight, reduction)


def nll_loss_forward(
    logp: Tensor, y: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """-logp[i, y[i]], reduced, and the number of rows. Raises Unknown for weights and ignored labels."""
    if weight is not None or logp.ndim != 2 or bool((y == ignore_index).any()):
        raise Unknown("nll_loss with weights or ignored labels")
    picked = -logp.gather(1, y[:, None])[:, 0]
    return parts.reduced(picked, reduction), torch.full((), float(len(y)), dtype=logp.dtype)


def log_sigmoid_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """-softplus(-x), and a buffer."""
    return -parts.softplus(-x), torch.empty(0, dtype=x.dtype)


def linalg_vector_norm(
    x: Tensor, ord: float = 2, dim: Sequence[int] | None = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """sqrt(sum x^2). Raises Unknown for other orders."""
    if ord != 2:
        raise Unknown("a norm that is not Euclidean")
    return (x * x).sum(tuple(range(x.ndim)) if dim is None else tuple(dim), keepdim=keepdim).sqrt()


SHADOW_PARTS: dict[str, Callable[..., Any]] = parts.PARTS | {
    part.__name__: part
    for part in (mse_loss, binary_cross_entropy_with_logits, nll_loss_forward, log_sigmoid_forward, linalg_vector_norm)
}
