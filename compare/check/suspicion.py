"""A closer look at an error that rounding does not explain, by runs at slightly moved inputs.

Three questions: is it a constant factor that is undone later; does the error move like rounding or stand like a
formula; do the inputs sit at a kink, where the answer is one of several valid ones?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

import torch
from torch import Tensor

from compare.check.noise import Jitter, Run

ALIKE = 1e-7  # two gradients agree, for the purpose of telling factors apart, within this share of their norm
NUDGES = 8  # runs next to the inputs: enough to see that there is a kink
TIES = 56  # further runs at a kink, so that each of several tied entries wins and loses
NUDGE = 1e-9  # their distance, relative: far below any smooth change that matters, far above rounding
JUMP = 1e-4  # a gradient that still changes by this share of its RMS over such a distance jumps
ROUNDINGS = 6  # runs that tell a systematic error (which stays) from rounding (which does not)


def scales(
    given: Mapping[str, Tensor],
    chained: Mapping[str, Tensor],
    local: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    inputs: Iterable[str],
) -> dict[str, float]:
    """Constant factors that a derivation carries in its deltas and undoes in its parameters' gradients.

    With dZ = A - Y and 1/m in dW, every delta is m times dJ/dz and every dW is right. A factor counts only if some
    input's gradient is right end to end although it is not what the deltas that it was handed call for. A delta that
    is neither dJ/dz nor a multiple of it (rounded away, or wrong besides) bears the factor of the one before it, if
    that makes more of the steps after it right. `given` is in the order of the backward pass; `local` are autograd's
    gradients given some deltas.
    """
    inputs = frozenset(inputs)
    handed = local(given)
    if not any(n in inputs and _alike(g, chained[n]) and not _alike(g, handed[n]) for n, g in given.items()):
        return {}
    sure: dict[str, float] = {}
    spread: dict[str, float] = {}
    last = 1.0
    for name, gradient in given.items():
        if name in inputs or _alike(gradient, chained[name]):
            continue
        factor = _factor(gradient, chained[name])
        if factor != 0 and gradient.numel() > 1 and _alike(gradient, factor * chained[name]):
            sure[name] = last = factor
        spread[name] = last
    spread = {name: factor for name, factor in spread.items() if factor != 1.0}
    return max((spread, sure), key=lambda factors: _agreements(given, local, factors))


def _agreements(
    given: Mapping[str, Tensor],
    local: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    factors: Mapping[str, float],
) -> int:
    expected = local({name: gradient / factors.get(name, 1.0) for name, gradient in given.items()})
    return sum(_alike(gradient, expected[name] * factors.get(name, 1.0)) for name, gradient in given.items())


def _factor(gradient: Tensor, end: Tensor) -> float:
    """The factor between a gradient and dJ/dname, a plain fraction where one is near; 0 where there is none.

    The median over the larger entries: an entry where a unit is saturated may be all rounding on one side.
    """
    larger = end.abs() > 1e-3 * end.abs().amax() if end.numel() else torch.zeros_like(end, dtype=torch.bool)
    factor = float((gradient[larger] / end[larger]).median()) if bool(larger.any()) else 0.0
    if not math.isfinite(factor):
        return 0.0
    plain = float(Fraction(factor).limit_denominator(10_000))
    return plain if plain != 0 and abs(plain - factor) < 1e-9 * abs(factor) else factor


def _alike(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= ALIKE * b.norm())


def coherence(
    run: Callable[[Jitter], Run], errors: Mapping[str, Tensor], sizes: Mapping[str, float], seed: int
) -> dict[str, float]:
    """How much of each error stays when inputs move by a little more than its relative size.

    1 for a wrong formula, about 1/`ROUNDINGS` for rounding, whatever the precision in which it happened.
    """
    small = {name: size for name, size in sizes.items() if size < 1e-2}
    if not small:
        return {}
    step = min(1e-2, 4 * max(small.values()))
    runs = [run(_moved(step, seed + k)) for k in range(1, ROUNDINGS + 1)]
    kept = {}
    for name in small:
        rows = [r[f"local error {name}"] for r in runs if f"local error {name}" in r]
        if len(rows) == ROUNDINGS:
            errors_seen = torch.stack([errors[name], *rows])
            power = float(errors_seen.square().sum()) / len(errors_seen)
            kept[name] = float(errors_seen.mean(0).square().sum()) / power if power > 0 else 1.0
    return kept


def hull(run: Callable[[Jitter], Run], names: list[str], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Least and largest local gradient over runs a hair away from the inputs."""
    runs = [run(_nudged(seed + k)) for k in range(1, NUDGES + 1)]
    bounds = _bounds(runs, names)
    if any(bool((high - low > JUMP * high.abs().amax()).any()) for low, high in bounds.values() if high.numel()):
        runs += [run(_nudged(seed + k)) for k in range(NUDGES + 1, NUDGES + TIES + 1)]
        bounds = _bounds(runs, names)
    return bounds


def _bounds(runs: list[Run], names: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
    bounds = {}
    for name in names:
        seen = torch.stack([r[f"local {name}"] for r in runs])
        bounds[name] = (seen.amin(0), seen.amax(0))
    return bounds


def _moved(step: float, seed: int) -> Jitter:
    generator = torch.Generator().manual_seed(seed)

    def move(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        unit = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value)
        return torch.where(value == value.round(), value, value * (1 + step * (2 * unit - 1)))

    return move


def _nudged(seed: int) -> Jitter:
    generator = torch.Generator().manual_seed(seed)

    def move(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() == 0:
            return value
        if bool(((value == 0) | (value == 1)).all()) and bool((value == 1).any()):
            return value  # a mask or one-hot rows: what they select is no kink
        size = NUDGE * max(float(value.abs().max()), torch.finfo(value.dtype).tiny / NUDGE)
        return value + size * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)

    return move
