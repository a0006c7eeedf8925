"""A function at one set of inputs in one dtype: the plain usage first, then every other, then properties."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from compare.check.clock import Clock
from compare.check.custom.calls import Arranged, CallFailed, gradients
from compare.check.custom.findings import FINE, Findings
from compare.check.custom.judging import judged, told_apart
from compare.check.custom.properties import Refused, properties, second_order
from compare.check.custom.setting import Results, Setting, numbers, results, rms
from compare.check.custom.truth import ReferenceFailed, prepare
from compare.check.custom.usages import Usage, usages
from compare.check.report import Tried
from compare.check.verdict import Judgement

LATE = "not tried: out of time"
LATER = "another answer to the same inputs in a later call: state is left over from an earlier one, or it is random"


@dataclass(frozen=True)
class Place:
    """Where a function is tried."""

    name: str  # of the inputs and the dtype
    dtype: str
    asked: bool  # inputs were given in this dtype, or may be drawn in any
    full: bool  # every usage, and properties
    formulas: bool  # the dtype in which formulas are judged
    seconds: float = math.inf  # that may be spent
    clock: Clock = field(default_factory=Clock)

    @property
    def late(self) -> bool:
        """Whether there is no time for more."""
        return self.clock.spent > self.seconds


def attempt(s: Setting, f: Findings, at: Place, arranged: Arranged | None = None) -> None:
    """Judge the function at a setting. `arranged`: inputs whose entries share memory, tried in that layout only."""
    try:
        prepare(s, full=at.full)
    except ReferenceFailed as error:
        f.tried.append(Tried(at.name, f"not applicable: reference {error}"))
    except CallFailed as error:
        _failed(s, f, at, str(error))
    else:
        if s.mismatched:
            _mismatched(s, f, at)
        elif arranged:
            _shared_memory(s, f, at, arranged)
        else:
            _every_usage(s, f, at)


def _failed(s: Setting, f: Findings, at: Place, why: str) -> None:
    """The function raised: invalid, unless the reference rejects these inputs as well."""
    try:
        s.twin(s.values)
    except CallFailed:
        f.tried.append(Tried(at.name, "not applicable: the reference does not take these inputs either"))
        return
    f.invalid(s.values, why, at.name)
    f.tried.append(Tried(at.name, "failed"))


def _mismatched(s: Setting, f: Findings, at: Place) -> None:
    for output, why in s.mismatched.items():
        f.keep(output, Judgement("invalid", explanation=why), at.name)
    for row, _ in numbers(s.values):
        f.keep(row, Judgement("undecided", explanation="not compared: the outputs do not correspond"), at.name)
    f.tried.append(Tried(at.name, "failed"))


def _every_usage(s: Setting, f: Findings, at: Place) -> None:
    base = judged(s, s.runs[0], {"u": 1.0})
    for row in s.unsettled:
        later = next(j[row] for run in reversed(s.runs) if (j := judged(s, run, {"u": 1.0}))[row].verdict not in FINE)
        base[row] = replace(later, verdict="wrong", explanation=LATER)
    good = _record(f, at, base, at.name, _why(s, f, at, base))
    f.illustrate(s, base, at.name)
    if s.spread and not s.unsettled:
        f.note(f"run to run, results differ by up to {s.spread:.1g} of their RMS ({at.dtype}): that joins the floor")
    if at.full and at.formulas and s.dtype is not torch.float64:
        f.note(
            f"formulas are judged in {at.dtype}, the highest precision that fn takes: a mistake in one entry shows "
            f"from about {told_apart(s):.1g} of the gradient's RMS"
        )
    if not any(row in good for row, _ in numbers(s.values)):
        return
    f.passed = f.passed or at.name
    for usage in usages(s, full=at.full):
        if at.late:
            f.tried.append(Tried(f"{at.name}: {usage.name}", LATE))
        else:
            _use(s, f, at, usage, good)
    if at.full and not at.late:
        _properties(s, f, at)
        if not any(j.verdict == "subgradient" for j in base.values()):  # at a kink there is no second derivative
            _second_order(s, f, at)


def _use(s: Setting, f: Findings, at: Place, usage: Usage, good: set[str]) -> None:
    where = f"{at.name}: {usage.name}"
    try:
        got = usage.run()
    except CallFailed as error:
        if usage.layout and error.stage == "forward":
            f.tried.append(Tried(where, f"fn does not take this layout: {error}"))
            return
        f.invalid(s.values, f"{usage.blame}; {error}", where)
        f.tried.append(Tried(where, "failed"))
        return
    found = {row: j for row, j in judged(s, got, usage.combination, plain=False).items() if row in good}
    _record(f, at, found, where, dict.fromkeys(found, usage.blame))


def _shared_memory(s: Setting, f: Findings, at: Place, arranged: Arranged) -> None:
    """Inputs whose entries share memory count where the function is right at the same values apart."""
    plain = judged(s, s.runs[0], {"u": 1.0})
    if s.fn.in_place or any(j.verdict not in FINE for j in plain.values()):
        f.tried.append(Tried(at.name, "not applicable: these values do not suit the function"))
        return

    def run() -> Results:
        call = s.fn(s.values, arranged=arranged)
        return results(call, gradients([(call, s.draws["u"])]))

    blame = "wrong where entries of an input share memory: do not give the gradient the strides of the input"
    _use(s, f, at, Usage("shared memory", {"u": 1.0}, run, blame, layout=True), set(plain))


def _properties(s: Setting, f: Findings, at: Place) -> None:
    try:
        for finding, why in properties(s):
            f.tried.append(Tried(f"{at.name}: {finding}", "failed" if why else "ok"))
            if why:
                f.keep(finding, Judgement("invalid", explanation=why), at.name)
    except CallFailed as error:
        f.keep("properties", Judgement("invalid", explanation=str(error)), at.name)


def _second_order(s: Setting, f: Findings, at: Place) -> None:
    where = f"{at.name}: double backward"
    try:
        found = second_order(s)
    except Refused as error:
        f.note(f"double backward is refused: {error}")
        f.tried.append(Tried(where, "ok"))
        return
    if found is not None:
        f.tried.append(Tried(where, "ok" if found.verdict == "right" else "failed"))
        f.keep("double backward", found, at.name)


def _record(f: Findings, at: Place, found: Mapping[str, Judgement], where: str, why: Mapping[str, str]) -> set[str]:
    """Keep the verdicts of one usage; the rows that are fine are returned."""
    bad = False
    for row, j in found.items():
        if j.verdict in FINE:
            f.keep(row, j, where)
        elif not at.asked and j.verdict != "wrong":
            f.note(f"{row} is {j.verdict} in {at.dtype}, in which no input was given")
        else:
            bad = True
            explanation = "; ".join(text for text in (j.explanation, why.get(row, "")) if text)
            f.keep(row, replace(j, explanation=explanation), where)
    f.tried.append(Tried(where, "failed" if bad else "ok"))
    return {row for row, j in found.items() if j.verdict in FINE}


def _why(s: Setting, f: Findings, at: Place, found: Mapping[str, Judgement]) -> dict[str, str]:
    """What can be told about rows that are not right at the plain random cotangent."""
    why: dict[str, str] = {}
    for row, j in found.items():
        if j.verdict == "imprecise":
            why[row] = f"loses digits that the reference keeps in {at.dtype}"
        if j.verdict != "wrong" or row not in dict(numbers(s.values)):
            continue
        if not bool((s.runs[0][row] != 0).any()):
            why[row] = "is zero or None, where the reference's is not"
        elif row not in s.unsettled:
            why[row] = _nonlinear(s, row)
        if not why.get(row) and f.passed:
            why[row] = f"right at {f.passed}, wrong at {at.name}"
    return why


def _nonlinear(s: Setting, row: str) -> str:
    """Whether the function's own gradient is no linear function of the cotangent."""

    def times(k: float) -> torch.Tensor:
        cotangents = [None if c is None else k * c for c in s.draws["u"]]
        return results(call := s.fn(s.values), gradients([(call, cotangents)]))[row]

    try:
        ahead, back, double = times(1), times(-1), times(2)
    except CallFailed:
        return ""
    size = 1e-2 * rms(ahead)
    if float((ahead + back).abs().max()) > size:
        return "not linear in the cotangent: g(-u) is not -g(u) (relu, abs or a square of it?)"
    if float((2 * ahead - double).abs().max()) > size:
        return "not linear in the cotangent: g(2u) is not 2 g(u)"
    return ""
