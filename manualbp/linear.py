"""z = x W^T + b: the pre-activation of a fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from manualbp.init import Initializer, Normal
from manualbp.layer import EVAL, Mode


class LinearCache(NamedTuple):
    """The layer's input."""

    x: Tensor  # (m, n_in)


@dataclass(frozen=True)
class Linear:
    """z = x W^T + b, with x (m, n_in), W (n_out, n_in), b (n_out,), z (m, n_out).

    The lecture writes samples as columns: z[l] = W[l] a[l-1] + b[l].
    """

    n_in: int
    n_out: int
    initializer: Initializer = Normal(0.1)
    bias: bool = True

    weights = ("W",)
    buffers = ()

    def __post_init__(self) -> None:
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"Linear: n_in and n_out must be at least 1, got {self.n_in} and {self.n_out}")

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> dict[str, Tensor]:
        """Draw W and b."""
        drawn = {"W": self.initializer.weight(self.n_out, self.n_in, generator)}
        if self.bias:
            drawn["b"] = self.initializer.bias(self.n_out, generator)
        return {name: tensor.to(device=device, dtype=dtype) for name, tensor in drawn.items()}

    def forward(self, params: dict[str, Tensor], x: Tensor, mode: Mode = EVAL) -> tuple[Tensor, LinearCache]:
        """z[l] = W[l] a[l-1] + b[l]."""
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise ValueError(
                f"Linear({self.n_in}, {self.n_out}) takes x of shape (m, {self.n_in}), one sample a row; "
                f"got {tuple(x.shape)}"
            )
        W = params["W"]
        z = torch.addmm(params["b"], x, W.t()) if self.bias else x.mm(W.t())  # (m, n_out)
        return z, LinearCache(x)

    @torch.no_grad()
    def backward(
        self, params: dict[str, Tensor], cache: LinearCache, delta: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. (5) and the matrix product of eq. (4), for delta = dJ/dz (m, n_out).

        In columns: dJ/dW[l] = delta[l] a[l-1]^T, dJ/db[l] = delta[l], summed over the samples of the batch.
        """
        grads = {"W": delta.t().mm(cache.x)}  # (n_out, n_in)
        if self.bias:
            grads["b"] = delta.sum(0)  # (n_out,)
        dx = delta.mm(params["W"])  # (m, n_in)
        return dx, grads
