"""A witness that is not autograd: differences of J itself, asked when autograd and a derivation disagree.

J is run at moved values of one quantity: an input is moved before the forward, an intermediate at the very operation
that computes it. The direction is the one in which the two answers differ most, so that one number decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from compare.check.hooks import Forward, trace

STEP = 2.0**-7  # of the quantity's RMS, for the widest of the central differences
HALVINGS = 3  # of that step; Richardson's extrapolation takes their error terms out one after another
COMPLEX_STEP = 1e-40  # imaginary: there is no difference to lose digits in


@dataclass(frozen=True)
class Derivative:
    """A directional derivative of J, and a bound on its error."""

    value: float
    error: float


class _Producers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts results, remembers which call made which tensor, and moves one of them."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self, move: tuple[int, Tensor] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0
        self.made: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}
        self.alive: list[Tensor] = []
        self.move = move

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.calls += 1
            self.made[_place(out)] = self.calls
            self.alive.append(out)  # so that no later result takes its place in memory
            if self.move is not None and self.move[0] == self.calls:
                out.add_(self.move[1].to(out.dtype))
        return out


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())


def witness(
    forward: Forward, inputs: Mapping[str, Any], name: str, given: Tensor, expected: Tensor
) -> tuple[Derivative, float, float] | None:
    """The derivative of J along the difference of two gradients of `name`, and what each of the two predicts.

    None where it cannot be had: a quantity that no single operation makes, or a J that fails next to these values.
    """
    difference = (given - expected).double()
    norm = float(difference.norm())
    if not math.isfinite(norm) or norm == 0:
        return None
    direction = (difference / norm).to(expected.dtype)
    call = 0
    if name not in inputs:
        with _Producers() as producers:
            graph = trace(forward, inputs)
        call = producers.made.get(_place(graph.intermediates[name].detach()), 0)
        value = graph.intermediates[name].detach()
        if call == 0:
            return None
    else:
        value = inputs[name]
    sizes = {float(value.detach().abs().square().mean().sqrt()) or 1.0, 1.0}  # J's own scale is one of them, often
    found = [_derivative(forward, inputs, name, call, direction * size, size) for size in sorted(sizes)]
    derivative = min((each for each in found if each is not None), key=lambda each: each.error, default=None)
    if derivative is None:
        return None
    return derivative, float((given * direction).sum()), float((expected * direction).sum())


def _derivative(
    forward: Forward, inputs: Mapping[str, Any], name: str, call: int, direction: Tensor, size: float
) -> Derivative | None:
    def J(step: complex) -> complex:
        moved = direction * step
        if call:
            with _Producers((call, moved)):
                return complex(trace(forward, inputs).J.item())
        return complex(trace(forward, {**inputs, name: inputs[name] + moved}).J.item())

    try:
        steps = [STEP / 2**k for k in range(HALVINGS + 1)]
        differences = [((J(h) - J(-h)) / (2 * h)).real for h in steps]
        rounding = 4 * torch.finfo(torch.float64).eps * abs(J(0.0)) / steps[-1]
    except Exception:  # the user's forward may refuse the moved values in any way; then there is no witness
        return None
    value, error = _richardson(differences)
    if not math.isfinite(value):
        return None
    best = Derivative(value / size, (error + rounding * 4**HALVINGS) / size)
    return _refined(forward, inputs, name, call, direction, size, best) or best


def _richardson(values: list[float]) -> tuple[float, float]:
    """Extrapolate differences at steps h, h/2, h/4, ...; the last change bounds the error."""
    table = list(values)
    last = math.inf
    for order in range(1, len(values)):
        better = [(4**order * fine - coarse) / (4**order - 1) for coarse, fine in itertools.pairwise(table)]
        last = abs(better[-1] - table[-1])
        table = better
    return table[-1], last


def _refined(
    forward: Forward,
    inputs: Mapping[str, Any],
    name: str,
    call: int,
    direction: Tensor,
    size: float,
    coarse: Derivative,
) -> Derivative | None:
    """The complex step Im J(x + i h v) / h, where every operation of the forward is analytic; else nothing.

    An operation that is not (abs, max, a comparison) either refuses complex numbers or gives a derivative that the
    differences contradict.
    """
    if call:
        return None  # an intermediate takes the dtype of what made it; it cannot be moved off the real line
    whole = {n: v.to(torch.complex128) if _is_real(v) else v for n, v in inputs.items()}
    whole[name] = whole[name] + 1j * COMPLEX_STEP * direction
    try:
        returned = forward(**whole)[0]
        value = float(returned.imag) / COMPLEX_STEP / size
    except Exception:  # most forwards refuse complex numbers one way or another
        return None
    if abs(value - coarse.value) > coarse.error:
        return None
    return Derivative(value, abs(value) * 1e-14)


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
