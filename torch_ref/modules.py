"""Modules that torch.nn lacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """y = x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Inner module and identity, added."""
        y: Tensor = x + self.inner(x)
        return y


class LogSumExpLoss(nn.Module):
    """Sum over the batch of logsumexp(z_i) - z_i[y_i], for class indices, or of sum_k y_ik (lse_i - z_ik).

    The cross-entropy of `nn.CrossEntropyLoss(reduction="sum")` in operations whose derivatives round one by one,
    so that a hand-written delta can equal autograd's in every bit; the fused kernel's differs by an ulp.
    """

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z (m, k); y (m,) int64 or (m, k)."""
        lse = torch.logsumexp(z, dim=1)
        if y.dtype == torch.int64:
            return (lse - z[torch.arange(len(z), device=z.device), y]).sum()
        return ((lse[:, None] - z) * y).sum()


class HalfSquaredError(nn.Module):
    """Half of nn.MSELoss(reduction="sum"): sum (z - y)^2 / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.squared_error = nn.MSELoss(reduction="sum")

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z and y (m, k)."""
        half: Tensor = self.squared_error(z, y) * 0.5
        return half


class ThroughForward(nn.Module):
    """Autograd through a forward pass that someone else wrote: the twin of a layer that has no other.

    It certifies the backward against that very forward, and says nothing of the forward itself.
    """

    def __init__(self, forward: Callable[[dict[str, Tensor], Tensor], Tensor], parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.through = forward
        self.paths = list(parameters)
        self.values = nn.ParameterList([tensor.detach().clone() for tensor in parameters.values()])

    def forward(self, x: Tensor) -> Tensor:
        """The foreign forward at this module's parameters."""
        return self.through(dict(zip(self.paths, self.values, strict=True)), x)
