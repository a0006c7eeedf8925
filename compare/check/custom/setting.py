"""A function and its reference at one set of inputs, what each row should be there, and how far off rounding may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compare.check.custom.calls import Call, Side, comparable, differentiable
from compare.check.custom.cotangents import Draws

Combination = Mapping[str, float]  # draw -> coefficient: gradients are linear in the cotangent
Results = dict[str, Tensor]  # by row: "output", "output 1", or the name of an input, whose gradient it is


@dataclass(frozen=True)
class Expected:
    """What a row should be, and how far off rounding may leave it."""

    value: Tensor
    floor: Tensor
    keen: Tensor


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
    floors: Results = field(default_factory=dict)  # what rounding explains, on either side
    keen: Results = field(
        default_factory=dict
    )  # the part of it that the reference has: what a precise function keeps to
    runs: list[Results] = field(default_factory=list)  # of the function, plainly, at the cotangent u
    spread: float = 0.0  # between them, relative to the RMS of the gradient
    unsettled: list[str] = field(default_factory=list)  # rows that differ between runs by more than rounding
    mismatched: dict[str, str] = field(default_factory=dict)  # outputs that cannot be compared, and why

    def expected(self, combination: Combination) -> dict[str, Expected]:
        """What each row should be for a linear combination of the draws."""
        found = {
            tag: Expected(self.exact[tag], self.floors[tag], self.keen[tag]) for tag in self.exact if "|" not in tag
        }
        for name, _ in numbers(self.values):

            def combined(parts: Results, sign: Callable[[float], float], name: str = name) -> Tensor:
                return torch.stack([sign(c) * parts[f"{draw}|{name}"] for draw, c in combination.items()]).sum(0)

            floor, keen = (combined(f, abs).clamp(min=smallest(self.dtype)) for f in (self.floors, self.keen))
            found[name] = Expected(combined(self.exact, float), floor, keen)
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


def rms(t: Tensor) -> float:
    """Root mean square of the entries; 0 of none."""
    return float(t.square().mean().sqrt()) if t.numel() else 0.0


def alike(got: Tensor | None, value: Tensor) -> bool:
    """Whether two results have the same shape."""
    return got is not None and got.shape == value.shape


def _kept_strides(t: Tensor, dtype: torch.dtype) -> Tensor:
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in t.stride())
    return t[once].to(dtype).expand(t.shape)


def smallest(dtype: torch.dtype) -> float:
    """The smallest positive number of a dtype."""
    info = torch.finfo(dtype)
    return float(info.smallest_normal * info.eps)
