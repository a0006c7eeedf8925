"""Activations a = f(z), each next to its derivative: the factor sigma'(z[l]) of eq. (4).

`backward` takes da = dJ/da and returns delta = dJ/dz = da * f'(z), element by element. Where the order of the
operations is unusual, it is the order in which autograd's own kernels round: then the two agree bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from manualbp.layer import EVAL, Mode


class OutputCache(NamedTuple):
    """For activations whose derivative is a formula of the output."""

    a: Tensor


class InputCache(NamedTuple):
    """For activations whose derivative is a formula of the input."""

    z: Tensor


class NoCache(NamedTuple):
    """For activations whose derivative is constant."""


@dataclass(frozen=True)
class Activation:
    """What all activations share: they have no parameters."""

    weights: ClassVar[tuple[str, ...]] = ()
    buffers: ClassVar[tuple[str, ...]] = ()

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> dict[str, Any]:
        """No parameters."""
        return {}


@dataclass(frozen=True)
class Identity(Activation):
    """a = z; f'(z) = 1."""

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, NoCache]:
        """a = z."""
        return z, NoCache()

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: NoCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da."""
        return da, {}


@dataclass(frozen=True)
class Sigmoid(Activation):
    """a = 1 / (1 + exp(-z)); f'(z) = a (1 - a), as in the lecture before eq. (11)."""

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, OutputCache]:
        """a = sigma(z)."""
        a = torch.sigmoid(z)
        return a, OutputCache(a)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: OutputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da * (1 - a) * a."""
        a = cache.a
        return (da * (1 - a)) * a, {}


@dataclass(frozen=True)
class Tanh(Activation):
    """a = tanh(z); f'(z) = 1 - a^2."""

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, OutputCache]:
        """a = tanh(z)."""
        a = torch.tanh(z)
        return a, OutputCache(a)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: OutputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da * (1 - a^2)."""
        a = cache.a
        one = torch.ones((), dtype=a.dtype, device=a.device)
        return da * torch.addcmul(one, a, a, value=-1), {}


@dataclass(frozen=True)
class ReLU(Activation):
    """a = max(z, 0); f'(z) = 1 for z > 0, else 0 (at 0 itself any value in [0, 1] is a subgradient)."""

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, InputCache]:
        """a = max(z, 0)."""
        return z.clamp(min=0), InputCache(z)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: InputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da where z > 0, else 0."""
        return da * (cache.z > 0), {}


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """a = z for z > 0, else slope z; f'(z) = 1 or slope."""

    slope: float = 0.01

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, InputCache]:
        """a = z or slope z."""
        return torch.where(z > 0, z, z * self.slope), InputCache(z)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: InputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da or slope da."""
        return torch.where(cache.z > 0, da, da * self.slope), {}


@dataclass(frozen=True)
class ELU(Activation):
    """a = z for z > 0, else alpha (exp(z) - 1); f'(z) = 1 or alpha exp(z) (Clevert et al., 2016)."""

    alpha: float = 1.0

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, InputCache]:
        """a = z or alpha (exp(z) - 1)."""
        return torch.where(z > 0, z, self.alpha * torch.expm1(z)), InputCache(z)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: InputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da or da * alpha exp(z)."""
        z = cache.z
        return torch.where(z > 0, da, da * (self.alpha * torch.exp(z.clamp(max=0)))), {}


@dataclass(frozen=True)
class SiLU(Activation):
    """a = z sigma(z), also called swish; f'(z) = s (1 + z (1 - s)) with s = sigma(z) (Elfwing et al., 2017)."""

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, InputCache]:
        """a = z sigma(z)."""
        return z * torch.sigmoid(z), InputCache(z)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: InputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da * s * (1 + z (1 - s))."""
        z = cache.z
        s = torch.sigmoid(z)
        return da * s * (1 + z * (1 - s)), {}


@dataclass(frozen=True)
class Softplus(Activation):
    """a = log(1 + exp(z)), without overflow: max(z, 0) + log1p(exp(-|z|)); f'(z) = sigma(z)."""

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, InputCache]:
        """a = log(1 + exp(z))."""
        return z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())), InputCache(z)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: InputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da * sigma(z)."""
        return da * torch.sigmoid(cache.z), {}


@dataclass(frozen=True)
class GELU(Activation):
    """a = z Phi(z), Phi the normal distribution function; f'(z) = Phi(z) + z phi(z) (Hendrycks and Gimpel, 2016).

    Phi(z) = erfc(-z / sqrt 2) / 2 keeps its digits for very negative z, where 1 + erf(z / sqrt 2) has none left.
    """

    def forward(self, params: dict[str, Any], z: Tensor, mode: Mode = EVAL) -> tuple[Tensor, InputCache]:
        """a = z Phi(z)."""
        return z * (0.5 * torch.special.erfc(z * -math.sqrt(0.5))), InputCache(z)

    @torch.no_grad()
    def backward(self, params: dict[str, Any], cache: InputCache, da: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """delta = da * (Phi(z) + z phi(z))."""
        z = cache.z
        Phi = 0.5 * torch.special.erfc(z * -math.sqrt(0.5))
        phi = torch.exp(-0.5 * z * z) * (1 / math.sqrt(2 * math.pi))
        return da * (Phi + z * phi), {}
