"""What is in reach of a step: names, sizes, constants, activations' derivatives, products; each with its value.

Candidates for a repair are built from these, whatever the derivation is: nothing here knows an example.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.activations import ACTIVATIONS

ALIKE = 1e-9  # relative: two values are the same formula, for the purpose of recognising one
ALMOST = 1e-2  # relative: two values that an epsilon tells apart
PACKED = 6  # numbers in a tuple that have a name by their place
LISTED = 40  # entries of a list that is looked into
SEVERAL = 6  # counts along several axes that are looked at
PRODUCTS = 400  # products of two matrices that are looked at


@dataclass(frozen=True)
class Term:
    """An expression in reach: its text, its value, and what it is."""

    text: str
    value: Any
    role: str  # derivative, mask, size, number, constant, tensor, complement, product, power


def tensor(value: Any) -> Tensor | None:
    """A floating or boolean array of any kind as a float64 tensor; None for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fb":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor) and (value.is_floating_point() or value.dtype == torch.bool):
        return value.detach().double()
    return None


class Reach:
    """The values that have a name at one point of a program."""

    def __init__(
        self,
        values: Mapping[str, Any],
        inputs: frozenset[str],
        target: str,
        quantities: frozenset[str],
        written: Mapping[str, Any] | None = None,
        nested: bool = False,
        fixed: Collection[str] = (),
    ) -> None:
        self.spellings, self.most = (1, PRODUCTS // 8) if nested else (4, PRODUCTS)
        self.fixed = fixed  # numbers that the forward is given: no sizes, if they are equal to one
        self.target = target
        self.inputs = inputs
        self.quantities = quantities
        self.tensors: dict[str, Tensor] = {}
        self.whole: dict[str, Tensor] = {}  # integer tensors
        self.scalars: dict[str, float] = {}
        self.counts: set[str] = set()  # scalars that are whole numbers, as sizes are
        for name, value in values.items():
            self._add(name, value)
        self._entries(values)
        made = {text: tensor(value) for text, value in (written or {}).items() if text not in self.tensors}
        self.written = [Term(text, value, "written") for text, value in made.items() if value is not None]

    def _entries(self, values: Mapping[str, Any]) -> None:
        """Entries of lists of arrays, at the indices that loops use and their neighbours."""
        numbers = {n: v for n, v in values.items() if type(v) is int and not n.startswith("__")}
        for name, value in values.items():
            if not isinstance(value, list | tuple) or not 0 < len(value) <= LISTED:
                continue
            for text, at in (
                (f"{n}{move:+d}" if move else n, v + move) for n, v in numbers.items() for move in (0, -1, 1)
            ):
                if 0 <= at < len(value):
                    self._add(f"{name}[{text.replace('+', ' + ').replace('-', ' - ')}]", value[at])

    def _add(self, name: str, value: Any) -> None:
        if name.startswith("__") or callable(value):
            return
        if isinstance(value, bool):
            return
        if isinstance(value, int | float | np.number):
            self.scalars[name] = float(value)
            if isinstance(value, int | np.integer):
                self.counts.add(name)
        elif isinstance(value, list | tuple) and len(value) <= PACKED and all(type(v) in (int, float) for v in value):
            self.scalars |= {f"{name}[{k}]": float(v) for k, v in enumerate(value)}
            if isinstance(value, torch.Size):
                self.counts |= {f"{name}[{k}]" for k in range(len(value))}
        elif isinstance(value, Mapping):
            for key, entry in itertools.islice(value.items(), 40):
                if isinstance(key, str):
                    self._add(f"{name}[{key!r}]", entry)
        elif isinstance(value, Tensor | np.ndarray):
            found = tensor(value)
            if found is not None:
                self.tensors[name] = found
            elif isinstance(value, Tensor):
                self.whole[name] = value

    @cached_property
    def activations(self) -> dict[str, tuple[str, str]]:
        """{a: (function, z)} for each quantity that is a known function of another."""
        found: dict[str, tuple[str, str]] = {}
        known = [n for n in self.tensors if plain(n) in self.quantities and n not in self.inputs]
        for a, z in itertools.permutations(known, 2):
            out, pre = self.tensors[a], self.tensors[z]
            if a in found or out.shape != pre.shape or not out.numel():
                continue
            for name, activation in ACTIVATIONS.items():
                if torch.allclose(activation.function(pre), out, rtol=ALIKE, atol=1e-300, equal_nan=False):
                    found[a] = (name, z)
                    break
        return found

    def counted(self, name: str) -> bool:
        """Whether a scalar is a size: a whole number that is how many there are of something."""
        return name in self.counts and name not in self.fixed and self.is_size(self.scalars[name])

    def is_size(self, value: float) -> bool:
        """Whether a number is how many there are of something: along an axis, or along two."""
        return value > 1 and value in self._counts

    @cached_property
    def _counts(self) -> set[float]:
        shapes = [value.shape for value in (*self.tensors.values(), *self.whole.values())]
        along = {float(size) for shape in shapes for size in shape}
        return along | {float(a * b) for shape in shapes for a, b in itertools.combinations(shape, 2)}

    @cached_property
    def sizes(self) -> list[Term]:
        """Sizes of what is in reach, as numbers that have a name or as expressions."""
        found: dict[str, float] = {n: v for n, v in self.scalars.items() if self.counted(n)}
        seen = dict.fromkeys(found.values(), 1)
        for name in (*self.tensors, *self.whole):
            value = self.tensors.get(name, self.whole.get(name))
            assert value is not None
            if ("[" in name and value.ndim > 2) or plain(name) not in self.quantities:
                continue
            for axis, size in enumerate(value.shape):
                if size > 1 and seen.get(size, 0) < self.spellings:
                    seen[size] = seen.get(size, 0) + 1
                    found[f"{name}.shape[{axis}]" if axis else f"len({name})"] = float(size)
        if self.target in self.tensors and self.tensors[self.target].ndim > 1:
            found[f"{self.target}.numel()"] = float(self.tensors[self.target].numel())
        for term in self.masks:
            if ">" not in term.text and 0 < float(term.value.sum()) < term.value.numel():
                found[f"{term.text}.sum()"] = float(term.value.sum())
                found[f"{term.text}.sum().clamp(min=1)"] = float(term.value.sum())
        found |= self._several
        return [Term(text, value, "size") for text, value in found.items()]

    @cached_property
    def _several(self) -> dict[str, float]:
        """How many entries there are along all axes but one, as a mean over images and their places counts."""
        found: dict[str, float] = {}
        for name, value in self.tensors.items():
            if value.ndim < 3 or plain(name) not in self.quantities:
                continue
            for axis, size in enumerate(value.shape):
                if (count := value.numel() / max(size, 1)) not in found.values() and len(found) < SEVERAL:
                    found[f"({name}.numel() // {name}.shape[{axis}])"] = float(count)
        return found

    @cached_property
    def numbers(self) -> list[Term]:
        """Plain numbers and the derivation's own constants."""
        plain_numbers = [Term(f"{v:g}", v, "number") for v in (2.0, 0.5, 3.0, 4.0, 0.25)]
        own = [Term(n, v, "constant") for n, v in self.scalars.items() if not self.counted(n) and v != 0]
        own += [Term(f"(1 - {t.text})", 1 - t.value, "constant") for t in own if 0 < t.value < 1]
        roots = [Term(f"{s.text} ** 0.5", math.sqrt(s.value), "size") for s in self.sizes]
        return [*own, *plain_numbers, *roots]

    @cached_property
    def derivatives(self) -> list[Term]:
        """Derivatives of the activations that the forward has, best first: that of the target's own."""
        found = []
        for a, (name, z) in self.activations.items():
            activation = ACTIVATIONS[name]
            value = activation.derivative(self.tensors[a], self.tensors[z])
            found.append((z != self.target, Term(activation.text.format(a=a, z=z), value, "derivative")))
        for a, z in self._leaky:
            slope = float((self.tensors[a] / self.tensors[z])[self.tensors[z] < 0].median())
            value = torch.where(self.tensors[z] > 0, 1.0, slope).double()
            found.append((z != self.target, Term(f"torch.where({z} > 0, 1.0, {slope:.6g})", value, "derivative")))
        return [term for _, term in sorted(found, key=lambda each: each[0])]

    @cached_property
    def own_slopes(self) -> set[str]:
        """The derivatives of the target's own activation: what a delta lacks or has wrong more often than anything."""
        pairs = {(ACTIVATIONS[name].text.format(a=a, z=z), z) for a, (name, z) in self.activations.items()}
        return {text for text, z in pairs if plain(z) == self.target}

    def slope(self, text: str) -> bool:
        """Whether an expression reads as a derivative: `1 - a ** 2`, `a * (1 - a)`, `z > 0`."""
        found = re.search(r"\(?1 - ([\w\[\] -]+?)( \*\* 2| \* \1)?\)?$", text)
        if found is None:
            return "> 0" in text
        return bool(found[2]) or text.startswith(f"{found[1]} * (1 - ")

    @cached_property
    def _leaky(self) -> list[tuple[str, str]]:
        """(a, z) where a is z above zero and a constant share of z below."""
        known = [n for n in self.tensors if plain(n) in self.quantities and n not in self.inputs]
        found = []
        for a, z in itertools.permutations(known, 2):
            out, pre = self.tensors[a], self.tensors[z]
            if out.shape != pre.shape or not bool((pre < 0).any()) or not bool((pre > 0).any()):
                continue
            share = (out / pre)[pre < 0]
            if (
                torch.equal(out[pre > 0], pre[pre > 0])
                and bool((share - share[0]).abs().max() < ALIKE)
                and 0 < share[0] < 1
            ):
                found.append((a, z))
        return found

    @cached_property
    def masks(self) -> list[Term]:
        """Comparisons with zero, and tensors of zeros and ones."""
        found = [
            Term(f"({n} > 0)", (v > 0).double(), "mask")
            for n, v in self.tensors.items()
            if plain(n) in self.quantities and n not in self.inputs and bool((v < 0).any())
        ]
        binary = [n for n, v in self.tensors.items() if v.numel() and bool(((v == 0) | (v == 1)).all()) and v.ndim]
        return [*(Term(n, self.tensors[n], "mask") for n in binary), *found]

    @cached_property
    def plain(self) -> list[Term]:
        """Tensors by their names, the forward's quantities first."""
        order = sorted(self.tensors, key=lambda n: (plain(n) not in self.quantities, n))
        return [Term(n, self.tensors[n], "tensor") for n in order if self.tensors[n].numel()]

    @cached_property
    def factors(self) -> list[Term]:
        """What a value can be multiplied by: derivatives, masks, tensors, 1 - tensor, their squares and reductions."""
        found = [*self.derivatives, *self.masks, *self.plain]
        for term in self.plain:
            if term.value.ndim:
                found.append(Term(f"(1 - {term.text})", 1 - term.value, "complement"))
        for term in self.plain:
            found.append(Term(f"{term.text} ** 2", term.value**2, "power"))
            found.append(Term(f"(1 - {term.text} ** 2)", 1 - term.value**2, "complement"))
            found.append(Term(f"{term.text} * (1 - {term.text})", term.value * (1 - term.value), "complement"))
        for term in self.plain:
            found.append(Term(f"torch.log({term.text})", torch.log(term.value.abs().clamp_min(1e-300)), "power"))
        return found

    def products(self, shape: tuple[int, ...]) -> Iterator[Term]:
        """Matrix products and sums of what is in reach that have this shape: the paths on which a gradient comes."""
        tensors = list(self.tensors.items())
        count = 0
        if len(shape) == 2:
            for (n, a), (k, b) in itertools.product(tensors, tensors):
                if a.ndim != 2 or b.ndim != 2:
                    continue
                for left, first in ((n, a), (f"{n}.T", a.T)):
                    for right, second in ((k, b), (f"{k}.T", b.T)):
                        if first.shape[1] != second.shape[0] or (first.shape[0], second.shape[1]) != shape:
                            continue
                        count += 1
                        if count > self.most:
                            return
                        yield Term(f"{left} @ {right}", first @ second, "product")
        for n, a in tensors:
            if a.ndim == len(shape) + 1 and a.ndim >= 2:
                for axis in range(a.ndim):
                    if tuple(a.sum(axis).shape) == shape:
                        yield Term(f"{n}.sum({axis})", a.sum(axis), "product")
        for (n, a), (k, b) in itertools.combinations(tensors, 2):
            if a.shape == b.shape and tuple(a.shape) == shape and count < self.most:
                count += 1
                yield Term(f"{n} * {k}", a * b, "product")

    def effect(self, old: Tensor | None, new: Tensor | None) -> str:
        """The mistake of a quantity that lacks a factor, has a derivative too many, or is almost the other one."""
        if old is None or new is None or old.shape != new.shape or not old.numel():
            return ""
        if 0 < float((old - new).norm()) < ALMOST * float(new.norm()):
            return "wrong_epsilon"
        if old.ndim <= 4 and not bool((old == new).all()):
            axes = range(old.ndim)
            some = (c for r in range(1, old.ndim + 1) for c in itertools.combinations(axes, r))
            if any(torch.equal(new.flip(c), old) for c in some):
                return "wrong_index"
            if old.ndim > 1 and any(torch.equal(new.transpose(a, b), old) for a, b in itertools.combinations(axes, 2)):
                return "missing_transpose"
        for term in self.derivatives:
            if term.value.shape != old.shape:
                continue
            if _same(old * term.value, new):
                return "missing_activation_derivative"
            if _same(new * term.value, old):
                return "extra_derivative"
        for term in self.plain:
            factor = plain(term.text) in self.quantities and term.value.ndim and spreads(term.value, old)
            if factor and _same(old * term.value, new):
                return "missing_factor"
        return ""

    def target_follows(self, old: str, new: str) -> bool:
        """Whether one of two names is the target's own value, or what the forward makes of it."""
        own = {plain(a) for a, (_, z) in self.activations.items() if plain(z) == self.target} | {self.target}
        return bool({plain(old), plain(new)} & own)

    def relation(self, old: str, new: str) -> str:
        """What one name is to another: another layer's (`layer`), its `activation`, another `step`, or `other`."""
        old, new = plain(old), plain(new)
        pairs = {(plain(a), plain(z)) for a, (_, z) in self.activations.items()}
        if (old, new) in pairs or (new, old) in pairs or self._activates(old, new) or self._activates(new, old):
            return "activation"
        if not any(c.isdigit() for c in old + new):
            return "other"
        first, second = (re.sub(r"\d+", "", n).lower() for n in (old, new))
        both = all(any(c.isdigit() for c in n) for n in (old, new))
        if first == second:
            return "layer" if both else "step"
        if {old, new} & {"x", "X"} and {first, second} & {"a", "h"}:
            return "layer"
        return "other"

    def _activates(self, z: str, a: str) -> bool:
        """Whether one local is a known function of another, under names that the forward does not have."""
        pre, out = self.tensors.get(z), self.tensors.get(a)
        if pre is None or out is None or pre.shape != out.shape or not out.numel() or {z, a} <= self.quantities:
            return False
        if (z, a) not in self._pairs:
            kinds = (ACTIVATIONS[name].function(pre) for name in ("sigmoid", "tanh", "relu", "exp"))
            self._pairs[z, a] = not torch.equal(pre, out) and any(
                torch.allclose(value, out, rtol=ALIKE, atol=1e-300) for value in kinds
            )
        return self._pairs[z, a]

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], bool]:
        return {}


def spreads(value: Tensor, over: Tensor) -> bool:
    """Whether a factor leaves the other's shape as it is."""
    same = all(v in (1, s) for v, s in zip(reversed(value.shape), reversed(over.shape), strict=False))
    return value.ndim <= over.ndim and same


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-9 * b.norm()) and bool(b.norm() > 0)


def plain(name: str) -> str:
    """The quantity that a name or a subscript such as t['a3'] stands for."""
    found = re.fullmatch(r"\w+\[['\"](\w+)['\"]\]", name)
    return found[1] if found else name
