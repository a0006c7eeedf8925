"""What a function's outputs and gradients should be at one set of inputs, and what rounding explains.

The truth is the reference in float64 at the very values of the run; the twin is the reference in the run's dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.constants import BLIND
from compare.check.custom.calls import Call, CallFailed, Side, cast, comparable, gradients
from compare.check.custom.cotangents import Draws, drawn
from compare.check.custom.setting import (
    Results,
    Setting,
    alike,
    output_names,
    output_rows,
    results,
    rms,
    smallest,
)
from compare.check.noise import Jitter, measure, pooled
from compare.check.verdict import match

RUNS = 4  # plain runs of the function on the same inputs: their spread is that of atomic additions, or of a state
MANY = 100_000  # numbers in inputs and outputs, up to which there is time for every kind of cotangent


class ReferenceFailed(RuntimeError):
    """The reference gives nothing to compare with at these inputs."""


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
    size = sum(t.numel() for t in (*reference.leaves.values(), *reference.outputs) if t is not None)
    setting.draws = drawn(reference.outputs, setting.dtype, setting.seed, full=full, many=size <= MANY)
    own = setting.fn(setting.values)
    correspond(own, reference)
    setting.kinds = [None if o is None else o.dtype for o in own.outputs]
    setting.mismatched = mismatched_outputs(own, reference)
    if setting.mismatched:
        return
    for _ in range(RUNS if full else RUNS - 1):
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
    try:
        exact = _all(setting.reference, wide, setting.draws)
    except CallFailed as error:
        raise ReferenceFailed(str(error)) from error
    if not any(bool(torch.isfinite(value).all()) for tag, value in exact.items() if "|" in tag):
        raise ReferenceFailed("no gradient of the reference is finite")
    twin = setting.twin
    if setting.dtype is not torch.float64 and not _runs(setting):
        twin = Side(_promoting(setting.reference.fn))

    def run(jitter: Jitter) -> Results:
        moved = {name: jitter(value) for name, value in setting.values.items()}
        theirs = _all(twin, moved, setting.draws)
        try:
            own = _all(setting.fn, moved, setting.draws)
        except CallFailed:
            return theirs
        errors = {f"error {tag}": own[tag] - theirs[tag] for tag in theirs if alike(own.get(tag), theirs[tag])}
        return theirs | errors

    measured = measure(run, seed=setting.seed)
    eps = torch.finfo(setting.dtype).eps
    for tag, value in exact.items():
        theirs = measured.values[tag]
        lost = (theirs - value).abs().nan_to_num(nan=0.0, posinf=0.0)  # the twin's own error
        floor = torch.maximum(measured.floors[tag], pooled(lost, value))
        floor = torch.maximum(floor, (value.abs() * eps).clamp(min=smallest(setting.dtype)))
        setting.exact[tag] = value.masked_fill(~torch.isfinite(theirs), math.nan)  # beyond the range of the dtype
        setting.floors[tag] = setting.keen[tag] = floor
    for tag in exact:
        own_side = measured.floors.get(f"error {tag}")
        if own_side is not None and bool(torch.isfinite(own_side).all()):
            setting.floors[f"error {tag}"] = own_side


def _runs(setting: Setting) -> bool:
    """Whether the reference runs in the dtype itself, and gives finite numbers."""
    try:
        found = _all(setting.twin, setting.values, setting.draws)
    except CallFailed:
        return False
    return all(bool(torch.isfinite(value).any()) for value in found.values())


def _promoting(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that casts its arguments to float64 first."""

    def promoted(*arguments: Any) -> Any:
        named = {str(position): argument for position, argument in enumerate(arguments)}
        return fn(*cast(named, torch.float64).values())

    return promoted


def _settle(setting: Setting) -> None:
    """Compare the plain runs: their spread joins the floor, unless it is too large or too regular for rounding."""
    expected = setting.expected({"u": 1.0})
    for row, e in expected.items():
        runs = [run[row] for run in setting.runs if row in run]
        if not runs or any(not alike(run, e.value) for run in runs):
            continue
        drift = torch.stack([_distance(run, runs[0]) for run in runs]).amax(0)
        size = rms(e.value[torch.isfinite(e.value)])
        spread = float(drift.max()) / size if drift.numel() and size > 0 else float((drift > 0).any())
        setting.spread = max(setting.spread, spread)
        if spread == 0 or match(tuple(runs), e.value, e.floor).ok:
            continue
        regular = all(torch.equal(run, runs[1]) for run in runs[2:])
        if spread > BLIND or regular:
            setting.unsettled.append(row)
            continue
        for tag in setting.exact:
            if tag.rpartition("|")[2] == row:
                setting.floors[tag] = torch.maximum(setting.floors[tag], pooled(drift, e.value))
                setting.keen[tag] = torch.maximum(setting.keen[tag], drift)
    for tag in list(setting.exact):
        own_side = setting.floors.pop(f"error {tag}", None)
        if own_side is not None and not setting.unsettled:
            setting.floors[tag] = torch.maximum(setting.floors[tag], own_side)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    same = (a == b) | (a.isnan() & b.isnan())
    return (a - b).abs().nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(same, 0.0)
