"""Layers one after another: the backward is the forward in reverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from manualbp.layer import EVAL, Cache, Grads, Layer, Mode, Params, Value
from manualbp.params import prefixed


@dataclass(frozen=True)
class Sequential:
    """y = f_n(... f_2(f_1(x))). Params, Cache and Grads are tuples with one entry a layer."""

    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]) -> None:
        if not layers:
            raise ValueError("Sequential needs at least one layer, got none")
        for position, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise ValueError(
                    f"Sequential: entry {position} is no layer but {type(layer).__name__}; a layer has "
                    "weights, buffers, init, forward and backward (see manualbp/layer.py)"
                )
        object.__setattr__(self, "layers", tuple(layers))

    @property
    def weights(self) -> tuple[str, ...]:
        """Every layer's, e.g. ("0.W", "2.W")."""
        return tuple(path for i, layer in enumerate(self.layers) for path in prefixed(i, layer.weights))

    @property
    def buffers(self) -> tuple[str, ...]:
        """Every layer's."""
        return tuple(path for i, layer in enumerate(self.layers) for path in prefixed(i, layer.buffers))

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> tuple[Params, ...]:
        """Draw every layer's parameters, first layer first."""
        return tuple(layer.init(generator, dtype=dtype, device=device) for layer in self.layers)

    def forward(self, params: tuple[Params, ...], x: Value, mode: Mode = EVAL) -> tuple[Value, tuple[Cache, ...]]:
        """Each layer takes what the one before it returned."""
        caches = []
        for layer, own in zip(self.layers, params, strict=True):
            x, cache = layer.forward(own, x, mode)
            caches.append(cache)
        return x, tuple(caches)

    @torch.no_grad()
    def backward(
        self, params: tuple[Params, ...], cache: tuple[Cache, ...], dy: Value
    ) -> tuple[Value, tuple[Grads, ...]]:
        """Step 2 of the lecture: from the last layer to the first, each passes its dx on."""
        grads = []
        for layer, own, kept in zip(reversed(self.layers), reversed(params), reversed(cache), strict=True):
            dy, own_grads = layer.backward(own, kept, dy)
            grads.append(own_grads)
        return dy, tuple(reversed(grads))
