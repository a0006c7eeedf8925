"""From numbers to verdicts: which step is right, wrong or inherits an error, at one set of inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compare.check.constants import BLIND, THRESHOLD
from compare.check.evaluation import Comparison, Evaluation
from compare.check.suspicion import JUMP

TIED = 1e-9  # relative: errors that differ by less are equal but for roundings
OK = ("right", "rescaled", "subgradient")
WORST_FIRST = (
    "invalid",
    "wrong",
    "cancels",
    "inherited",
    "imprecise",
    "undecided",
    "rescaled",
    "subgradient",
    "right",
)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one quantity at one set of inputs, and the entry that is furthest off."""

    verdict: str
    max_rel: float = 0.0  # largest error, relative to the RMS value of the slice
    max_ulp: float = 0.0  # largest error in units of the last place of the value expected there
    floors: float = 0.0  # largest error in floors
    worst_index: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0
    explanation: str = ""
    idle: bool = False  # right, and 0 in every entry: nothing was put to the test


@dataclass(frozen=True)
class Match:
    """A gradient against an expectation."""

    ok: bool
    decided: bool  # some entry could have told a mistake from rounding
    excess: Tensor  # error in allowances, by entry


def match(given: tuple[Tensor, ...], expected: Tensor, floor: Tensor) -> Match:
    """Compare every call's gradient with its expectation, entry by entry. Non-finite is never equal to anything."""
    if not expected.numel():
        return Match(True, True, torch.zeros(expected.shape))
    comparable = torch.isfinite(expected) & torch.isfinite(floor)
    allowance = THRESHOLD * floor
    error = torch.stack([(g - expected).abs() for g in given]).amax(0)
    error = torch.where(torch.isfinite(error), error, torch.full_like(error, math.inf))
    excess = torch.where(comparable, error / allowance, torch.zeros_like(error))
    size = _rms(expected[comparable])
    sighted = comparable & ((allowance <= BLIND * size) | (error == 0))
    return Match(not bool((excess > 1).any()), bool(sighted.any()), excess)


def judge(evaluation: Evaluation) -> dict[str, Judgement]:
    """A judgement for every quantity given, nearest to J first."""
    judged: dict[str, Judgement] = {}
    for name in dict.fromkeys(("backward", *evaluation.order, *evaluation.invalid)):
        if name in evaluation.invalid:
            judged[name] = Judgement("invalid", explanation=evaluation.invalid[name])
        elif name in evaluation.spoilt:
            judged[name] = Judgement("inherited", max_rel=math.inf, explanation=evaluation.spoilt[name])
        elif name in evaluation.comparisons:
            upstream_wrong = any(j.verdict not in (*OK, "undecided") for j in judged.values())
            judged[name] = _judged(evaluation.comparisons[name], upstream_wrong)
    return judged


def _judged(c: Comparison, upstream_wrong: bool) -> Judgement:
    local = match(c.given, c.local, c.local_floor)
    chained = match(c.given, c.chained, c.chained_floor)
    if local.ok:
        if not local.decided:
            verdict = "undecided"
        elif c.scale != 1.0:
            verdict = "rescaled"
        elif not chained.ok and upstream_wrong:
            verdict = "inherited"
        else:
            verdict = "right"
    elif _valid_subgradient(c, local):
        verdict = "subgradient"
    elif c.witness == "given":
        verdict = "right"
    elif c.coherence < 0.5:
        verdict = "imprecise"
    elif chained.ok and chained.decided and c.scale == 1.0:
        verdict = "cancels"
    else:
        verdict = "wrong"
    inherited = verdict == "inherited"
    return _described(verdict, c, chained if inherited else local, c.chained if inherited else c.local)


def _valid_subgradient(c: Comparison, local: Match) -> bool:
    """Whether every entry that is off is a gradient that autograd itself has next to these inputs.

    At a kink autograd picks one of several valid answers; where kinks cancel (max(z, 0) + log1p(exp(-|z|)) at z = 0)
    its answer can even be none of them. Either way autograd's gradients around the point span a jump.
    """
    if c.hull is None:
        return False
    low, high = c.hull
    size = _rms(c.local)
    slack = 1e-6 * torch.maximum(high.abs(), low.abs()) + 1e-6 * size
    inside = torch.stack([(g >= low - slack) & (g <= high + slack) for g in c.given]).all(0)
    jump = torch.maximum(high, c.local) - torch.minimum(low, c.local) > JUMP * size
    return bool((jump & inside)[local.excess > 1].all())


def largest_at(values: Tensor) -> tuple[int, ...]:
    """The index of the largest entry; of several that are equal but for roundings, the first."""
    top = values.max()
    first = (
        int((values >= top - TIED * top.abs()).reshape(-1).int().argmax()) if top.isfinite() else int(values.argmax())
    )
    place = np.unravel_index(first, tuple(values.shape))  # torch's own imports sympy, for seconds
    return tuple(int(i) for i in place)


def _described(verdict: str, c: Comparison, seen: Match, expected: Tensor) -> Judgement:
    if not expected.numel():
        return Judgement(verdict, idle=verdict == "right")
    errors = torch.stack([(g - expected).abs() for g in c.given]).amax(0).nan_to_num(nan=math.inf)
    off = seen.excess > 1
    if bool(off.any()):  # which of them is the most unlikely is a matter of roundings
        index = largest_at(torch.where(off, errors, -1.0))
    else:
        index = largest_at(seen.excess if bool((seen.excess > 0).any()) else errors)
    call = max(c.given, key=lambda g: float((g[index] - expected[index]).abs()))
    spacing = _spacing(expected)
    size = _rms(expected)
    explanation = ""
    if verdict in ("wrong", "cancels") and _state(c, expected):
        explanation = "only in a later call: state is left over from an earlier one"
    elif verdict == "imprecise":
        explanation = "the error moves as rounding does: something here computes in fewer digits"
    elif verdict == "right" and c.witness == "given":
        explanation = "autograd's own derivative is off here: differences of J agree with yours"
    return Judgement(
        verdict,
        max_rel=float(errors.max()) / size if size > 0 else (math.inf if bool(errors.max() > 0) else 0.0),
        max_ulp=float((errors / spacing).max()),
        floors=float(seen.excess.max()) * THRESHOLD,
        worst_index=index,
        expected=float(expected[index].real),
        got=float(call[index].real),
        explanation=explanation,
        idle=verdict == "right" and not bool(expected.any() or call.any()),
    )


def _state(c: Comparison, expected: Tensor) -> bool:
    first = match(c.given[:1], expected, c.local_floor)
    return first.ok and not match(c.given, expected, c.local_floor).ok


def _spacing(t: Tensor) -> Tensor:
    magnitude = t.abs()
    return torch.nextafter(magnitude, torch.full_like(magnitude, math.inf)) - magnitude


def _rms(t: Tensor) -> float:
    if not t.numel():
        return 0.0
    largest = float(t.abs().max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return float((t / largest).abs().square().mean().sqrt()) * largest
