"""A layer with a way around it: y = x + f(x)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from manualbp.layer import EVAL, Cache, Grads, Layer, Mode, Params
from manualbp.params import prefixed


@dataclass(frozen=True)
class Residual:
    """y = x + f(x); dx = dy + f's dx, since x reaches y on two paths (He et al., 2016)."""

    layer: Layer

    @property
    def weights(self) -> tuple[str, ...]:
        """The inner layer's."""
        return prefixed("layer", self.layer.weights)

    @property
    def buffers(self) -> tuple[str, ...]:
        """The inner layer's."""
        return prefixed("layer", self.layer.buffers)

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> dict[str, Params]:
        """Draw the inner layer's parameters."""
        return {"layer": self.layer.init(generator, dtype=dtype, device=device)}

    def forward(self, params: dict[str, Params], x: Tensor, mode: Mode = EVAL) -> tuple[Tensor, Cache]:
        """y = x + f(x); f must keep the shape."""
        f, cache = self.layer.forward(params["layer"], x, mode)
        if f.shape != x.shape:
            raise ValueError(
                f"Residual: the inner layer must keep the shape, got {tuple(x.shape)} in and {tuple(f.shape)} out"
            )
        return x + f, cache

    @torch.no_grad()
    def backward(self, params: dict[str, Params], cache: Cache, dy: Tensor) -> tuple[Tensor, dict[str, Grads]]:
        """dx = dy + dy df/dx."""
        dx, grads = self.layer.backward(params["layer"], cache, dy)
        return dy + dx, {"layer": grads}
