"""Formulas of what is in reach that a wrong gradient lacks, has too many of, or takes for others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from compare.explain.activations import ACTIVATIONS
from compare.explain.named import counts, spreads
from compare.explain.numbers import Candidate, multiple, same
from compare.explain.observe import CLOSE, alike
from compare.explain.uses import Uses

ROOTS = ("relu", "log", "sqrt", "square", "cube")  # their slopes are other terms in reach, or not defined everywhere
ENTRIES = 20_000  # of a gradient, beyond which two factors are not tried at once


class Formulas(Uses):
    """Formulas of what is in reach that are missing, too many, or stand for others."""

    def stages(self) -> list[Callable[[], Iterator[Candidate]]]:
        """The repairs that make the step right here, in stages: the likeliest and quickest to find first."""
        assert self.given is not None
        given = self.given.double()
        if given.shape != self.expected.shape:
            return [lambda: self.reshaped(given)]
        return [
            lambda: itertools.chain(self.scaled(given), self.permuted(given)),
            lambda: self._multiplied(given),
            self._added,
            lambda: itertools.chain(self.rounded(given), self._recognised(given)),
            lambda: self.partly(given),
        ]

    def _multiplied(self, given: Tensor) -> Iterator[Candidate]:
        fits = []
        known = [(term.text, term.value, term.role) for term in self.reach.factors]
        for text, value, role in (*known, *self._slopes()):
            if not spreads(value, given) or not bool(torch.isfinite(value).all()):
                continue
            fits.append((text, value, role))
            if self.right(given * value):
                if "'(" not in text or text.endswith(f"({self.target})"):  # else it is another's derivative
                    yield Candidate(f"* {text}", self._left_out(role, text), f"multiply it by {text}")
            elif alike(self.expected * value, given) and bool((value != 0).all()):
                cause = "missing_mean" if counts(value) else "extra_derivative"
                verb = "divide it by" if counts(value) else "leave out the factor"
                yield Candidate(f"/ {text}", cause, f"{verb} {text}")
        slopes = [f for f in fits if f[2] in ("derivative", "complement", "mask", "tensor")][:40]
        off = (given - self.expected).abs() > 1e-9 * self.expected.abs().max()
        if not bool((self.expected * given)[off].any()):
            return  # entries that are zero or should be: any factor that is zero there would do
        for (n, _, _), (k, _, role) in _pairs(slopes, self.expected, given):
            yield Candidate(f"{n} -> {k}", self._exchanged(n, k, role), f"{k} belongs where {n} stands")

    def _left_out(self, role: str, text: str) -> str:
        """The mistake of a factor left out: a derivative, or a part of that of the quantity's own activation."""
        own = {a for a, (_, z) in self.reach.activations.items() if z == self.target}
        part = role in ("complement", "tensor") and any(a in re.findall(r"\w+", text) for a in own)
        if role == "derivative" or part or (role == "mask" and ">" in text):
            return "missing_activation_derivative"
        return "wrong_mask" if role == "mask" else "missing_factor"

    def _slopes(self) -> Iterator[tuple[str, Tensor, str]]:
        """Derivatives of known functions at every quantity, whether the forward uses them or not."""
        for name, value in self.reach.tensors.items():
            if value.shape != self.expected.shape:
                continue
            for kind, activation in ACTIVATIONS.items():
                if kind not in ROOTS:
                    yield f"{kind}'({name})", activation.derivative(activation.function(value), value), "derivative"

    def _exchanged(self, old: str, new: str, role: str) -> str:
        first = {n for n in self.reach.tensors if n in old}
        second = {n for n in self.reach.tensors if n in new}
        if role == "mask":
            return "wrong_mask"
        own = {f"{function}'({a})" for a, (function, z) in self.reach.activations.items() if z == self.target}
        if old in own:
            return "derivative_at_wrong_place"
        shape_of = {text.replace(n, "_") for text in (old,) for n in first}
        if role == "derivative" or self.target not in self.reach.inputs:
            if shape_of & {new.replace(n, "_") for n in second} and first != second:
                relation = {self.reach.relation(a, b) for a in first for b in second}
                return (
                    "derivative_at_wrong_place"
                    if "activation" in relation
                    else "wrong_layer"
                    if "layer" in relation
                    else "wrong_operand"
                )
            if role in ("derivative", "complement"):
                return "wrong_activation_derivative"
        return "wrong_operand"

    def _added(self) -> Iterator[Candidate]:
        error = self.error
        inputs = self.target in self.seen.inputs
        own = self.reach.tensors.get(self.target)
        constants = {t.text: t.value for t in self.reach.numbers if t.role == "constant"}
        several = own is not None and own.numel() > 1  # one number is a multiple of any other
        if inputs and several and own is not None and (coefficient := multiple(error, own)) is not None:
            given_l2 = any(same(coefficient, v) for v in constants.values())
            name = next((n for n, v in constants.items() if same(coefficient, v)), self.reach.short(coefficient)[0])
            missing = coefficient > 0 and self._no_penalty(own, given_l2)
            yield Candidate(
                "own " + (name if given_l2 else "other"),
                "missing_l2" if missing else "wrong_l2",
                f"add {name} * {self.target}",
            )
        elif inputs and own is not None and not self.alone and (multiple(error, own) or 0) < 0:
            # of one entry any error is a multiple: that it is the same one under every condition tells
            for name in self.reach.short(-(multiple(error, own) or 0)):
                yield Candidate(f"own -{name}", "wrong_l2", f"take out {name} * {self.target}: J has no such penalty")
        if inputs and own is not None:
            yield from self._own_in_part(own, constants)
        yield from self.paths()
        yield from self._cut()
        finals = {f"d{n}" for n in self.seen.inputs}  # no step is handed the gradient of an input
        for term in [*self.handed.plain, *self.handed.products(tuple(error.shape))]:
            if term.value.shape != error.shape or term.text == self.target or term.text in finals:
                continue
            self.in_time()
            coefficient = multiple(error, term.value.double())
            if coefficient is None:
                continue
            if same(abs(coefficient), 1.0):
                yield Candidate(
                    f"{coefficient:+.0f} {term.text}",
                    "missing_path" if coefficient > 0 else "path_twice",
                    f"{'add' if coefficient > 0 else 'take out'} {term.text}",
                )
            else:
                name = next(
                    (t.text for t in self.reach.numbers if t.role == "constant" and same(abs(coefficient), t.value)),
                    "",
                )
                if name and coefficient > 0 and " @ d" in term.text:
                    yield Candidate(
                        f"{name} {term.text}",
                        "updated_weight",
                        f"the weight has been updated already: add {name} * {term.text}",
                    )

    def _own_in_part(self, own: Tensor, constants: dict[str, float]) -> Iterator[Candidate]:
        """A penalty that some entries alone have too much or too little of, as a bias among the weights has."""
        off = self.error.abs() > CLOSE * float(self.expected.square().mean().sqrt())
        c = multiple(self.error[off], own[off]) if bool(off.any()) and not bool(off.all()) else None
        if c is None:
            return
        per = {f"{n} / {t.text}": v / t.value for n, v in constants.items() for t in self.reach.sizes}
        twice = {f"2 * {n}": 2 * v for n, v in constants.items()}
        verb, where = ("add", "where it is missing") if c > 0 else ("take out", "where J has no penalty")
        known = constants | twice | per
        # of one entry any error is a multiple: that it is the same one under every condition tells
        names = [n for n, value in known.items() if same(abs(c), abs(value))]
        if not names and (int(off.sum()) > 1 or not self.alone):
            names = self.reach.short(abs(c))
        for name in names:
            yield Candidate(f"own in part {verb} {name}", "wrong_l2", f"{verb} {name} * {self.target} {where}")

    def _recognised(self, given: Tensor) -> Iterator[Candidate]:
        """What the given gradient is and what it should be, where both are products of what is in reach."""
        products = list(self.handed.products(tuple(given.shape)))
        wanted = [p for p in products if alike(p.value.double(), self.expected)]
        for right in wanted[:2]:
            for was in products:
                if alike(was.value.double(), given):
                    yield Candidate(
                        f"{was.text} -> {right.text}",
                        self._mixed(was.text, right.text),
                        f"it is {was.text}; it should be {right.text}",
                    )
            yield from self._samples(given, right.text)
        for p in self.reach.plain:
            dp = self.handed.tensors.get(f"d{p.text}")
            if dp is not None and p.value.shape == given.shape == dp.shape and p.value.ndim:
                full = p.value * (dp - (p.value * dp).sum(-1, keepdim=True))
                if self.right(full) and alike(given, dp * p.value * (1 - p.value)):
                    yield Candidate(
                        "softmax",
                        "diagonal_jacobian",
                        f"subtract {p.text} * ({p.text} * d{p.text}).sum(-1, keepdim=True), not its diagonal",
                    )

    def _mixed(self, was: str, right: str) -> str:
        if was.replace(".T", "") == right.replace(".T", "") or sorted(was.replace(".T", "").split()) == sorted(
            right.replace(".T", "").split()
        ):
            return "missing_transpose" if "@" in was and "@" in right else "elementwise_for_matmul"
        if ("@" in was) != ("@" in right):
            return "elementwise_for_matmul"
        old, new = (set(t.replace(".T", "").replace("@", " ").replace("*", " ").split()) for t in (was, right))
        relation = {self.handed.relation(a, b) for a in old - new for b in new - old}
        return (
            "derivative_at_wrong_place"
            if "activation" in relation
            else "wrong_layer"
            if "layer" in relation
            else "wrong_index"
            if "step" in relation
            else "wrong_operand"
        )

    def _samples(self, given: Tensor, product: str) -> Iterator[Candidate]:
        left, _, right = product.partition(" @ ")
        if not right or not left.endswith(".T") or right.endswith(".T"):
            return
        a, b = self.handed.tensors[left.removesuffix(".T")], self.handed.tensors[right]
        terms = torch.stack([torch.outer(x, y).flatten() for x, y in zip(a, b, strict=True)], 1)
        sums = terms.cumsum(1)
        for n in range(1, len(a)):
            if alike(sums[:, n - 1], given.flatten()):
                yield Candidate("some", "some_samples", "only the first samples count; sum over all")
                return
        if terms.shape[0] < terms.shape[1] or len(a) < 2:
            return
        weights = torch.linalg.lstsq(terms, given.flatten()[:, None]).solution[:, 0]
        if not alike(terms @ weights, given.flatten()) or not bool((((weights - weights.round()).abs()) < 1e-6).all()):
            return
        count = [round(w) for w in weights.tolist()]
        if set(count) <= {0, 1} and 0 in count:
            last = count == [0] * (len(count) - 1) + [1]
            what = "only the last sample counts" if last else "not every sample counts"
            yield Candidate(
                "last" if last else "some", "overwritten" if last else "some_samples", f"{what}; sum over all"
            )


Factor = tuple[str, Tensor, str]


def _pairs(factors: list[Factor], expected: Tensor, given: Tensor) -> Iterator[tuple[Factor, Factor]]:
    """Two factors each, such that expected * first = given * second: the second belongs where the first stands."""
    if len(factors) < 2 or alike(given * 0, given) or given.numel() > ENTRIES:
        return
    values = torch.stack([value.double().expand_as(given).reshape(-1) for _, value, _ in factors])
    left, right = values * expected.reshape(-1), values * given.double().reshape(-1)
    size = right.square().mean(1).sqrt()
    for i, first in enumerate(factors):
        off = (left[i] - right).abs().amax(1) <= CLOSE * size
        if bool((values[i] != 0).all()):
            yield from ((first, factors[j]) for j in off.nonzero()[:, 0].tolist() if j != i)
