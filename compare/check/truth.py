"""What a function's outputs and gradients should be at one set of inputs, and what rounding explains.

The truth is the reference in float64 at the very values of the run; the twin is the reference in the run's dtype.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compare.check.calls import Call, CallFailed, Side, cast, comparable, differentiable, gradients
from compare.check.constants import BLIND, PRECISION, THRESHOLD
from compare.check.cotangents import Draws, drawn
from compare.check.evaluate import Comparison, Evaluation, relative_size
from compare.check.noise import Jitter, measure, pooled
from compare.check.suspicion import coherence, hull
from compare.check.verdict import Judgement, judge, match

RUNS = 4  # plain runs of the function on the same inputs: their spread is that of atomic additions, or of a state
Combination = Mapping[str, float]  # draw -> coefficient: gradients are linear in the cotangent
Results = dict[str, Tensor]  # by row: "output", "output 1", or the name of an input, whose gradient it is


class ReferenceFailed(RuntimeError):
    """The reference gives nothing to compare with at these inputs."""


@dataclass
class Setting:
    """A function and its reference at one set of inputs, in one dtype."""

    fn: Side
    reference: Side  # in float64
    twin: Side  # the reference in the dtype of the run
    values: Mapping[str, Any]
    dtype: torch.dtype
    seed: int
    draws: Draws = field(default_factory=dict)
    kinds: list[torch.dtype | None] = field(default_factory=list)  # of the function's outputs
    exact: Results = field(default_factory=dict)
    floors: Results = field(default_factory=dict)
    runs: list[Results] = field(default_factory=list)  # of the function, plainly, at the cotangent u
    spread: float = 0.0  # between them, relative to the RMS of the gradient
    unsettled: list[str] = field(default_factory=list)  # rows that differ between runs by more than rounding
    mismatched: dict[str, str] = field(default_factory=dict)  # outputs that cannot be compared, and why

    def expected(self, combination: Combination) -> dict[str, tuple[Tensor, Tensor]]:
        """What each row should be, and its floor, for a linear combination of the draws."""
        found = {tag: (self.exact[tag], self.floors[tag]) for tag in self.exact if "|" not in tag}
        for name, _ in numbers(self.values):
            value = torch.stack([c * self.exact[f"{draw}|{name}"] for draw, c in combination.items()]).sum(0)
            floor = torch.stack([abs(c) * self.floors[f"{draw}|{name}"] for draw, c in combination.items()]).sum(0)
            found[name] = (value, floor.clamp(min=_tiny(self.dtype)))
        return found

    def cotangents(self, combination: Combination) -> list[Tensor | None]:
        """The combination of the draws itself, one tensor an output."""
        parts = [[None if t is None else c * t for t in self.draws[draw]] for draw, c in combination.items()]
        return [
            None if all(t is None for t in column) else torch.stack([t for t in column if t is not None]).sum(0)
            for column in zip(*parts, strict=True)
        ]

    def ready(self, draw: str) -> list[Tensor | None]:
        """A draw in the dtypes of the function's outputs, stride 0 kept where it repeats."""
        return [
            None if t is None or kind is None else _kept_strides(t, kind)
            for t, kind in zip(self.draws[draw], self.kinds, strict=True)
        ]


def numbers(values: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    """The inputs that have a gradient."""
    return [(name, value) for name, value in values.items() if differentiable(value)]


def results(call: Call, found: Mapping[str, Tensor]) -> Results:
    """The outputs and gradients of a call, by row, in float64."""
    return output_rows(call) | {name: comparable(gradient) for name, gradient in found.items()}


def output_rows(call: Call) -> Results:
    """The floating outputs of a call, by row, in float64."""
    names = output_names(len(call.outputs))
    return {name: comparable(o) for name, o in zip(names, call.outputs, strict=True) if o is not None}


def output_names(count: int) -> list[str]:
    """Row names of a function's outputs."""
    return ["output"] if count == 1 else [f"output {k}" for k in range(count)]


def prepare(setting: Setting, *, full: bool) -> None:
    """Draw cotangents, compute the truth, and measure the floors.

    Raises ReferenceFailed where the reference cannot be evaluated or is nowhere finite, CallFailed where the function
    fails, ValueError where their outputs do not correspond.
    """
    wide = cast(setting.values, torch.float64)
    try:
        reference = setting.reference(wide)
        again = setting.reference(wide)
    except CallFailed as error:
        raise ReferenceFailed(str(error)) from error
    first, second = output_rows(reference), output_rows(again)
    if any(not torch.equal(first[n].nan_to_num(), second[n].nan_to_num()) for n in first):
        raise ValueError("reference gives another value in a second call; hand over its random numbers as an input")
    setting.draws = drawn(reference.outputs, setting.dtype, setting.seed, full=full)
    own = setting.fn(setting.values)
    correspond(own, reference)
    setting.kinds = [None if o is None else o.dtype for o in own.outputs]
    setting.mismatched = mismatched_outputs(own, reference)
    if setting.mismatched:
        return
    for _ in range(RUNS):
        call = setting.fn(setting.values)
        setting.runs.append(results(call, gradients([(call, setting.draws["u"])])))
    _measure(setting, wide)
    _settle(setting)


def correspond(own: Call, reference: Call) -> None:
    """Raise ValueError unless the function's outputs are those of the reference, in number."""
    if len(own.outputs) != len(reference.outputs):
        raise ValueError(
            f"fn returns {len(own.outputs)} outputs and reference {len(reference.outputs)}; make the reference return "
            "the same outputs in the same order (None where there is nothing to compare with)"
        )


def mismatched_outputs(own: Call, reference: Call) -> dict[str, str]:
    """Why outputs cannot be compared: another shape or device, or not differentiable where the reference's is."""
    found = {}
    names = output_names(len(own.outputs))
    for name, mine, theirs in zip(names, own.outputs, reference.outputs, strict=True):
        if theirs is None:
            continue
        if mine is None:
            found[name] = "is no floating tensor, where the reference's is"
        elif mine.shape != theirs.shape:
            found[name] = f"has shape {tuple(mine.shape)}, the reference's {tuple(theirs.shape)}"
        elif mine.device != theirs.device:
            found[name] = f"is on {mine.device}, the reference's on {theirs.device}"
        elif mine.is_complex() != theirs.is_complex():
            found[name] = f"is {mine.dtype}, the reference's {theirs.dtype}"
        elif theirs.requires_grad and not mine.requires_grad:
            found[name] = "has no gradient, where the reference's has one; detach it in the reference if that is meant"
    return found


def _all(side: Side, values: Mapping[str, Any], draws: Draws) -> Results:
    """Outputs, and the gradients for every draw, tagged "draw|name"."""
    call = side(values)
    found = output_rows(call)
    for draw, cotangents in draws.items():
        made = gradients([(call, cotangents)], retain_graph=True)
        found |= {f"{draw}|{name}": comparable(gradient) for name, gradient in made.items()}
    return found


def _measure(setting: Setting, wide: Mapping[str, Any]) -> None:
    exact = _all(setting.reference, wide, setting.draws)
    if not any(bool(torch.isfinite(value).all()) for tag, value in exact.items() if "|" in tag):
        raise ReferenceFailed("no gradient of the reference is finite")
    twin, twin_values = setting.twin, dict(setting.values)
    try:
        usable = all(bool(torch.isfinite(v).any()) for v in _all(twin, twin_values, setting.draws).values())
    except CallFailed:
        usable = False

    def run(jitter: Jitter) -> Results:
        moved = {name: jitter(value) for name, value in setting.values.items()}
        if usable:
            theirs = _all(twin, moved, setting.draws)
        else:
            theirs = _all(setting.reference, cast(moved, torch.float64), setting.draws)
        try:
            own = _all(setting.fn, moved, setting.draws)
        except CallFailed:
            return theirs
        errors = {f"error {tag}": own[tag] - theirs[tag] for tag in theirs if _like(own.get(tag), theirs[tag])}
        return theirs | errors

    measured = measure(run, seed=setting.seed)
    eps = torch.finfo(setting.dtype).eps
    for tag, value in exact.items():
        theirs = measured.values[tag]
        lost = (theirs - value).abs().nan_to_num(nan=0.0, posinf=0.0)  # the twin's own error
        floor = torch.maximum(measured.floors[tag], pooled(lost, value))
        floor = torch.maximum(floor, (value.abs() * eps).clamp(min=_tiny(setting.dtype)))
        setting.exact[tag] = value.masked_fill(~torch.isfinite(theirs), math.nan)  # beyond the range of the dtype
        setting.floors[tag] = floor
    for tag in exact:
        own_side = measured.floors.get(f"error {tag}")
        if own_side is not None and bool(torch.isfinite(own_side).all()):
            setting.floors[f"error {tag}"] = own_side


def _settle(setting: Setting) -> None:
    """Compare the plain runs: their spread joins the floor, unless it is too large or too regular for rounding."""
    expected = setting.expected({"u": 1.0})
    for row, (value, floor) in expected.items():
        runs = [run[row] for run in setting.runs if row in run]
        if not runs or any(not _like(run, value) for run in runs):
            continue
        drift = torch.stack([(run - runs[0]).abs() for run in runs]).amax(0).nan_to_num(nan=math.inf)
        size = rms(value)
        spread = float(drift.max()) / size if drift.numel() and size > 0 else float((drift > 0).any())
        setting.spread = max(setting.spread, spread)
        if match(tuple(runs), value, floor).ok or spread == 0:
            continue
        regular = all(torch.equal(run, runs[1]) for run in runs[2:])
        if spread > BLIND or regular:
            setting.unsettled.append(row)
            continue
        for tag in setting.exact:
            if tag.rpartition("|")[2] == row:
                setting.floors[tag] = torch.maximum(setting.floors[tag], pooled(drift, value))
    for tag in list(setting.exact):
        own_side = setting.floors.pop(f"error {tag}", None)
        if own_side is not None and not setting.unsettled:
            setting.floors[tag] = torch.maximum(setting.floors[tag], own_side)


def judged(setting: Setting, got: Results, combination: Combination, *, plain: bool = True) -> dict[str, Judgement]:
    """The verdict on every row of a result: entry by entry, then in lower precision also slice by slice.

    Where the usage is not `plain`, an error that rounding does not explain comes from the usage and is no rounding.
    """
    expected = setting.expected(combination)
    if not plain and _all_within(got, expected, setting.dtype):
        return {row: Judgement("right") for row in got if row in expected}
    evaluation = Evaluation(order=[row for row in got if row in expected])
    for row in evaluation.order:
        value, floor = expected[row]
        if got[row].shape != value.shape:
            evaluation.invalid[row] = f"has shape {tuple(got[row].shape)}, the reference's {tuple(value.shape)}"
            continue
        bad = ~torch.isfinite(got[row]) & torch.isfinite(value)
        if bool(bad.any()):
            at = bad.nonzero()[0].tolist()
            evaluation.invalid[row] = f"is {got[row][tuple(at)].item()} at {at}, where the reference is finite"
            continue
        evaluation.comparisons[row] = Comparison((got[row],), value, value, floor, floor, setting.dtype)
    low = setting.dtype is not torch.float64
    lossy = {n for n, c in evaluation.comparisons.items() if low and loses_digits(c.given[0], c.local, c.local_floor)}
    suspects = {
        n: c for n, c in evaluation.comparisons.items() if n in lossy or not match(c.given, c.local, c.local_floor).ok
    }
    if suspects:
        _look_closer(setting, suspects, combination, plain=plain)
    verdicts = judge(evaluation)
    return {row: _in_dtype(verdicts[row], setting.dtype, row in lossy) for row in verdicts}


def _all_within(got: Results, expected: Mapping[str, tuple[Tensor, Tensor]], dtype: torch.dtype) -> bool:
    """Whether every entry of every row is finite and within its allowance: the quick answer for most usages."""
    rows = [row for row in got if row in expected]
    if any(got[row].shape != expected[row][0].shape for row in rows):
        return False
    error = torch.cat([(got[row] - expected[row][0]).abs().reshape(-1) for row in rows])
    floor = torch.cat([expected[row][1].reshape(-1) for row in rows])
    if not bool((error <= THRESHOLD * floor).all()):
        return False
    return dtype is torch.float64 or not any(loses_digits(got[row], *expected[row]) for row in rows)


def loses_digits(got: Tensor, value: Tensor, floor: Tensor) -> bool:
    """Whether some slice's RMS error exceeds 4 times the larger of the twin's own error and the floor.

    The floor holds the twin's error already. Slices are rows, columns, and the whole.
    """
    error, floor = (torch.where(torch.isfinite(value), t, torch.zeros_like(t)) for t in ((got - value).abs(), floor))
    slices = [tuple(range(value.ndim))] + ([(value.ndim - 1,), tuple(range(value.ndim - 1))] if value.ndim > 1 else [])
    return any(
        bool((error.square().mean(dims).sqrt() > PRECISION * floor.square().mean(dims).sqrt()).any()) for dims in slices
    )


def _look_closer(
    setting: Setting, suspects: dict[str, Comparison], combination: Combination, *, plain: bool
) -> None:
    """For errors that rounding does not explain: do they move like rounding, and is there a kink?"""
    cotangents = setting.cotangents(combination)

    def run(jitter: Jitter) -> Results:
        moved = {n: jitter(v) for n, v in cast(setting.values, torch.float64).items()}
        call = setting.reference(moved)
        local = results(call, gradients([(call, cotangents)]))
        return {f"local {row}": value for row, value in local.items()}

    def errors(jitter: Jitter) -> Results:
        moved = {
            n: jitter(v).to(setting.values[n].dtype) if isinstance(v, Tensor) else v
            for n, v in cast(setting.values, torch.float64).items()
        }
        truth, own = setting.reference(cast(moved, torch.float64)), setting.fn(moved)
        theirs, mine = (results(call, gradients([(call, cotangents)])) for call in (truth, own))
        return {f"local error {row}": mine[row] - theirs[row] for row in suspects if row in mine}

    off = {row: c.given[0] - c.local for row, c in suspects.items() if bool(torch.isfinite(c.local).all())}
    sizes = {row: min(relative_size(error, suspects[row].local), 0.0099) for row, error in off.items()}
    try:
        if plain:
            for row, value in coherence(errors, off, sizes, setting.seed).items():
                suspects[row].coherence = value
        for row, bounds in hull(run, list(suspects), setting.seed).items():
            suspects[row].hull = bounds
    except CallFailed:
        return  # next to the inputs something fails that did not fail at them: the plain verdict stands


def _in_dtype(j: Judgement, dtype: torch.dtype, lossy: bool) -> Judgement:
    """A judgement in a lower precision: ulps are that dtype's, and rounding that hides all but gross mistakes is no
    verdict of its own (a note says what could not be told).
    """
    if dtype is torch.float64:
        return j
    verdict = j.verdict
    if verdict in ("right", "undecided"):
        verdict = "imprecise" if lossy else "right"
    return replace(j, verdict=verdict, max_ulp=j.max_ulp * torch.finfo(torch.float64).eps / torch.finfo(dtype).eps)


def told_apart(setting: Setting) -> float:
    """The smallest mistake in one entry that shows here, relative to the RMS value of its gradient."""
    sizes = []
    for name, _ in numbers(setting.values):
        value, floor = setting.expected({"u": 1.0})[name]
        size = rms(value[torch.isfinite(value)])
        if size > 0:
            sizes.append(THRESHOLD * float(floor.median()) / size)
    return max(sizes, default=0.0)


def rms(t: Tensor) -> float:
    """Root mean square of the entries; 0 of none."""
    return float(t.square().mean().sqrt()) if t.numel() else 0.0


def _like(got: Tensor | None, value: Tensor) -> bool:
    return got is not None and got.shape == value.shape


def _kept_strides(t: Tensor, dtype: torch.dtype) -> Tensor:
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in t.stride())
    return t[once].to(dtype).expand(t.shape)


def _tiny(dtype: torch.dtype) -> float:
    info = torch.finfo(dtype)
    return float(info.smallest_normal * info.eps)

