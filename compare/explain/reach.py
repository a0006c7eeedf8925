"""What is in reach of a step: names, sizes, constants, activations' derivatives, products; each with its value.

Candidates for a repair are built from these, whatever the derivation is: nothing here knows an example.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from compare.explain.activations import ACTIVATIONS
from compare.explain.facts import NOTHING
from compare.explain.named import Named, Term, plain, spreads

SPELT = 3  # ways to write a number that are tried
DIGITS = 4  # of a number that somebody wrote
ALMOST = 1e-2  # relative: two values that an epsilon tells apart
SEVERAL = 6  # counts along several axes that are looked at


class Reach(Named):
    """The values that have a name at one point of a program."""

    facts = NOTHING  # what is known of the forward
    divisors: frozenset[float] = frozenset()  # numbers that the program divides by
    decay: float | None = None  # of a penalty on the target that has no name in reach

    def relation(self, old: str, new: str) -> str:
        """As `Named.relation`; what stands side by side is no other layer's."""
        found = super().relation(old, new)
        return "other" if found == "layer" and frozenset((plain(old), plain(new))) in self.facts.beside else found

    def averaged(self, size: float) -> bool:
        """Whether the forward divides by this number, as far as that is known."""
        return any(abs(size - other) < 1e-6 * other for other in self.facts.averages)

    def counts_too_few(self, ratio: float) -> bool:
        """Whether the forward averages over so many times as many entries as the program divides by."""
        return self.is_size(ratio) and any(self.averaged(ratio * divisor) for divisor in self.divisors)

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
        if self.decay is not None and not any(abs(t.value - self.decay) < 1e-9 * abs(self.decay) for t in own):
            own += [Term(text, self.decay, "constant") for text in self.short(self.decay)[:SPELT]]
        own += [Term(f"(1 - {t.text})", 1 - t.value, "constant") for t in own if 0 < t.value < 1]
        roots = [Term(f"{s.text} ** 0.5", math.sqrt(s.value), "size") for s in self.sizes]
        return [*own, *plain_numbers, *roots]

    def short(self, value: float) -> list[str]:
        """A number in few digits, by itself or divided by a size; in many where it is neither."""
        found = []
        for size, text in ((1.0, ""), *((t.value, f" / {t.text}") for t in self.sizes)):
            few = f"{value * size:.{DIGITS}g}"
            if abs(float(few) - value * size) <= 1e-12 * abs(value * size):
                found.append(few + text)
        return found or [f"{value:.12g}"]

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

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The target's shape, where it is in reach."""
        return tuple(self.tensors[self.target].shape) if self.target in self.tensors else None

    @cached_property
    def unnamed(self) -> list[Term]:
        """Derivatives of known functions at the target, where the forward gives its activation no name."""
        z = self.target
        if (
            self.shape is None
            or z in self.inputs
            or any(plain(pre) == plain(z) for _, pre in self.activations.values())
        ):
            return []
        value = self.tensors[z]
        return [
            Term(
                f"({activation.text.format(a=activation.call.format(z=z), z=z)})",
                activation.derivative(activation.function(value), value),
                "derivative",
            )
            for activation in ACTIVATIONS.values()
        ]

    @cached_property
    def _own_parts(self) -> list[Tensor]:
        """What a derivative of the target's own activation is the product of: a, 1 - a."""
        own = [self.tensors[a] for a, (_, z) in self.activations.items() if plain(z) == self.target]
        return [part for a in own for part in (a, 1 - a)]

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
            if bool((term.value < 0).any()):
                found.append(Term(f"torch.sign({term.text})", torch.sign(term.value), "power"))
            if term.value.ndim == 1 and plain(term.text.partition("[:")[0]) in {*self.quantities, *self.fixed}:
                found.append(Term(f"{term.text}[:, None]", term.value[:, None], "power"))
                found += self._picked(term)
            if term.value.ndim > 1:
                found.append(Term(f"{term.text}.sum(-1, keepdim=True)", term.value.sum(-1, keepdim=True), "power"))
        return found

    def _picked(self, term: Term) -> Iterator[Term]:
        """Entries of a vector at the indices in reach, as the weights of classes at the labels."""
        for name, index in self.whole.items():
            if index.ndim != 1 or not index.numel() or index.is_complex():
                continue
            if int(index.min()) >= 0 and int(index.max()) < len(term.value):
                yield Term(f"{term.text}[{name}]", term.value[index], "power")
                yield Term(f"{term.text}[{name}][:, None]", term.value[index][:, None], "power")

    def products(self, shape: tuple[int, ...]) -> Iterator[Term]:
        """Products and sums of what is in reach that have this shape: the paths on which a gradient comes."""
        alike = [(n, a) for n, a in self.tensors.items() if tuple(a.shape) == shape]
        for (n, a), (k, b) in itertools.islice(itertools.combinations(alike, 2), self.most):
            yield Term(f"{n} * {k}", a * b, "product")
        for n, a in self.tensors.items():
            if a.ndim == len(shape) + 1 and a.ndim >= 2:
                for axis in range(a.ndim):
                    if tuple(a.sum(axis).shape) == shape:
                        yield Term(f"{n}.sum({axis})", a.sum(axis), "product")
        if len(shape) == 2:
            yield from itertools.islice(self._matrix_products(shape), self.most)

    def _matrix_products(self, shape: tuple[int, ...]) -> Iterator[Term]:
        tensors = [(n, a) for n, a in self.tensors.items() if a.ndim == 2]
        own = [n for n, _ in tensors if plain(n) not in self.quantities]
        # a delta that was made here times a quantity of the forward is the likeliest path
        both = sorted(itertools.product(tensors, tensors), key=lambda p: (p[0][0] in own) == (p[1][0] in own))
        for (n, a), (k, b) in both:
            for left, first in ((n, a), (f"{n}.T", a.T)):
                for right, second in ((k, b), (f"{k}.T", b.T)):
                    if first.shape[1] == second.shape[0] and (first.shape[0], second.shape[1]) == shape:
                        yield Term(f"{left} @ {right}", first @ second, "product")

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
        for term in (*self.derivatives, *(t for t in self.written if self.slope(t.text))):
            if term.value.shape != old.shape:
                continue
            if _same(old * term.value, new):
                return "missing_activation_derivative"
            if _same(new * term.value, old):
                return "extra_derivative"
        if any(_same(old * part, new) for part in self._own_parts if part.shape == old.shape):
            return "missing_activation_derivative"
        if _same(-old, new):
            return "sign"
        for term in self.plain:
            factor = plain(term.text) in self.quantities and term.value.ndim and spreads(term.value, old)
            if factor and _same(old * term.value, new):
                return "missing_factor"
        return ""


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-9 * b.norm()) and bool(b.norm() > 0)
