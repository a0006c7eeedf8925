"""How far products of rounded operands (--matmul tf32, bf16) can move a result, measured as the noise floor is.

The floor of noise.py is that of IEEE products: an engine that was asked to round operands to 11 or 8 bits is far beyond
it, rightly. So two things are asked of it: that the same engine with IEEE products is within the IEEE floor, which says
whether it is right; and that what it gives with rounded operands is within what such a rounding does to the reference,
each operand of each product moved by half a unit of those bits, up or down at random, a few times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from compare.check.constants import PROBES
from compare.check.noise import Measured, pooled

OPERANDS = {"ieee": 0.0, "tf32": 2.0**-11, "bf16": 2.0**-8}  # half a unit of the last bit, relative

aten = torch.ops.aten
FACTORS = {aten.mm.default: (0, 1), aten.addmm.default: (1, 2), aten.mv.default: (0, 1), aten.bmm.default: (0, 1)}


class _Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Moves the operands of every matrix product by a share of `size` of them."""

    def __init__(self, size: float, noise: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size, self.noise = size, noise

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        factors = FACTORS.get(func, ())
        return func(*(self._moved(a) if i in factors else a for i, a in enumerate(args)), **(kwargs or {}))

    def _moved(self, operand: Tensor) -> Tensor:
        signs = torch.empty(operand.shape).bernoulli_(0.5, generator=self.noise)  # on the CPU: devices agree
        return operand * signs.mul_(2 * self.size).add_(1 - self.size).to(operand)


def widened(measured: Measured, run: Callable[[], dict[str, Tensor]], size: float) -> Measured:
    """The floors, at least what moving the operands of the products in `run` by `size` does."""
    plain = run()
    spread = {path: torch.zeros_like(value) for path, value in measured.values.items()}
    for probe in range(PROBES):
        with _Rounded(size, torch.Generator().manual_seed(probe)):
            moved = run()
        spread = {path: torch.maximum(spread[path], (moved[path] - plain[path]).abs()) for path in spread}
    floors = {
        path: torch.maximum(floor, pooled(spread[path], measured.values[path]))
        for path, floor in measured.floors.items()
    }
    return Measured(measured.values, floors)
