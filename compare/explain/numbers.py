"""What a single number, axis or rounding tells of a wrong gradient."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from compare.explain.observe import Observation, alike
from compare.explain.reach import Reach

DISTINCT = 2  # values within the bounds that something is clipped to
ROUNDED = 1e-3  # relative: a factor so near to 1 is no factor that somebody forgot
COUNTED = 12  # entries in a window, or along an axis, that a mistake of counting is recognised from
NUMBERS = (2.0, 0.5, 3.0, 4.0, 0.25, 1 / 3, 1.5, 2 / 3, 6.0, 10.0)


@dataclass(frozen=True)
class Candidate:
    """A repair told by a key, so that it can be looked for under other conditions too."""

    key: str
    cause: str
    says: str


class OutOfTime(Exception):
    """No more time is to be spent."""


class Numbers:
    """One wrong step under one condition: the gradient given, the one expected, and what is in reach."""

    def __init__(self, seen: Observation, target: str, until: float = math.inf) -> None:
        self.seen, self.target, self.until = seen, target, until
        self.given = seen.raw.get(target, seen.given.get(target))
        self.expected = seen.local[target].double()
        deltas = {f"d{n}": g for n, g in (seen.local | seen.given).items() if n in seen.order and n != target}
        named = {n: v for n, v in deltas.items() if n not in seen.values}
        self.reach = Reach(seen.values, seen.inputs, target, seen.quantities, fixed=seen.values)
        self.handed = Reach(seen.values | named, seen.inputs, target, seen.quantities, fixed=seen.values)
        self.alone = False  # whether this is the only condition that tells
        self.zero = float(self.expected.abs().max()) == 0 if self.expected.numel() else True

    @property
    def tells(self) -> bool:
        """Whether anything can be told here: the step is wrong, and neither side is nothing but zeros."""
        if self.given is None or not self.expected.numel():
            return False
        finite = bool(torch.isfinite(self.expected).all()) and bool(torch.isfinite(self.given).all())
        return finite and not self.seen.alike(self.given, self.expected)

    @property
    def nothing(self) -> bool:
        """Whether the gradient of an input was left at zero."""
        return self.target in self.seen.inputs and self.given is not None and not bool(self.given.any())

    @cached_property
    def error(self) -> Tensor:
        """Expected minus given, where the shapes agree."""
        assert self.given is not None
        return self.expected - self.given.double()

    def in_time(self) -> None:
        """Raises OutOfTime."""
        if time.monotonic() > self.until:
            raise OutOfTime

    def right(self, value: Tensor) -> bool:
        """Whether a value is the gradient that is expected. Raises OutOfTime."""
        self.in_time()
        if value.shape != self.expected.shape:
            return False
        at, largest = self._largest
        if not abs(float(value.reshape(-1)[at]) - largest) <= 1e-5 * abs(largest):  # most are far off: seen at once
            return False
        return alike(value, self.expected)

    @cached_property
    def _largest(self) -> tuple[int, float]:
        flat = self.expected.reshape(-1)
        at = int(flat.abs().argmax())
        return at, float(flat[at])

    def right_where(self, chosen: Tensor) -> bool:
        """Whether the given gradient is right in these entries."""
        assert self.given is not None
        size = float(self.expected.square().mean().sqrt())
        return bool(((self.given - self.expected).abs()[chosen] <= 1e-9 * size).all())

    def reshaped(self, given: Tensor) -> Iterator[Candidate]:
        """Sums over axes, and permutations, that give the shape expected."""
        for axes in _subsets(given.ndim):
            for keep in (False, True):
                if self.right(given.sum(axes, keepdim=keep)):
                    yield Candidate(f"sum {axes}", "bias_not_reduced", f"sum it over axis {_listed(axes)}")
                if self.right(given.mean(axes, keepdim=keep)):
                    yield Candidate(f"mean {axes}", "bias_not_reduced", f"average it over axis {_listed(axes)}")
        for order in itertools.permutations(range(given.ndim)):
            if given.ndim <= 4 and self.right(given.permute(order)):
                yield Candidate(f"permute {order}", "missing_transpose", "transpose it")
        if given.numel() == self.expected.numel() and self.right(given.reshape(self.expected.shape)):
            yield Candidate("reshape", "wrong_axis", f"give it the shape {tuple(self.expected.shape)}")

    def scaled(self, given: Tensor) -> Iterator[Candidate]:
        """A sign, or one factor for all entries: a size, a constant, a number."""
        if self.right(-given):
            yield Candidate("-", "sign", "turn its sign")
            return
        square = float((given * given).sum())
        ratio = float((given * self.expected).sum()) / square if square > 0 else 0.0
        if ratio == 0 or not self.right(given * ratio):
            return
        sizes = {t.text: t.value for t in self.reach.sizes}
        penalised = {t.text: t.value for t in self.reach.numbers if t.role == "constant"}
        for number in (*NUMBERS, *(-n for n in NUMBERS)):  # a small number that no mean speaks for is no size
            if same(ratio, number) and self._plain(ratio):
                yield Candidate(f"* {number:g}", "wrong_factor", f"multiply it by {number:g}")
        for text, value in sizes.items():
            if same(ratio, 1 / value):
                several = any(same(value * other, a) for other in sizes.values() for a in self.seen.averages)
                cause = "wrong_count" if several and self._plain(ratio) else "missing_mean"
                yield Candidate(f"/ {text}", cause, f"divide it by {text} = {value:g}")
            if same(ratio, value):
                yield Candidate(f"* {text}", "mean_twice", f"multiply it by {text} = {value:g}")
        for text, value in penalised.items():
            if same(ratio, value) or same(ratio, 1 / value):
                verb = "multiply" if same(ratio, value) else "divide"
                yield Candidate(f"{verb} {text}", "wrong_factor", f"{verb} it by {text}")
        for number in (*NUMBERS, *(-n for n in NUMBERS)):
            if same(ratio, number) and not self._plain(ratio):
                yield Candidate(f"* {number:g}", "wrong_factor", f"multiply it by {number:g}")
        for (n, a), (k, b) in itertools.permutations(sizes.items(), 2):
            if same(ratio, a / b) and any(same(b, size) for size in self.seen.averages):
                yield Candidate(f"{n} / {k}", "wrong_count", f"divide it by {k} = {b:g}, not by {n} = {a:g}")
        for text, value in sizes.items():
            for shifted, words in ((value - 1, f"{text} - 1"), (value**0.5, f"the root of {text}")):
                if shifted > 0 and (same(ratio, shifted / value) or same(ratio, shifted) or same(ratio, 1 / shifted)):
                    cause = "wrong_count" if "-" in words else "wrong_factor"
                    yield Candidate(
                        f"{words} {same(ratio, 1 / shifted)}", cause, f"a factor {ratio:g} is off: {words}?"
                    )
        yield Candidate(f"times {ratio:.9g}", "wrong_factor", f"multiply it by {ratio:.6g}")

    def _plain(self, ratio: float) -> bool:
        """Whether a factor is a number of its own: one over it is none that the forward divides by."""
        return not any(same(1 / abs(ratio), size) for size in self.seen.averages)

    def permuted(self, given: Tensor) -> Iterator[Candidate]:
        """Transposed, reversed or shifted along an axis."""
        if given.ndim > 4 or alike(given, given * 0):
            return
        for order in itertools.permutations(range(given.ndim)):
            if order != tuple(range(given.ndim)) and self.right(given.permute(order)):
                yield Candidate(f"permute {order}", "missing_transpose", "transpose it")
        for order in itertools.permutations(range(given.ndim)):
            laid = given.reshape([given.shape[axis] for axis in order]).permute(
                [order.index(a) for a in range(given.ndim)]
            )
            if order != tuple(range(given.ndim)) and self.right(laid):
                yield Candidate(f"laid out {order}", "missing_transpose", "a reshape gave it its shape: transpose it")
        for axis in range(given.ndim):
            if self.right(given.flip(axis)):
                yield Candidate(f"flip {axis}", "wrong_index", f"reverse it along axis {axis}")
            for shift in (1, -1):
                if self.right(given.roll(shift, axis)):
                    yield Candidate(f"roll {axis} {shift}", "wrong_index", f"shift it by one along axis {axis}")
        if given.ndim >= 2 and self.right(given.flip(tuple(range(given.ndim)[-2:]))):
            yield Candidate("flip both", "wrong_index", "turn it by 180 degrees")

    def rounded(self, given: Tensor) -> Iterator[Candidate]:
        """Clipped at its largest entry, or rounded to float32."""
        largest = float(given.abs().max())
        within = given[given.abs() < largest]  # of few values, any bound is met by chance
        several = len(set(within.tolist())) > DISTINCT and int((given.abs() == largest).sum()) > 1
        if largest > 0 and several and self.right_where(given.abs() < largest):
            there = given.abs() == largest
            beyond = (self.expected[there] * given[there].sign()) / largest
            if bool((beyond >= 1 - 1e-9).all()) and bool((beyond > 1 + 1e-9).any()):
                yield Candidate("clip", "clipped", f"do not clip it at {largest:.6g}")
        if (lower := rounded_to(given, self.expected)) is not None:
            words = f"compute it in the dtype of its inputs: it has been through {lower}"
            yield Candidate(lower, "low_precision", words)

    def partly(self, given: Tensor) -> Iterator[Candidate]:
        """Right but for entries that are zero, turned or scaled, or right but for the places of its entries."""
        size = float(self.expected.square().mean().sqrt())
        close = 1e-7 * size
        off = (given - self.expected).abs() > close
        cut, let = off & (given.abs() <= close), off & (self.expected.abs() <= close)
        ordered = (given.flatten().sort().values - self.expected.flatten().sort().values).abs()
        if given.numel() > 2 and bool((ordered <= close).all()) and bool(off.any()):
            if (axes := parted(given, self.expected)) is not None:
                dims, order = axes
                words = f"its entries stand in another order: here it is reshape{dims}.permute{order} of what is given"
                yield Candidate("parted", "missing_transpose", words)
            yield Candidate("places", "unknown", "every entry is right, but they stand in the wrong places")
        elif bool((off == (cut | let)).all()) and bool(let.any()):  # what is only cut may be a path that is forgotten
            yield Candidate(
                "mask", "wrong_mask", "what is not zero is right; another mask has to say which entries are passed"
            )
        elif bool(off.any()) and not bool((cut | let).any()):
            ratio = (self.expected / given)[off]
            if bool(((ratio - ratio[0]).abs() <= 1e-7 * ratio[0].abs()).all()):
                number = float(ratio[0])
                if abs(number - 1) < ROUNDED:
                    return
                if same(number, -1.0):
                    yield Candidate("some signs", "sign", "turn its sign where it is wrong; elsewhere it is right")
                else:
                    words = f"multiply it by {number:.6g} in the entries that are wrong"
                    counted = Fraction(number).limit_denominator(COUNTED)  # so many for so many: 3 / 2
                    counts = same(number, float(counted)) and min(counted.numerator, counted.denominator) > 1
                    yield Candidate(f"some {number:.6g}", "wrong_count" if counts else "wrong_factor", words)


DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def rounded_to(given: Tensor, expected: Tensor) -> str | None:
    """The dtype that a gradient has been through: all of its entries are of it, and it is off by its roundings."""
    if given.shape != expected.shape or not given.numel():
        return None
    for name, dtype in DTYPES.items():
        off = float((given.double() - expected.double()).norm())
        near = 16 * torch.finfo(dtype).eps * float(expected.double().norm())
        if 0 < off < near and bool((given == given.to(dtype).to(given.dtype)).all()):
            return name
    return None


def parted(given: Tensor, expected: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(dims, order) where `expected` is, entry by entry, `given.reshape(dims).permute(order)`, an axis at least moved.

    None where it is not, or entries are alike, so that it cannot be told which is which.
    """
    ranks = expected.flatten().argsort().argsort()
    at = given.flatten().argsort()[ranks]  # for each entry of the expected, where it stands in the given
    if not bool((given.flatten().sort().values.diff() > 0).all()):
        return None
    sizes: list[int] = []
    strides: list[int] = []
    while len(at) > 1:
        step = int(at[1] - at[0])
        other = (at.diff() != step).nonzero()
        size = len(at) if not len(other) else int(other[0]) + 1
        if (
            step <= 0
            or len(at) % size
            or not torch.equal(at.reshape(-1, size).diff(), at.new_full((len(at) // size, size - 1), step))
        ):
            return None
        sizes, strides = [size, *sizes], [step, *strides]
        at = at.reshape(-1, size)[:, 0]
    largest_first = sorted(range(len(sizes)), key=lambda axis: -strides[axis])
    dims = tuple(sizes[axis] for axis in largest_first)
    order = tuple(largest_first.index(axis) for axis in range(len(sizes)))
    laid = given.reshape(dims).permute(order).flatten() if math.prod(dims) == given.numel() else None
    if laid is None or order == tuple(range(len(order))) or not alike(laid, expected.flatten()):
        return None
    return dims, order


def multiple(error: Tensor, term: Tensor) -> float | None:
    """c where error = c term."""
    if error.shape != term.shape:
        return None
    square = float((term * term).sum())
    if square == 0 or not torch.isfinite(term).all():
        return None
    c = float((error * term).sum()) / square
    return c if c != 0 and alike(error, c * term) else None


def same(a: float, b: float) -> bool:
    """Whether two numbers are the same constant."""
    return abs(a - b) <= 1e-7 * abs(b)


def _subsets(n: int) -> list[tuple[int, ...]]:
    return [c for r in range(1, min(n, 4) + 1) for c in itertools.combinations(range(n), r)]


def _listed(axes: tuple[int, ...]) -> str:
    return " and ".join(map(str, axes))
