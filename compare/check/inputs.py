"""What a derivation is evaluated at: specifications of tensors with named dimensions, and how they are drawn.

A specification says what kind of numbers an input holds and which dimensions it has; the check draws sizes
(all distinct, so that no square matrix hides a transpose) and values from it, as often as it needs.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Dim = int | str
Predicate = Callable[[Tensor], bool]


@dataclass(frozen=True)
class Spec:
    """One input: its kind of numbers and its dimensions. Built by `real`, `binary` and their siblings."""

    kind: str
    dims: tuple[Dim, ...]
    low: float | None = None
    high: float | None = None
    scale: float = 1.0
    classes: Dim | None = None
    value: Any = None
    where: Predicate | None = None


def real(
    *dims: Dim,
    scale: float = 1.0,
    low: float | None = None,
    high: float | None = None,
    where: Predicate | None = None,
) -> Spec:
    """Real numbers: normal with standard deviation `scale`; with `low` and `high`, uniform between them."""
    return Spec("real", dims, low=low, high=high, scale=scale, where=where)


def positive(
    *dims: Dim, low: float = 0.1, high: float = 2.0, scale: float = 1.0, where: Predicate | None = None
) -> Spec:
    """Real numbers above zero, log-uniform between `low` and `high`, times `scale`."""
    return Spec("positive", dims, low=low, high=high, scale=scale, where=where)


def binary(*dims: Dim, where: Predicate | None = None) -> Spec:
    """Zeros and ones, in the floating dtype of the run: targets of a log-loss, masks."""
    return Spec("binary", dims, where=where)


def one_hot(*dims: Dim, where: Predicate | None = None) -> Spec:
    """Rows with a single one along the last dimension, in the floating dtype of the run."""
    return Spec("one_hot", dims, where=where)


def index(*dims: Dim, classes: Dim, where: Predicate | None = None) -> Spec:
    """Integers from 0 to `classes` - 1 (int64); `classes` is a number or a dimension."""
    return Spec("index", dims, classes=classes, where=where)


def probability(*dims: Dim, where: Predicate | None = None) -> Spec:
    """Positive numbers that sum to one along the last dimension."""
    return Spec("probability", dims, where=where)


def permutation(dim: Dim, where: Predicate | None = None) -> Spec:
    """The integers from 0 to `dim` - 1 in a random order (int64)."""
    return Spec("permutation", (dim,), where=where)


def constant(value: Any) -> Spec:
    """A number or tensor that is handed over as it is, never varied (the size of a step, l2, a shape).

    A string is a dimension or an expression of dimensions, handed over as a number: `constant("m")`.
    """
    return Spec("constant", (), value=value)


@dataclass(frozen=True)
class Values:
    """How a draw departs from the plain one: the values' scale, zeros and ties, repeated rows."""

    scale: float = 1.0
    coarse: bool = False  # real numbers rounded to one decimal, none of them zero
    ties: bool = False  # real numbers rounded to a coarse grid, a third of them exactly zero
    mixed: bool = False  # each input of real numbers at a scale of its own, from 1/30 to 30
    repeat_rows: bool = False  # the first half of the first dimension's entries repeats


PLAIN = Values()
ATTEMPTS = 200  # draws of one input before its predicate counts as impossible


def dimension_names(inputs: Mapping[str, Any]) -> list[str]:
    """The named dimensions of some specifications, in order of appearance; of expressions, their names."""
    found: dict[str, None] = {}
    for spec in inputs.values():
        if isinstance(spec, Spec):
            dims = (*spec.dims, *(() if spec.classes is None else (spec.classes,)))
            if isinstance(spec.value, str):
                dims = (*dims, spec.value)
            for dim in dims:
                for name in _names_in(dim):
                    found[name] = None
    return list(found)


def _names_in(dim: Dim) -> list[str]:
    if isinstance(dim, str):
        return [node.id for node in ast.walk(_parsed(dim)) if isinstance(node, ast.Name)]
    return []


def _parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError(
            f"{expression!r} is no dimension; give a number, a name, or names with + - * // and parentheses"
        ) from None


_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def size_of(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The size of a dimension: a number, a name, or an expression of names such as "h*k" or "2*h + 1"."""
    if isinstance(dim, int):
        if dim < 0:
            raise ValueError(f"dimension {dim} is negative")
        return dim
    if not isinstance(dim, str):  # a caller without type checks
        raise ValueError(f"{dim!r} is no dimension; give a whole number, a name, or an expression of names")

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return sizes[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.FloorDiv | ast.Mod) and right == 0:
                raise ValueError(f"dimension {dim!r} divides by zero")
            return _OPERATORS[type(node.op)](left, right)
        raise ValueError(f"{dim!r} is no dimension; give a number, a name, or names with + - * // and parentheses")

    size = value(_parsed(dim))
    if size < 0:
        raise ValueError(f"dimension {dim!r} is negative ({size}) at {dict(sizes)}")
    return size


def draw(
    inputs: Mapping[str, Any],
    sizes: Mapping[str, int],
    seed: int,
    values: Values = PLAIN,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """One tensor a specification, at the given sizes; whatever is no specification is handed over as it is.

    Raises ValueError where a predicate stays false for `ATTEMPTS` draws.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: _accepted(name, spec, sizes, generator, values, dtype, device) if isinstance(spec, Spec) else spec
        for name, spec in inputs.items()
    }


def _accepted(
    name: str,
    spec: Spec,
    sizes: Mapping[str, int],
    generator: torch.Generator,
    values: Values,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Any:
    for _ in range(ATTEMPTS):
        drawn = _drawn(spec, sizes, generator, values)
        if isinstance(drawn, Tensor):
            drawn = drawn.to(device=device, dtype=dtype if drawn.is_floating_point() else drawn.dtype)
        if spec.where is None or bool(spec.where(drawn)):
            return drawn
    raise ValueError(
        f"input {name!r}: `where` was false for {ATTEMPTS} draws at sizes {dict(sizes)}; narrow the values with "
        "low= and high=, or loosen the predicate"
    )


def _drawn(spec: Spec, sizes: Mapping[str, int], generator: torch.Generator, values: Values) -> Any:
    if spec.kind == "constant":
        return size_of(spec.value, sizes) if isinstance(spec.value, str) else spec.value
    shape = tuple(size_of(dim, sizes) for dim in spec.dims)
    drawn = _KINDS[spec.kind](spec, shape, sizes, generator, values)
    if values.repeat_rows and shape and shape[0] > 1 and spec.kind != "permutation":
        half = shape[0] // 2
        drawn[half : 2 * half] = drawn[:half]
    return drawn


def _real(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    if spec.low is not None or spec.high is not None:
        low = spec.low if spec.low is not None else min(-1.0, spec.high - 2.0 if spec.high is not None else -1.0)
        high = spec.high if spec.high is not None else low + 2.0
        return low + (high - low) * _uniform(shape, generator)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * (spec.scale * values.scale)
    if values.mixed:
        drawn = drawn * 30 ** (2 * float(_uniform((), generator)) - 1)
    if values.coarse:
        drawn = drawn.mul(10).round().div(10)
        drawn = torch.where(drawn == 0, torch.full_like(drawn, 0.1), drawn)
    if values.ties:
        step = spec.scale * values.scale
        drawn = (drawn / step * 2).round() / 2 * step
        drawn = drawn * (_uniform(shape, generator) > 1 / 3)
    return drawn


def _positive(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    low, high = math.log(spec.low or 0.1), math.log(spec.high or 2.0)
    return torch.exp(low + (high - low) * _uniform(shape, generator)) * spec.scale


def _binary(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    return (_uniform(shape, generator) < 0.5).double()


def _index(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    classes = size_of(spec.classes if spec.classes is not None else 1, sizes)
    return torch.randint(0, max(classes, 1), shape, generator=generator)


def _one_hot(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    drawn = torch.zeros(shape, dtype=torch.float64)
    if drawn.numel():
        drawn.scatter_(-1, torch.randint(0, shape[-1], (*shape[:-1], 1), generator=generator), 1.0)
    return drawn


def _probability(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    return torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), -1)


def _permutation(
    spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int], generator: torch.Generator, values: Values
) -> Tensor:
    return torch.randperm(shape[0], generator=generator)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


_KINDS: dict[str, Callable[[Spec, tuple[int, ...], Mapping[str, int], torch.Generator, Values], Tensor]] = {
    "real": _real,
    "positive": _positive,
    "binary": _binary,
    "one_hot": _one_hot,
    "index": _index,
    "probability": _probability,
    "permutation": _permutation,
}
