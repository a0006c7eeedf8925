"""What people check gradients with today, each on a derivation at one draw of its inputs in float64, as it is used.

torch.autograd.gradcheck (slow and fast) and central differences (CS231n: h = 1e-5, a relative error above 1e-5 fails)
see J and the gradients of the inputs that the backward returns. torch.testing.assert_close and torch.allclose, with
their default tolerances, compare everything that it returns with autograd's gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import call
from compare.check.conditions import conditions, realise
from compare.check.derivation import default_dtype
from compare.check.hooks import Graph, trace
from tests.derivations import Case

STEP = 1e-5
RELATIVE = 1e-5
LARGE = 5000  # entries from which differences, one entry after another, are left out


@dataclass(frozen=True)
class Said:
    """What a tool says of one derivation: whether something is off, and which quantities."""

    alarm: bool
    steps: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Drawn:
    """A case at its first condition: inputs, what its backward returns there, and autograd's gradients."""

    case: Case
    inputs: Mapping[str, Any]
    given: Mapping[str, Tensor]
    invalid: frozenset[str]
    true: Mapping[str, Tensor]

    @property
    def leaves(self) -> dict[str, Tensor]:
        """Inputs whose gradient the backward returns."""
        return {n: v for n, v in self.inputs.items() if n in self.given and isinstance(v, Tensor)}

    @property
    def refused(self) -> frozenset[str]:
        """Inputs whose gradient is no gradient at all: of another shape, missing, or the backward raises."""
        return frozenset(n for n in self.invalid if n == "backward" or n in self.inputs)

    @property
    def is_large(self) -> bool:
        return sum(value.numel() for value in self.leaves.values()) > LARGE

    def J(self, moved: Mapping[str, Tensor]) -> Tensor:
        """The cost at other values of some inputs."""
        returned = self.case.forward(**{**self.inputs, **moved})[0]
        return returned.reshape(())


def drawn(case: Case) -> Drawn:
    condition = next(conditions(case.inputs))
    with default_dtype(torch.float64):
        inputs = realise(case.inputs, condition)
        graph = _traced(case, inputs)
        given = call(case.backward, graph.values(), graph.quantities)
        return Drawn(case, inputs, given.gradients, frozenset(given.invalid), graph.gradients({}))


def _traced(case: Case, inputs: Mapping[str, Any]) -> Graph:
    """The forward; where torch refuses the gradient of an input that nobody asks for, without up to two."""
    floating = [n for n, v in inputs.items() if isinstance(v, Tensor) and v.is_floating_point()]
    for fixed in ((), *itertools.combinations(floating, 1), *itertools.combinations(floating, 2)):
        try:
            graph = trace(case.forward, inputs, fixed=fixed)
            graph.gradients({})
            return graph
        except (RuntimeError, ValueError):
            continue
    raise ValueError(f"{case.name}: its forward cannot be differentiated")


def gradcheck(it: Drawn, *, fast: bool) -> Said | None:
    if it.refused:
        return Said(True, it.refused)
    if not it.leaves or (it.is_large and not fast):
        return None
    names = list(it.leaves)

    class Derivation(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *values: Tensor) -> Tensor:
            ctx.save_for_backward(*values)
            return it.J(dict(zip(names, values, strict=True)))

        @staticmethod
        def backward(ctx: Any, dJ: Tensor) -> Any:
            values = dict(zip(names, ctx.saved_tensors, strict=True))
            graph = trace(it.case.forward, {**it.inputs, **values})
            given = call(it.case.backward, graph.values(), graph.quantities).gradients
            return tuple(dJ * given[name] for name in names)

    leaves = tuple(v.detach().clone().requires_grad_() for v in it.leaves.values())
    return Said(not torch.autograd.gradcheck(Derivation.apply, leaves, fast_mode=fast, raise_exception=True))


def assert_close(it: Drawn) -> Said:
    def equal(a: Tensor, b: Tensor) -> bool:
        try:
            torch.testing.assert_close(a, b)
        except AssertionError:
            return False
        return True

    return _entries(it, equal)


def allclose(it: Drawn) -> Said:
    return _entries(it, lambda a, b: torch.allclose(a, b))


def _entries(it: Drawn, equal: Callable[[Tensor, Tensor], bool]) -> Said:
    off = {name for name, gradient in it.given.items() if not equal(gradient, it.true[name])} | it.invalid
    return Said(bool(off), frozenset(off))


def cs231n(it: Drawn) -> Said | None:
    """Central differences of J, entry by entry; |a - n| / max(|a|, |n|) at most 1e-5."""
    if it.refused:
        return Said(True, it.refused)
    if not it.leaves or it.is_large:
        return None
    off = set()
    for name, value in it.leaves.items():
        numeric = torch.zeros_like(value)
        for k in range(value.numel()):
            high, low = value.clone().contiguous(), value.clone().contiguous()
            high.view(-1)[k] += STEP
            low.view(-1)[k] -= STEP
            numeric.view(-1)[k] = (it.J({name: high}) - it.J({name: low})) / (2 * STEP)
        error = (it.given[name] - numeric).abs() / torch.maximum(it.given[name].abs(), numeric.abs()).clamp(min=1e-300)
        if not bool((error <= RELATIVE).all()):
            off.add(name)
    return Said(bool(off), frozenset(off))


OTHERS: dict[str, Callable[[Drawn], Said | None]] = {
    "gradcheck, slow": lambda it: gradcheck(it, fast=False),
    "gradcheck, fast": lambda it: gradcheck(it, fast=True),
    "torch.testing.assert_close": assert_close,
    "torch.allclose": allclose,
    "CS231n, 1e-5": cs231n,
}
