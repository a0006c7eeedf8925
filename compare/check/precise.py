"""Derivatives of J with hundreds of digits, for the places where float64 itself fails.

At z = 40 the textbook cost -(y log a + (1 - y) log(1 - a)) is infinite in float64 and autograd's gradient is NaN,
while the hand-written a - y is right. Central differences of a J that has digits to spare decide: a step of 1e-160
has no truncation error to speak of, and every answer is asked for twice, with other digits, noise and steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compare.check.hooks import Forward, Graph, trace
from compare.check.restore import same_randomness
from compare.check.shadow import Place, Shadow
from compare.check.shadow_entries import Unknown

SECONDS = 3.0  # of the processor, for one answer
# Digits of pairs of runs that must agree. 1 - sigmoid(40) needs 18 digits, 1 - sigmoid(800) 348; exp(-x) beside 1
# at x = 3000 needs 1,303. The first pair is 10 times as fast and knows no zeros: its noise is a number.
DIGITS = ((140, 160), (600, 640), (1600, 1640))
STEP = 0.28  # digits of the step by digits of the arithmetic: at 600 its square is below the least float64
AGREEMENT = 1e-16


def precise_derivative(
    forward: Forward,
    inputs: Mapping[str, Any],
    name: str,
    direction: Tensor,
    *,
    fixed: Collection[str] = (),
    seconds: float = SECONDS,
) -> float | None:
    """The derivative of J along `direction` at the input `name`, right to 1e-14; None where it cannot be had.

    J is that of exact arithmetic at these very float64 numbers, with the decisions (comparisons, indices) that
    float64 takes. `fixed` are inputs that the forward refuses to be differentiated by.
    """
    with same_randomness() as rewind:
        moved = _Moved(forward, inputs, name, None, fixed, rewind, time.process_time() + seconds)
        return moved.derivative(direction)


def precise_gradient(
    forward: Forward,
    inputs: Mapping[str, Any],
    name: str,
    *,
    limit: int = 64,
    fixed: Collection[str] = (),
    seconds: float = SECONDS,
) -> Tensor | None:
    """dJ/dname of an input of at most `limit` entries, float64, every entry finite; else None."""
    if inputs[name].numel() > limit:
        return None
    with same_randomness() as rewind:
        moved = _Moved(forward, inputs, name, None, fixed, rewind, time.process_time() + seconds)
        return moved.gradient(inputs[name])


def precise_gradient_of(
    forward: Forward,
    inputs: Mapping[str, Any],
    intermediate_name: str,
    *,
    limit: int = 64,
    fixed: Collection[str] = (),
    seconds: float = SECONDS,
) -> Tensor | None:
    """As `precise_gradient`, of an intermediate: it is moved right where it gets its last value."""
    deadline = time.process_time() + seconds
    with same_randomness() as rewind:
        search = _Moved(forward, inputs, intermediate_name, None, fixed, rewind, deadline)
        try:
            shadow, graph = search.run(min(DIGITS[0]), seed=0)
            named = graph.intermediates[intermediate_name]
            if named.numel() > limit:
                return None
            place = shadow.find(named)
        except (Unknown, KeyError):
            return None
        return _Moved(forward, inputs, intermediate_name, place, fixed, rewind, deadline).gradient(named)


@dataclass(frozen=True)
class _Moved:
    """J as a function of how far one quantity is moved."""

    forward: Forward
    inputs: Mapping[str, Any]
    name: str
    place: Place | None  # of an intermediate
    fixed: Collection[str]
    rewind: Any
    deadline: float

    def gradient(self, like: Tensor) -> Tensor | None:
        entries: list[float] = []
        for i in range(like.numel()):
            direction = torch.zeros(like.numel(), dtype=torch.float64)
            direction[i] = 1.0
            entry = self.derivative(direction.reshape(like.shape))
            if entry is None:
                return None
            entries.append(entry)
        return torch.tensor(entries, dtype=torch.float64).reshape(like.shape)

    def derivative(self, direction: Tensor) -> float | None:
        size = float(direction.abs().max()) if direction.numel() else 0.0
        if size == 0:
            return 0.0
        if not math.isfinite(size):
            return None
        size = math.ldexp(1.0, math.frexp(size)[1])  # so that dividing by it is exact
        for pair in DIGITS:
            try:
                one, two = (self._difference(direction, size, digits) for digits in pair)
            except Unknown:
                continue
            if float(one) == float(two) == 0 and pair is not DIGITS[0]:
                return 0.0
            if abs(one - two) <= AGREEMENT * abs(two) and math.isfinite(float(two)) and two:
                return float(two)
        return None

    def _difference(self, direction: Tensor, size: float, digits: int) -> Any:
        exponent = int(STEP * digits)
        ends = []
        for sign in (1, -1):
            shadow, graph = self.run(digits, seed=2 * digits + sign, move=direction / size * sign, exponent=exponent)
            ends.append(shadow.read(graph.J.detach()).item())
        c = shadow.c
        slope = (ends[0] - ends[1]) / 2 * c.mpf(10) ** exponent * c.mpf(size)
        if not c.isfinite(slope):
            raise Unknown("J is not finite")
        return slope

    def run(self, digits: int, *, seed: int, move: Tensor | None = None, exponent: int = 0) -> tuple[Shadow, Graph]:
        """The forward under shadow arithmetic. Raises Unknown."""
        import mpmath  # type: ignore[import-untyped]  # comes with torch, but takes time to import

        c = mpmath.mp.clone()  # a context of its own: the caller's precision stays as it is
        c.dps = digits
        tie = 0.0 if digits in DIGITS[0] else 10.0 ** -(digits // 4)
        shadow = Shadow(c, seed, tie, self.deadline)
        own = {n: v.detach().clone() if isinstance(v, Tensor) else v for n, v in self.inputs.items()}
        if move is not None:
            change = shadow.exact(move) * c.mpf(10) ** -exponent
            if self.place is None:
                shadow.put(own[self.name], change)
            else:
                shadow.place, shadow.move = self.place, change

        def armed(**given: Any) -> Any:
            shadow.armed = True
            return self.forward(**given)

        self.rewind()
        try:
            with shadow:
                graph = trace(armed, own, fixed=self.fixed)
        except Unknown:
            raise
        except Exception as error:  # a forward may turn Unknown into anything, and fail by itself in any way
            raise Unknown(str(error)) from error
        if shadow.failed or (move is not None and not shadow.moved):
            raise Unknown("the forward")
        if self.place is not None and shadow.find(graph.intermediates[self.name]) != self.place:
            raise Unknown("another operation makes this intermediate when the forward runs again")
        return shadow, graph
