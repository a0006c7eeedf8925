"""A closer look at an error that rounding does not explain, by runs at slightly moved inputs.

Two questions: does the error move like rounding or stand like a formula; do the inputs sit at a kink, where the answer
is one of several valid ones?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from compare.check.noise import Jitter, Run, exact_by_meaning

NUDGES = 8  # runs next to the inputs: enough to see that there is a kink
TIES = 56  # further runs at a kink, so that each of several tied entries wins and loses
NUDGE = 1e-9  # their distance, relative: far below any smooth change that matters, far above rounding
JUMP = 1e-4  # a gradient that still changes by this share of its RMS over such a distance jumps
ROUNDINGS = 6  # runs that tell a systematic error (which stays) from rounding (which does not)
LUCK = (0.3, 0.95)  # coherence that a few roundings of one entry reach by chance, once in 20: there more runs decide
FURTHER = 32  # how far they are, in relative sizes of the error: several units of the last place of the inputs too


def coherence(
    run: Callable[[Jitter], Run], errors: Mapping[str, Tensor], sizes: Mapping[str, float], seed: int
) -> dict[str, float]:
    """How much of each error stays when inputs move by several times its relative size.

    1 for a wrong formula, about 1/`ROUNDINGS` for rounding, whatever the precision in which it happened.
    """
    small = [name for name, size in sizes.items() if size < 1e-2]
    if not small:
        return {}
    step = min(1e-2, FURTHER * max(sizes[name] for name in small))
    runs = [run(_moved(step, seed + k)) for k in range(1, ROUNDINGS + 1)]
    kept = _kept(small, errors, runs)
    if unsure := [name for name, share in kept.items() if LUCK[0] < share < LUCK[1]]:
        runs += [run(_moved(step, seed + k)) for k in range(ROUNDINGS + 1, 5 * ROUNDINGS + 1)]
        kept |= _kept(unsure, errors, runs)
    return kept


def _kept(names: list[str], errors: Mapping[str, Tensor], runs: list[Run]) -> dict[str, float]:
    """Power of the mean error beside the mean power: what of an error all runs have in common."""
    kept = {}
    for name in names:
        rows = [r[f"local error {name}"] for r in runs if f"local error {name}" in r]
        if len(rows) == len(runs):
            seen = torch.stack([errors[name], *rows])
            power = float(seen.square().sum()) / len(seen)
            kept[name] = float(seen.mean(0).square().sum()) / power if power > 0 else 1.0
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
        return torch.where(exact_by_meaning(value), value, value * (1 + step * (2 * unit - 1)))

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
