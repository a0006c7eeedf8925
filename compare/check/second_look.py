"""Before a step is called wrong: more digits, a closer look at its error, and a witness that is not autograd."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.constants import THRESHOLD
from compare.check.evaluation import Comparison, Evaluation
from compare.check.hooks import Forward
from compare.check.noise import Jitter, measure, pooled
from compare.check.oracle import witness
from compare.check.precise import precise_gradient, precise_gradient_of
from compare.check.restore import same_randomness
from compare.check.suspicion import around, attainable, bounds, coherence

COARSE = 1e-2  # relative error that rounding in the coarsest dtype explains; above it no rounding is looked for
AGREES = 0.02  # of the difference of two answers: how near to one of them a third may be that confirms it
PRECISE_SECONDS = 3.0  # of the processor, for all quantities at one set of inputs, where float64 fails


def ask_for_digits(result: Evaluation, forward: Forward, inputs: Mapping[str, Any], fixed: frozenset[str]) -> None:
    """Where autograd's gradient is not finite, take that of arithmetic with more digits, if it can be had.

    It is a gradient end to end, and the local one too as long as all deltas nearer to J are right; behind a wrong one
    nothing can be told. A local gradient that is finite stays the judge: it holds the rounding of the deltas that it
    was handed, which the exact one knows nothing of.
    """
    deadline = time.process_time() + PRECISE_SECONDS
    wrong_before = False
    for name, c in result.comparisons.items():
        told = bool(torch.isfinite(c.local).all())
        fails = not told or not bool(torch.isfinite(c.chained).all())
        if fails and (told or not wrong_before):
            ask = precise_gradient if name in result.inputs else precise_gradient_of
            exact = ask(forward, inputs, name, fixed=fixed, seconds=deadline - time.process_time())
            if exact is None:
                continue
            c.chained = exact.to(c.chained.dtype)
            c.chained_floor = pooled(c.chained.abs() * torch.finfo(c.chained.dtype).eps, c.chained)
            if not told:
                c.local, c.local_floor = c.chained * c.scale, c.chained_floor * abs(c.scale)
            elif not wrong_before:
                c.chained_floor = torch.maximum(c.chained_floor, (c.local / c.scale - c.chained).abs())
            result.notes.append(f"autograd fails at {name!r}: judged by arithmetic with more digits instead")
            result.failed = ""
        wrong_before |= bool(((c.given[0] - c.local).abs() > THRESHOLD * c.local_floor).any())


def look_closer(
    result: Evaluation,
    expected: Callable[[Jitter], dict[str, Tensor]],
    seed: int,
) -> None:
    """For each error that rounding does not explain: is it coherent, and do the inputs sit at a kink?"""
    suspects = _suspects(result)
    if not suspects:
        return
    errors = {name: c.given[0] - c.local for name, c in suspects.items()}
    sizes = {name: relative_size(errors[name], c.local) for name, c in suspects.items()}
    for name, value in coherence(expected, errors, sizes, seed).items():
        suspects[name].coherence = value
    ordered = {n: c for n, c in result.comparisons.items() if not c.local.is_complex()}  # least and largest exist
    if not suspects.keys() & ordered:
        return
    others = [name for name in ordered if name not in suspects]
    seen = around(expected, [name for name in suspects if name in ordered], seed, others)
    seen = {name: torch.cat([near, ordered[name].local[None]]) for name, near in seen.items()}
    off = {
        n: torch.stack([(g - c.local).abs() for g in c.given]).amax(0) > THRESHOLD * c.local_floor
        for n, c in ordered.items()
    }
    explained = {
        n
        for n in suspects.keys() & ordered
        if all(_between(g, seen[n], off[n]) and attainable(g, seen[n], off[n]) for g in ordered[n].given)
    }
    if not explained:
        return
    sound = {n: c for n, c in ordered.items() if n in explained or n not in suspects}
    if not _together(sound, seen, {n: off[n] & (n in explained) for n in sound}):
        return
    for name in explained:
        suspects[name].hull = bounds(seen[name][:-1])


def _between(given: Tensor, seen: Tensor, off: Tensor) -> bool:
    """Whether each entry that is off lies between those nearby, up to a millionth of them."""
    low, high = bounds(seen)
    slack = 1e-6 * seen.abs().amax()
    return bool(((given >= low - slack) & (given <= high + slack))[off].all())


def _together(comparisons: Mapping[str, Comparison], seen: Mapping[str, Tensor], off: Mapping[str, Tensor]) -> bool:
    """Whether all quantities together make one valid choice: of max(a, b) at a tie, a and b cannot both have it all."""

    def row(parts: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([parts[name].reshape(-1) for name in comparisons])

    side_by_side = torch.cat([seen[name].reshape(len(seen[name]), -1) for name in comparisons], 1)
    calls = range(min(len(c.given) for c in comparisons.values()))
    givens = [row({n: c.given[k] for n, c in comparisons.items()}) for k in calls]
    return not bool(row(off).any()) or all(attainable(given, side_by_side, row(off)) for given in givens)


def excuse_low_precision(result: Evaluation, expected: Callable[..., dict[str, Tensor]], seed: int) -> None:
    """An error that roundings in a lower dtype explain, where the backward computes in one, is no wrong formula.

    A saturated unit rounds to 1 whatever its inputs: there such an error stands as if it were a formula's.
    """
    small = {
        name: c
        for name, c in _suspects(result).items()
        if c.coherence >= 0.5 and all(relative_size(g - c.local, c.local) < COARSE for g in c.given)
    }
    if not small:
        return
    floors = measure(lambda jitter: expected(jitter, torch.bfloat16), seed=seed).floors
    for name, c in small.items():
        floor = floors.get(f"local error {name}")
        if floor is not None and all(bool(((g - c.local).abs() <= THRESHOLD * floor).all()) for g in c.given):
            c.coherence = 0.0


def ask_the_oracle(result: Evaluation, forward: Forward, inputs: Mapping[str, Any]) -> None:
    """Ask differences of J, for each error that is left, whom they confirm."""
    with same_randomness() as rewind:
        for name, suspect in _suspects(result).items():
            rewind()
            suspect.witness = _confirmed(forward, inputs, name, suspect)


def _suspects(result: Evaluation) -> dict[str, Comparison]:
    return {
        name: c
        for name, c in result.comparisons.items()
        if any(bool(((g - c.local).abs() > THRESHOLD * c.local_floor).any()) for g in c.given)
    }


def _confirmed(forward: Forward, inputs: Mapping[str, Any], name: str, c: Comparison) -> str:
    """Whom differences of J confirm; nobody where they are too coarse, or where the deltas upstream are off."""
    upstream_off = bool(((c.local / c.scale - c.chained).abs() > THRESHOLD * (c.chained_floor + c.local_floor)).any())
    heard = (
        None
        if upstream_off or c.local.is_complex()
        else witness(forward, inputs, name, c.given[0] / c.scale, c.chained)
    )
    if heard is None:
        return ""
    derivative, given, expected = heard
    if 4 * derivative.error > abs(given - expected):
        return ""
    to_given, to_expected = abs(derivative.value - given), abs(derivative.value - expected)
    if to_given < to_expected / 4:  # nearer is not enough: J of rounded values has a slope of zero, which neither is
        return "given" if to_given <= 2 * derivative.error + AGREES * abs(given - expected) else ""
    return "autograd"


def relative_size(error: Tensor, value: Tensor) -> float:
    """RMS of an error relative to the RMS of the value; infinite where the value is zero."""
    if not error.numel():
        return 0.0
    largest = float(value.abs().max())
    if largest == 0 or not math.isfinite(largest):
        return math.inf
    return float((error / largest).abs().square().mean().sqrt() / (value / largest).abs().square().mean().sqrt())
