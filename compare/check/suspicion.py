"""A closer look at an error that rounding does not explain, by runs at slightly moved inputs.

Two questions: does the error move like rounding or stand like a formula; do the inputs sit at a kink, where the answer
is one of several valid ones?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from compare.check.noise import SEEDS, Jitter, Run, exact_by_meaning

NUDGES = 8  # runs next to the inputs: enough to see that there is a kink
TIES = 56  # further runs at a kink, so that each of several tied entries wins and loses
NUDGE = 1e-12  # their distance, relative: above rounding, below any smooth change that matters, steep slopes' too
JUMP = 1e-4  # a gradient that still changes by this share of its RMS over such a distance jumps
TOGETHER = 12  # entries that are looked at together: a window of 3 x 3 that ties, and some
MOST = 256  # entries that are off, with such a group each
STILL = 1e-6  # of their size: gradients nearby that differ by less do not jump, they move with the inputs
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
            power = float(seen.abs().square().sum()) / len(seen)
            kept[name] = float(seen.mean(0).abs().square().sum()) / power if power > 0 else 1.0
    return kept


def around(run: Callable[[Jitter], Run], names: list[str], seed: int, others: Iterable[str] = ()) -> dict[str, Tensor]:
    """Local gradients, one below the other, of runs a hair away from the inputs; of many if `names` show a kink."""
    runs = [run(_nudged(seed + k)) for k in range(1, NUDGES + 1)]
    seen = _stacked(runs, names)
    if any(bool((bounds(g)[1] - bounds(g)[0] > JUMP * g.abs().amax()).any()) for g in seen.values() if g.numel()):
        runs += [run(_nudged(seed + k)) for k in range(NUDGES + 1, NUDGES + TIES + 1)]
    return _stacked(runs, [*names, *others])


def _stacked(runs: list[Run], names: list[str]) -> dict[str, Tensor]:
    return {name: torch.stack([r[f"local {name}"] for r in runs]) for name in names}


def bounds(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest value of each entry."""
    return seen.amin(0), seen.amax(0)


def attainable(given: Tensor, seen: Tensor, off: Tensor) -> bool:
    """Whether a gradient at a kink departs from those nearby only in ways in which they depart from each other.

    Where entries tie for a maximum they share one gradient: either may have it, both in full may not. So (of one
    quantity, or of several side by side) for each entry that is `off`, with the few others that jump together with
    it, the gradient must lie in the affine hull of `seen`: in a direction in which these do not differ, it must not
    either. (In other directions any weight will do, as a slope of 0.3 at zero does; the bounds of each entry are
    asked besides.)
    """
    flat = seen.reshape(len(seen), -1)
    centre = flat.mean(0)
    change, gap = flat - centre, given.reshape(-1) - centre
    length = change.norm(dim=0)
    unit = torch.where(length > JUMP * flat.abs().amax(), change / length.clamp(min=1e-300), torch.zeros_like(change))
    chosen = off.reshape(-1).nonzero()[:, 0]
    chosen = chosen[:: len(chosen) // MOST + 1]
    alike = (unit[:, chosen].T @ unit).abs()
    alike[torch.arange(len(chosen)), chosen] = 2.0  # itself first
    group = alike.topk(min(TOGETHER, flat.shape[1])).indices
    size = flat[:, group].abs().amax((0, 2))[:, None]
    moves = change[:, group].permute(1, 0, 2)
    squares, ways = torch.linalg.eigh(moves.mT @ moves)
    still = squares.clamp(min=0).sqrt() <= STILL * size
    departs = (ways.mT @ gap[group][..., None])[..., 0].abs() > JUMP * size
    return not bool((still & departs).any())


def _moved(step: float, seed: int) -> Jitter:
    generator = torch.Generator().manual_seed(SEEDS + seed)

    def move(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        unit = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value)
        return torch.where(exact_by_meaning(value), value, value * (1 + step * (2 * unit - 1)))

    return move


def _nudged(seed: int) -> Jitter:
    generator = torch.Generator().manual_seed(SEEDS + seed)

    def move(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() == 0:
            return value
        if bool(((value == 0) | (value == 1)).all()) and bool((value == 1).any()):
            return value  # a mask or one-hot rows: what they select is no kink
        size = NUDGE * max(float(value.abs().max()), torch.finfo(value.dtype).tiny / NUDGE)
        return value + size * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)

    return move
