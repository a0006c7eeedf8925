"""The values that have a name at one point of a program: what they are to each other, and to the forward."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.activations import ACTIVATIONS

ALIKE = 1e-9  # relative: two values are the same formula, for the purpose of recognising one
PACKED = 6  # numbers in a tuple that have a name by their place
GLANCE = 4  # entries that tell most functions apart
LISTED = 40  # entries of a list that is looked into
TELLING = 8  # entries that are in one order in two arrays by chance seldom enough
PRODUCTS = 400  # products of two matrices that are looked at


@dataclass(frozen=True)
class Term:
    """An expression in reach: its text, its value, and what it is."""

    text: str
    value: Any
    role: str  # derivative, mask, size, number, constant, tensor, complement, product, power


def tensor(value: Any) -> Tensor | None:
    """A floating or boolean array of any kind as a float64 tensor; None for anything else."""
    if isinstance(value, np.floating):
        value = np.asarray(value)  # an entry, as torch has it too
    if isinstance(value, np.ndarray) and value.dtype.kind in "fb":
        value = torch.from_numpy(np.array(value, np.float64 if value.dtype.kind == "f" else bool, order="C"))
    if isinstance(value, Tensor) and (value.is_floating_point() or value.dtype == torch.bool):
        return value.detach().double()
    return None


class Named:
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
        self.spellings, self.most = (1, PRODUCTS // 2) if nested else (4, PRODUCTS)
        self.fixed = fixed  # numbers that the forward is given: no sizes, if they are equal to one
        self.target = target
        self.inputs = inputs
        self.quantities = quantities
        self.tensors: dict[str, Tensor] = {}
        self.whole: dict[str, Tensor] = {}  # integer tensors
        self.lists = {n: len(v) for n, v in values.items() if isinstance(v, list | tuple) and v and all(map(_array, v))}
        self.scalars: dict[str, float] = {}
        self.packed: set[str] = set()  # scalars that are entries of a tuple
        self.counts: set[str] = set()  # scalars that are whole numbers, as sizes are
        self.arrays = {name for name, value in values.items() if _numpy(value)}
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
            self.packed |= {f"{name}[{k}]" for k in range(len(value))}
            if isinstance(value, torch.Size):
                self.counts |= {f"{name}[{k}]" for k in range(len(value))}
        elif isinstance(value, SimpleNamespace):
            for key, entry in vars(value).items():
                self._add(f"{name}.{key}", entry)
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
        alike: dict[torch.Size, list[str]] = defaultdict(list)
        for name, value in self.tensors.items():
            if plain(name) in self.quantities and value.numel():
                alike[value.shape].append(name)
        functions = list(ACTIVATIONS.items())
        for known in alike.values():
            few = torch.stack([self.tensors[n].reshape(-1)[:GLANCE] for n in known])
            made = torch.stack([activation.function(few) for _, activation in functions])
            near = torch.isclose(made[:, :, None], few, rtol=ALIKE, atol=1e-300).all(-1)  # by function, z and a
            for a, z, function in near.permute(2, 1, 0).nonzero().tolist():
                out, pre, (name, activation) = known[a], known[z], functions[function]
                if a == z or out in found or out in self.inputs:
                    continue
                if _near(activation.function(self.tensors[pre]), self.tensors[out]):
                    found[out] = (name, pre)
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

    def slope(self, text: str) -> bool:
        """Whether an expression reads as a derivative: `1 - a ** 2`, `a * (1 - a)`, `z > 0`."""
        found = re.search(r"\(?1 - ([\w\[\] -]+?)( \*\* 2| \* \1)?\)?$", text)
        if found is None:
            return "> 0" in text
        return bool(found[2]) or text.startswith(f"{found[1]} * (1 - ")

    @cached_property
    def _leaky(self) -> list[tuple[str, str]]:
        """(a, z) where a is z above zero and a constant share of z below."""
        known = [n for n in self.tensors if plain(n) in self.quantities]
        found = []
        for a, z in itertools.permutations(known, 2):
            out, pre = self.tensors[a], self.tensors[z]
            if a in self.inputs or out.shape != pre.shape or not bool((pre < 0).any()) or not bool((pre > 0).any()):
                continue
            share = (out / pre)[pre < 0]
            if (
                torch.equal(out[pre > 0], pre[pre > 0])
                and bool((share - share[0]).abs().max() < ALIKE)
                and 0 < share[0] < 1
            ):
                found.append((a, z))
        return found

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
            self._pairs[z, a] = not torch.equal(pre, out) and (
                any(torch.allclose(value, out, rtol=ALIKE, atol=1e-300) for value in kinds) or _rises(pre, out)
            )
        return self._pairs[z, a]

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], bool]:
        return {}


def _array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0


def _numpy(value: Any) -> bool:
    """Whether a value is an array of NumPy's, or a collection of such."""
    if isinstance(value, Mapping):
        value = list(itertools.islice(value.values(), 1))
    return isinstance(value, np.ndarray) or (isinstance(value, list | tuple) and any(map(_numpy, value[:1])))


def _rises(z: Tensor, a: Tensor) -> bool:
    """Whether a is the larger the larger z is, and no straight line: a function of it, whichever.

    Two activations of one argument rise together too; what leaves their range is an argument.
    """
    order = z.reshape(-1).argsort()
    x, y = z.reshape(-1)[order], a.reshape(-1)[order]
    if len(x) < TELLING or float(x.abs().max()) <= 1 or bool((y.diff() < 0).any()) or float(y[0]) == float(y[-1]):
        return False
    line = y[0] + (x - x[0]) * (y[-1] - y[0]) / (x[-1] - x[0])
    return not torch.allclose(y, line, rtol=ALIKE)


def _near(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=ALIKE, atol=1e-300, equal_nan=False)


def counts(value: Any) -> bool:
    """Whether an array holds how many there are, as of the nodes of each graph: whole numbers from one on."""
    if not isinstance(value, Tensor | np.ndarray) or value.ndim == 0:
        return False
    own = torch.as_tensor(value).double() if not torch.as_tensor(value).is_complex() else torch.zeros(1)
    several = own.numel() > 1 and bool((own >= 1).all()) and bool((own == own.round()).all())
    return several and bool((own > 1).any())


def spreads(value: Tensor, over: Tensor) -> bool:
    """Whether a factor leaves the other's shape as it is."""
    same = all(v in (1, s) for v, s in zip(reversed(value.shape), reversed(over.shape), strict=False))
    return value.ndim <= over.ndim and same


def plain(name: str) -> str:
    """The quantity that a name or a subscript such as t['a3'] stands for."""
    found = re.fullmatch(r"\w+\[['\"](\w+)['\"]\]", name)
    return found[1] if found else name
