"""Cost functions of the last pre-activation z[L], each next to its derivative delta[L] = dJ/dz[L].

Each sums over the outputs and averages over the batch: the only 1/m of the whole derivation is here.
z is (m, k), one sample a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class LossCache(NamedTuple):
    """What the derivative needs."""

    z: Tensor
    y: Tensor


class Loss(Protocol):
    """J(z, y), its derivative, and the prediction that belongs to it."""

    def forward(self, z: Tensor, y: Tensor) -> tuple[Tensor, LossCache]:
        """J, a scalar, and what `backward` needs."""

    def backward(self, cache: LossCache) -> Tensor:
        """delta[L] = dJ/dz[L], (m, k)."""

    def predict(self, z: Tensor) -> Tensor:
        """The network's answer for the pre-activation z: the activation of the output layer."""


def _same_shape(loss: str, z: Tensor, y: Tensor) -> None:
    if z.shape != y.shape or z.ndim != 2:
        raise ValueError(f"{loss} takes z and y of one shape (m, outputs), got {tuple(z.shape)} and {tuple(y.shape)}")
    _not_empty(loss, z)


def _not_empty(loss: str, z: Tensor) -> None:
    if z.shape[0] == 0:
        raise ValueError(f"{loss}: the mean over a batch of 0 samples does not exist; give at least one row")


@dataclass(frozen=True)
class LogLoss:
    """J = -(1/m) sum [y log a + (1 - y) log(1 - a)] with a = sigma(z), computed from z.

    -[y log a + (1 - y) log(1 - a)] = max(z, 0) - z y + log1p(exp(-|z|)), finite and exact at every magnitude.
    With several outputs each is a yes-or-no question of its own.
    """

    def forward(self, z: Tensor, y: Tensor) -> tuple[Tensor, LossCache]:
        """J of section 2.1, step 3."""
        _same_shape("LogLoss", z, y)
        J = (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).sum() / z.shape[0]
        return J, LossCache(z, y)

    @torch.no_grad()
    def backward(self, cache: LossCache) -> Tensor:
        """delta[L] = (a[L] - y) / m, eq. (3)."""
        a = torch.sigmoid(cache.z)
        return (a - cache.y) * (1 / a.shape[0])

    def predict(self, z: Tensor) -> Tensor:
        """a = sigma(z): the probability of a one."""
        return torch.sigmoid(z)


@dataclass(frozen=True)
class CrossEntropy:
    """J = -(1/m) sum_i sum_k y_ik log a_ik with a = softmax(z), log a_ik = z_ik - logsumexp(z_i).

    y is one-hot, or rows of class probabilities, of z's shape; or class indices (m,), int64.
    """

    def forward(self, z: Tensor, y: Tensor) -> tuple[Tensor, LossCache]:
        """J, without ever forming softmax's quotient."""
        if y.dtype == torch.int64:
            if z.ndim != 2 or y.shape != z.shape[:1]:
                raise ValueError(
                    "CrossEntropy takes z (m, classes) with class indices (m,), "
                    f"got {tuple(z.shape)} and {tuple(y.shape)}"
                )
            _not_empty("CrossEntropy", z)
            true = z.gather(1, y[:, None])  # (m, 1); an index outside 0..k-1 raises here
            J = (torch.logsumexp(z, 1, keepdim=True) - true).sum() / z.shape[0]
        else:
            _same_shape("CrossEntropy", z, y)
            J = ((torch.logsumexp(z, 1, keepdim=True) - z) * y).sum() / z.shape[0]
        return J, LossCache(z, y)

    @torch.no_grad()
    def backward(self, cache: LossCache) -> Tensor:
        """delta[L] = (a sum_k y_k - y) / m; the sum is 1 for one-hot y and probabilities."""
        z, y = cache
        m = z.shape[0]
        a = torch.exp(z - torch.logsumexp(z, 1, keepdim=True))  # (m, k), softmax
        if y.dtype == torch.int64:
            one_hot = torch.zeros_like(z).scatter_(1, y[:, None], 1.0)
            return a * (1 / m) - one_hot * (1 / m)
        return a * (y * (1 / m)).sum(1, keepdim=True) - y * (1 / m)

    def predict(self, z: Tensor) -> Tensor:
        """a = softmax(z): the probability of each class."""
        return torch.softmax(z, 1)


@dataclass(frozen=True)
class SquaredError:
    """J = (1/m) sum (a - y)^2 / 2 with a = z: the cost of linear regression (exercise 3)."""

    def forward(self, z: Tensor, y: Tensor) -> tuple[Tensor, LossCache]:
        """Half the squared error, summed over outputs, averaged over samples."""
        _same_shape("SquaredError", z, y)
        error = z - y
        J = (error * error).sum() * 0.5 / z.shape[0]
        return J, LossCache(z, y)

    @torch.no_grad()
    def backward(self, cache: LossCache) -> Tensor:
        """delta[L] = (z[L] - y) / m."""
        z, y = cache
        return (z - y) * (1 / z.shape[0])

    def predict(self, z: Tensor) -> Tensor:
        """a = z."""
        return z
