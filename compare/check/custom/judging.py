"""From a function's results to verdicts: rounding, lost digits, a valid choice at a kink, or a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from compare.check.constants import PRECISION, THRESHOLD
from compare.check.custom.calls import CallFailed, cast, gradients
from compare.check.custom.setting import Combination, Expected, Results, Setting, numbers, results, rms
from compare.check.evaluation import Comparison, Evaluation
from compare.check.noise import Jitter
from compare.check.second_look import relative_size
from compare.check.suspicion import NUDGES, around, bounds, coherence
from compare.check.verdict import Judgement, judge, match

KINKS = 64  # entries at a kink, up to which it is tested that they move together as the reference's do


def judged(s: Setting, got: Results, combination: Combination, *, plain: bool = True) -> dict[str, Judgement]:
    """The verdict on every row of a result: entry by entry, then slice by slice for its precision.

    Where the usage is not `plain`, an error that rounding does not explain comes from the usage: it is no rounding.
    """
    expected = s.expected(combination)
    if not plain and _all_within(got, expected):
        return {row: Judgement("right") for row in got if row in expected}
    evaluation = Evaluation(order=[row for row in got if row in expected])
    for row in evaluation.order:
        e = expected[row]
        if got[row].shape != e.value.shape:
            evaluation.invalid[row] = f"has shape {tuple(got[row].shape)}, the reference's {tuple(e.value.shape)}"
            continue
        bad = ~torch.isfinite(got[row]) & torch.isfinite(e.value)
        if bool(bad.any()):
            at = bad.nonzero()[0].tolist()
            evaluation.invalid[row] = f"is {got[row][tuple(at)].item()} at {at}, where the reference is finite"
            continue
        evaluation.comparisons[row] = Comparison((got[row],), e.value, e.value, e.floor, e.floor, s.dtype)
    lossy = {row for row in evaluation.comparisons if loses_digits(got[row], expected[row])}
    suspects = {
        row: c
        for row, c in evaluation.comparisons.items()
        if row in lossy or not match(c.given, c.local, c.local_floor).ok
    }
    if suspects:
        _look_closer(s, suspects, combination, plain=plain)
    return {row: _in_dtype(j, s.dtype, row in lossy) for row, j in judge(evaluation).items()}


def _all_within(got: Results, expected: Mapping[str, Expected]) -> bool:
    """Whether every entry of every row is finite and within its allowance: the quick answer for most usages."""
    rows = [row for row in got if row in expected]
    if any(got[row].shape != expected[row].value.shape for row in rows):
        return False
    error = torch.cat([(got[row] - expected[row].value).abs().reshape(-1) for row in rows])
    floor = torch.cat([expected[row].floor.reshape(-1) for row in rows])
    within = bool((error <= THRESHOLD * floor).all())
    return within and not any(loses_digits(got[row], expected[row]) for row in rows)


def loses_digits(got: Tensor, e: Expected) -> bool:
    """Whether some slice's RMS error exceeds 4 times the larger of the reference's own error and its floor.

    Slices are rows, columns, and the whole.
    """
    error = (got - e.value).abs().masked_fill(~torch.isfinite(e.value), 0.0)
    if bool((error <= PRECISION * e.keen).all()):
        return False
    slices = [tuple(range(error.ndim))]
    slices += [(error.ndim - 1,), tuple(range(error.ndim - 1))] if error.ndim > 1 else []
    return any(
        bool((error.square().mean(dims).sqrt() > PRECISION * e.keen.square().mean(dims).sqrt()).any())
        for dims in slices
    )


def _look_closer(s: Setting, suspects: dict[str, Comparison], combination: Combination, *, plain: bool) -> None:
    """For errors that rounding does not explain: do they move like rounding, and is there a kink?"""
    cotangents = s.cotangents(combination)
    wide = cast(s.values, torch.float64)
    nearby: list[Results] = []  # the reference's gradients next to these inputs

    def next_to(jitter: Jitter) -> Results:
        call = s.reference({n: jitter(v) for n, v in wide.items()})
        nearby.append(results(call, gradients([(call, cotangents)])))
        return {f"local {row}": value for row, value in nearby[-1].items()}

    def errors(jitter: Jitter) -> Results:
        moved = {n: jitter(v).to(s.values[n].dtype) if isinstance(v, Tensor) else v for n, v in wide.items()}
        truth, own = s.reference(cast(moved, torch.float64)), s.fn(moved)
        theirs, mine = (results(call, gradients([(call, cotangents)])) for call in (truth, own))
        return {f"local error {row}": mine[row] - theirs[row] for row in suspects if row in mine}

    off = {row: c.given[0] - c.local for row, c in suspects.items() if bool(torch.isfinite(c.local).all())}
    sizes = {row: min(relative_size(error, suspects[row].local), 0.0099) for row, error in off.items()}
    try:
        if plain:
            for row, value in coherence(errors, off, sizes, s.seed).items():
                suspects[row].coherence = value
        hulls = {row: bounds(seen) for row, seen in around(next_to, list(suspects), s.seed).items()}
        jumps = {row: high - low > 1e-4 * rms(suspects[row].local) for row, (low, high) in hulls.items()}
        count = sum(int(jump.sum()) for row, jump in jumps.items())
        while 0 < count <= KINKS and len(nearby) < 2 * count + NUDGES:
            around(next_to, list(suspects), s.seed + len(nearby))
    except CallFailed:
        return  # next to the inputs something fails that did not fail at them: the plain verdict stands
    if count > KINKS or _moves_along({n: suspects[n].given[0] for n in jumps}, nearby, jumps):
        for row, found in hulls.items():
            suspects[row].hull = found


def _moves_along(got: Results, nearby: list[Results], jumps: Mapping[str, Tensor]) -> bool:
    """Whether gradients at a kink depart from the reference's only in ways in which it departs from itself nearby.

    Where two entries tie for a maximum they share one gradient: either may have it, both in full may not.
    """

    def flat(found: Results) -> Tensor:
        return torch.cat([found[row][jump] for row, jump in jumps.items()])

    if not any(bool(jump.any()) for jump in jumps.values()):
        return True
    base = flat(nearby[0])
    ways = torch.stack([flat(found) - base for found in nearby[1:]])
    gap = flat(got) - base
    left = gap - torch.linalg.lstsq(ways.t(), gap[:, None], driver="gelsd").solution[:, 0] @ ways
    return bool(left.norm() <= 1e-6 * (gap.norm() + base.norm()))


def _in_dtype(j: Judgement, dtype: torch.dtype, lossy: bool) -> Judgement:
    """A judgement in a lower precision: ulps are that dtype's, and rounding that hides all but gross mistakes is no
    verdict of its own (a note says what could not be told).
    """
    verdict = j.verdict
    if lossy and verdict in ("right", "undecided"):
        verdict = "imprecise"
    if dtype is torch.float64:
        return replace(j, verdict=verdict)
    verdict = "right" if verdict == "undecided" else verdict
    return replace(j, verdict=verdict, max_ulp=j.max_ulp * torch.finfo(torch.float64).eps / torch.finfo(dtype).eps)


def told_apart(s: Setting) -> float:
    """The smallest mistake in one entry that shows here, relative to the RMS value of its gradient."""
    expected = s.expected({"u": 1.0})
    sizes = []
    for name, _ in numbers(s.values):
        size = rms(expected[name].value.nan_to_num())
        if size > 0:
            sizes.append(THRESHOLD * float(expected[name].floor.median()) / size)
    return max(sizes, default=0.0)
