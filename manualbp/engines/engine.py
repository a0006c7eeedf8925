"""What an engine is: one way to run gradient descent on a network of linear layers, in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from manualbp.layer import Grads, Params


class Engine(Protocol):
    """Trains one network with one cost; every engine computes what `reference` does, up to rounding.

    It keeps buffers, never a state: what a span of steps did is all in `params`.
    """

    name: str

    @property
    def product(self) -> str:
        """Which matrix product it uses, such as "torch" or "mkl"."""

    def train(self, params: Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float) -> Tensor:
        """Take one step for each `size` rows of `order`, and update `params` in place, eq. (1).

        x is (m, d), y (m, k) or (m,) int64, order int64: an epoch is a permutation of the m rows, or a part of one.
        The last step takes what is left. Returns J of every step before its update, without the penalty, on the
        device: nothing waits for it.
        """

    def gradients(self, params: Params, x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, Grads]:
        """J without the penalty and dJ/dparams with it, by the very products that `train` uses; x is one batch."""


def spans(rows: int, size: int) -> Iterator[slice]:
    """The slices of `order` that the steps take."""
    if size < 1:
        raise ValueError(f"a step takes at least one sample, got size {size}")
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
