"""Initial values of weights and biases (section 2.1, step 1 of the lecture).

Values are drawn in float64 on the generator's device and then cast and moved, so that one seed means one start in
every dtype and on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Initializer(Protocol):
    """Draws W of shape (n_out, n_in) and b of shape (n_out,), float64."""

    def weight(self, n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
        """W of shape (n_out, n_in)."""

    def bias(self, n_out: int, generator: torch.Generator) -> Tensor:
        """b of shape (n_out,)."""


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    return std * torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _zeros(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=generator.device)


@dataclass(frozen=True)
class Normal:
    """W and b ~ N(0, std^2), the lecture's N(0, 0.1).

    The lecture does not say whether 0.1 is the variance or the standard deviation; here it is the latter.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.std) and self.std >= 0):
            raise ValueError(f"Normal: std must be a finite number >= 0, got {self.std}; the lecture's is 0.1")

    def weight(self, n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
        """W ~ N(0, std^2)."""
        return _normal((n_out, n_in), self.std, generator)

    def bias(self, n_out: int, generator: torch.Generator) -> Tensor:
        """b ~ N(0, std^2)."""
        return _normal((n_out,), self.std, generator)


@dataclass(frozen=True)
class Zeros:
    """W = 0, b = 0: hidden units stay equal for ever (exercise 1). There to be watched, not used."""

    def weight(self, n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
        """W = 0."""
        return _zeros((n_out, n_in), generator)

    def bias(self, n_out: int, generator: torch.Generator) -> Tensor:
        """b = 0."""
        return _zeros((n_out,), generator)


@dataclass(frozen=True)
class Xavier:
    """W ~ U(-r, r) with r = sqrt(6 / (n_in + n_out)), b = 0: for sigmoid and tanh (Glorot and Bengio, 2010)."""

    def weight(self, n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
        """W ~ U(-r, r)."""
        r = math.sqrt(6 / (n_in + n_out))
        u = torch.rand((n_out, n_in), generator=generator, dtype=torch.float64, device=generator.device)
        return (2 * u - 1) * r

    def bias(self, n_out: int, generator: torch.Generator) -> Tensor:
        """b = 0."""
        return _zeros((n_out,), generator)


@dataclass(frozen=True)
class Kaiming:
    """W ~ N(0, 2 / n_in), b = 0: for ReLU and its relatives (He et al., 2015)."""

    def weight(self, n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
        """W ~ N(0, 2 / n_in)."""
        return _normal((n_out, n_in), math.sqrt(2 / n_in), generator)

    def bias(self, n_out: int, generator: torch.Generator) -> Tensor:
        """b = 0."""
        return _zeros((n_out,), generator)
