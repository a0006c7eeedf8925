"""What a layer is: hyperparameters, and a forward and a backward that are pure functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch

# Nested dicts and tuples of tensors. Grads has the shape of the trained part of Params. A Cache is a NamedTuple
# that each layer defines for itself. A value is a tensor, or nested tuples of them (recurrent state, masks).
Params: TypeAlias = Any
Grads: TypeAlias = Any
Cache: TypeAlias = Any
Value: TypeAlias = Any


@dataclass(frozen=True)
class Mode:
    """How a forward pass runs: `training` (dropout, batch statistics) or not, and where randomness comes from."""

    training: bool = False
    generator: torch.Generator | None = None


EVAL = Mode()


@runtime_checkable
class Layer(Protocol):
    """A frozen dataclass of hyperparameters; it holds no tensor.

    Tensors come in as arguments and go out as results, so that one call shows every input of the derivative,
    and one layer's backward can be handed any delta. `forward` is plain torch; `backward` is written out by hand
    and never differentiates anything.
    """

    @property
    def weights(self) -> tuple[str, ...]:
        """Paths of the parameters that L2 decays, e.g. ("W",) or ("0.W", "2.W")."""

    @property
    def buffers(self) -> tuple[str, ...]:
        """Paths of tensors in Params that are not trained (running statistics)."""

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> Params:
        """Draw the initial parameters."""

    def forward(self, params: Params, x: Value, mode: Mode = EVAL) -> tuple[Value, Cache]:
        """Return the output and everything that `backward` needs."""

    def backward(self, params: Params, cache: Cache, dy: Value) -> tuple[Value, Grads]:
        """Return dJ/dx and the gradients of the parameters, given dy = dJ/dy."""
