"""check_derivation: a forward with named intermediates, and a hand-written backward, under every condition."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from compare.check.backward import Backward
from compare.check.clock import Clock
from compare.check.collect import SECONDS, collect
from compare.check.conditions import Condition, Inputs, conditions, given, realise
from compare.check.evaluate import evaluate
from compare.check.evaluation import Evaluation
from compare.check.hooks import Forward
from compare.check.lines import source_lines
from compare.check.precision import Loss, losses
from compare.check.report import Report, Row
from compare.check.restore import same_buffers, same_randomness
from compare.check.scale import Convention
from compare.check.shrink import smallest


def check_derivation(
    forward: Forward,
    backward: Backward,
    inputs: Inputs,
    *,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
) -> Report:
    """Compare a hand-written backward with autograd, step by step. Never raises on a mismatch.

    `forward(**inputs) -> (J, {name: intermediate})`, in plain torch. `backward` gets, by parameter name, any inputs
    and intermediates that it lists, detached (with **kwargs: all of them), and returns {name: dJ/dname} for any of
    them, as torch tensors or NumPy arrays. `inputs` are tensors, a function from a seed to tensors, or
    specifications such as real("m", "d").

    The formula runs in float64, with torch's default dtype set to it. Then its precision is judged in `dtype`, or in
    the lowest that the given tensors have. Conditions are begun for `seconds` of processor time at most (or four times
    as many by the clock on the wall), the first four for three times as long.
    Raises ValueError where there is nothing to compare with: a forward that torch cannot differentiate, that is not
    deterministic, or that fails.
    """
    _check_arguments(forward, backward, dtype, seed, seconds)
    with torch.inference_mode(False):  # the caller may be inside; there torch records no graph
        everywhere = list(conditions(inputs, seed))
        here = Here(forward, backward, inputs)
        dtype = dtype or lowest_dtype(inputs, seed)
        return checked(here, everywhere, dtype=dtype, lines=source_lines(backward), seconds=seconds)


def _check_arguments(forward: object, backward: object, dtype: object, seed: object, seconds: object) -> None:
    """Raises ValueError, in one line, for what a caller without type checks may hand over."""
    for name, value in (("forward", forward), ("backward", backward)):
        if not callable(value):
            raise ValueError(f"{name} must be a function, got {type(value).__name__}")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype must be a floating torch.dtype such as torch.float32, got {dtype!r}")
    if not isinstance(seed, int) or not -(2**62) <= seed < 2**62:
        raise ValueError(f"seed must be a whole number of at most 62 bits, got {seed!r}")
    if not isinstance(seconds, int | float) or seconds != seconds:
        raise ValueError(f"seconds must be a number, got {seconds!r}")


class Runner(Protocol):
    """What a check asks of a derivation, which may run in this process or in another."""

    def evaluate(self, condition: Condition) -> Evaluation:
        """One run under a condition."""

    def smallest(self, name: str, failing: Condition) -> str:
        """The smallest case at which the step that computes `name` is off, as a text."""

    def losses(self, condition: Condition, dtype: torch.dtype) -> dict[str, Loss]:
        """What each gradient loses in a dtype."""


@dataclass(frozen=True)
class Here:
    """A derivation in this process."""

    forward: Forward
    backward: Backward
    inputs: Inputs
    convention: Convention = field(default_factory=Convention)  # found at the first condition, kept for the others

    def evaluate(self, condition: Condition) -> Evaluation:
        """One run under a condition."""
        with default_dtype(condition.dtype):
            values = realise(self.inputs, condition)
            return evaluate(self.forward, self.backward, values, seed=condition.seed, convention=self.convention)

    def smallest(self, name: str, failing: Condition) -> str:
        """The smallest case at which the step that computes `name` is off, as a text."""
        with default_dtype(torch.float64):
            return smallest(self.forward, self.backward, self.inputs, name, failing, self.convention)

    def losses(self, condition: Condition, dtype: torch.dtype) -> dict[str, Loss]:
        """What each gradient loses in a dtype."""
        with default_dtype(dtype):
            values = realise(self.inputs, condition)
            return losses(self.forward, self.backward, values, dtype, seed=condition.seed, convention=self.convention)


def checked(
    runner: Runner,
    everywhere: Sequence[Condition],
    *,
    dtype: torch.dtype | None,
    lines: Mapping[str, str],
    seconds: float = SECONDS,
    clock: Clock | None = None,
) -> Report:
    """The report on a derivation: its verdicts, source lines, smallest failing case, and precision in `dtype`."""
    report = collect(runner.evaluate, everywhere, seconds=seconds, clock=clock)
    rows = tuple(replace(row, line=lines.get(row.name, "")) for row in report.rows)
    first = report.first_wrong
    if first is not None and first.verdict == "wrong":
        failing = next(condition for condition in everywhere if str(condition) == first.condition)
        with same_randomness(), same_buffers():
            report = replace(report, example=runner.smallest(first.name, failing))
    elif report.ok and dtype not in (None, torch.float64):
        assert dtype is not None
        with same_randomness(), same_buffers():
            lost = runner.losses(everywhere[0], dtype)
        rows = _with_precision(rows, lost, everywhere[0], dtype)
    return replace(report, rows=rows)


def _with_precision(
    rows: tuple[Row, ...], lost: Mapping[str, Loss], condition: Condition, dtype: torch.dtype
) -> tuple[Row, ...]:
    """Rows of a right formula, `imprecise` where it loses digits in the user's dtype that autograd keeps."""
    name = str(dtype).removeprefix("torch.")
    return tuple(
        replace(
            row,
            verdict="imprecise",
            max_rel=lost[row.name].given,
            condition=f"{condition}, {name}",
            explanation=_lost(lost[row.name], name),
        )
        if row.verdict != "subgradient" and row.name in lost and lost[row.name].excessive
        else row
        for row in rows
    )


def _lost(loss: Loss, dtype: str) -> str:
    if loss.scattered:
        seen = f"its error is {loss.given:.1e} of its size, where autograd's is {loss.twin:.1e}"
    else:
        seen = f"all entries are off by the factor {1 + loss.shared:.9g}"
    return f"right in float64, but in {dtype} {seen}"


def lowest_dtype(inputs: Inputs, seed: int) -> torch.dtype | None:
    """The lowest precision among the floating tensors that were given; None where only specifications were."""
    drawn = given(inputs, seed)
    floating = [v.dtype for v in drawn.values() if isinstance(v, Tensor) and v.is_floating_point()]
    return max(floating, key=lambda each: torch.finfo(each).eps, default=None)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype: code that says torch.zeros(4, 3) then computes in the dtype of the run."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
