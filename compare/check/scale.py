"""Constant factors that a derivation carries in its deltas and undoes in its parameters' gradients.

With dZ = A - Y and 1/m in dW, every delta is m times dJ/dz and every dW is right. So a factor is told from a mistake by
what becomes of it: some parameter's gradient must be right end to end although it is not what the deltas call for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

ALIKE = 1e-7  # two gradients agree, for the purpose of telling factors apart, within this share of their norm
ULPS = 32.0  # or within so many units of rounding, where these are coarser (float32)
BLURRED = 1e-4  # the same for a factor that is known to be there

Local = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]  # autograd's gradients given some deltas


@dataclass
class Convention:
    """Which deltas carry a factor: found where the derivation is first run, and kept for all other inputs.

    At other inputs a mistake may look like a factor (one unit), and a factor may drown in rounding (saturation).
    """

    carriers: dict[str, bool] | None = None  # True: a factor of its own; False: that of the carrier before it

    def factors(
        self, given: Mapping[str, Tensor], chained: Mapping[str, Tensor], local: Local, inputs: Collection[str]
    ) -> dict[str, float]:
        """The factor of each delta that carries one. `given` is in the order of the backward pass."""
        if self.carriers is None:
            found, sure = _found(given, chained, local, inputs)
            self.carriers = {name: name in sure for name in found}
            return found
        factors: dict[str, float] = {}
        last = 1.0
        for name, own in self.carriers.items():
            if name not in given:
                continue
            known = torch.isfinite(chained[name])  # where autograd fails at some entries, the others tell the factor
            delta, end = given[name][known], chained[name][known]
            factor = (_multiple(delta, end) or _nearly_multiple(delta, end)) if end.numel() else None
            if own and factor is not None:
                last = factor
            factors[name] = last
        return {name: factor for name, factor in factors.items() if factor != 1.0}


def _found(
    given: Mapping[str, Tensor], chained: Mapping[str, Tensor], local: Local, inputs: Collection[str]
) -> tuple[dict[str, float], Collection[str]]:
    """The factors that leave the fewest steps wrong, and the deltas of which they are measured.

    A delta that is no multiple of dJ/dz may carry the factor of the one before it and be wrong besides; so may one that
    is dJ/dz itself, if the factor was taken out too early.
    """
    handed = local(given)
    if not any(n in inputs and _alike(g, chained[n]) and not _alike(g, handed[n]) for n, g in given.items()):
        return {}, ()
    sure: dict[str, float] = {}
    wrong_too: dict[str, float] = {}
    everywhere: dict[str, float] = {}
    last = 1.0
    for name, gradient in given.items():
        if name in inputs:
            continue
        factor = _multiple(gradient, chained[name])
        if factor is not None and factor != 1.0 and gradient.numel() > 1:
            sure[name] = last = factor
        if last != 1.0:
            everywhere[name] = last
            if factor != 1.0:
                wrong_too[name] = last
    best = max((wrong_too, sure, everywhere), key=lambda factors: _agreements(given, local, factors))
    return best, sure


def _agreements(given: Mapping[str, Tensor], local: Local, factors: Mapping[str, float]) -> int:
    expected = local({name: gradient / factors.get(name, 1.0) for name, gradient in given.items()})
    return sum(_alike(gradient, expected[name] * factors.get(name, 1.0)) for name, gradient in given.items())


def _multiple(gradient: Tensor, end: Tensor) -> float | None:
    """The factor between a gradient and dJ/dname, a plain fraction where one is near; None if it is no multiple.

    The median over the larger entries: an entry where a unit is saturated may be all rounding on one side.
    """
    if _alike(gradient, end):
        return 1.0
    factor = _ratio(gradient, end)
    if factor is None:
        return None
    plain = float(Fraction(factor).limit_denominator(10_000))
    near = max(1e-9, ULPS * torch.finfo(end.dtype).eps)
    factor = plain if plain != 0 and abs(plain - factor) < near * abs(factor) else factor
    return factor if _alike(gradient, factor * end) else None


def _nearly_multiple(gradient: Tensor, end: Tensor) -> float | None:
    """The plain factor that a delta known to carry one has at inputs where rounding blurs it."""
    factor = _ratio(gradient, end)
    if factor is None or not bool((gradient - factor * end).norm() <= BLURRED * (factor * end).norm()):
        return None
    plain = float(Fraction(factor).limit_denominator(100))
    return plain if plain != 0 and abs(plain - factor) < BLURRED * abs(factor) else None


def _ratio(gradient: Tensor, end: Tensor) -> float | None:
    if end.is_complex() or not end.numel():
        return None
    larger = end.abs() > 1e-3 * end.abs().amax()
    factor = float((gradient[larger] / end[larger]).median()) if bool(larger.any()) else 0.0
    return factor if factor != 0 and math.isfinite(factor) else None


def _alike(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= max(ALIKE, ULPS * torch.finfo(b.dtype).eps) * b.norm())
