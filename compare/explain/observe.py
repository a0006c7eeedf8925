"""What one condition shows of a derivation: the gradients given, and what each should be given those upstream of it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward, Remote, call
from compare.check.conditions import Condition, Inputs, realise
from compare.check.derivation import default_dtype
from compare.check.evaluate import traced
from compare.check.hooks import Forward, Graph
from compare.check.scale import Convention
from compare.explain.custom import Custom
from compare.explain.facts import Facts
from compare.explain.named import tensor
from compare.explain.paths import divisors, flowing, makers, node_of

ROUNDING = 1e-14  # of the largest gradient


@dataclass
class Observation:
    """One derivation at the values of one condition."""

    condition: Condition
    values: dict[str, Any]  # inputs and intermediates, detached
    given: dict[str, Tensor]
    invalid: dict[str, str]
    local: dict[str, Tensor]  # autograd's, given the user's deltas upstream
    order: list[str]
    inputs: frozenset[str]
    quantities: frozenset[str]
    graph: Graph = field(repr=False)
    scale: Mapping[str, float] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(
        default_factory=dict
    )  # gradients of another shape than their quantity's, as returned

    @functools.cached_property
    def _makers(self) -> dict[str, set[Any]]:
        return {}

    @functools.cached_property
    def floor(self) -> float:
        """What rounding leaves of a gradient that is zero, as that of the scores of a single class."""
        both = [*self.local.values(), *self.given.values()]
        sizes = [float(g.abs().max()) for g in both if g.numel() and bool(torch.isfinite(g).all())]
        return ROUNDING * max(sizes, default=0.0)

    @functools.cached_property
    def averages(self) -> frozenset[float]:
        """The numbers that J is divided by on its way, in a mean or by itself."""
        return divisors(self.graph.J)

    @functools.cached_property
    def facts(self) -> Facts:
        """What the graph shows of the forward."""
        return Facts(self.averages, divisors(self.graph.J, counts=True), self._beside())

    @functools.cached_property
    def flowing(self) -> tuple[list[Tensor], list[Tensor]]:
        """What autograd passes along each edge of the graph, given these deltas, or should be given; what is wrong."""
        plain = flowing(self.graph, self._unscaled(self.given))
        factors = {f for f in self.scale.values() if f != 1.0}
        every = plain + [f * each for f in sorted(factors) for each in plain]
        off = {n: g for n, g in self.given.items() if n in self.local and n not in self.right}
        every += [self.local[n] for n in off]  # what adds up from several edges is none of them
        # what is given wrong may be another's gradient, or is handed on
        return [each for each in every if not any(self.alike(each, g) for g in off.values())], list(off.values())

    def _beside(self) -> frozenset[frozenset[str]]:
        """Pairs of quantities that stand side by side, as those of two towers do: what one makes needs no other."""
        made = {name: makers(tensor) for name, tensor in self.graph.quantities.items()}
        uses = {
            name: {other for other, nodes in made.items() if node_of(tensor) in nodes}
            for name, tensor in self.graph.quantities.items()
        }
        pairs = ((a, b, uses[a] - {a, b}, uses[b] - {a, b}) for a, b in itertools.combinations(uses, 2))
        return frozenset(frozenset((a, b)) for a, b, one, other in pairs if not (one <= other or other <= one))

    def alike(self, a: Tensor, b: Tensor) -> bool:
        """Whether two gradients are the same formula's here."""
        return alike(a, b, floor=self.floor)

    def expect(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each gradient should be, given these upstream of it."""
        return {n: g * self.scale.get(n, 1.0) for n, g in self.graph.gradients(self._unscaled(given)).items()}

    def _unscaled(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradients that can stand in for autograd's: finite, without the factor that a convention gives them."""
        own = {n: g / self.scale.get(n, 1.0) for n, g in given.items() if n in self.local}
        return {n: g for n, g in own.items() if bool(torch.isfinite(g).all())}

    def after(self, target: str) -> dict[str, Tensor]:
        """What the steps that are right, given their deltas, have to give once `target` is right.

        Those that depend on another wrong delta, which may depend on `target` itself, are left out.
        """
        upstream = set(self.deltas(target)) | {target}
        right = [n for n in self.right if n not in upstream]
        wrong = [n for n in self.given if n in self.local and n not in upstream and n not in right]
        kept = {n: self.given[n] for n in (*self.deltas(target), *wrong)} | {target: self.local[target]}
        expected = self.expect(kept)
        for other in wrong:
            moved = self.expect(kept | {other: self.given[other] * 1.5 + 0.1})
            right = [n for n in right if n in moved and torch.equal(moved[n], expected[n])]
        return {n: expected[n] for n in right if n in expected}

    def decay(self, target: str) -> float | None:
        """c where the given gradient of an input lacks c times the input itself, as that of a penalty."""
        given, own = self.given.get(target), tensor(self.values.get(target))
        if given is None or own is None or target not in self.inputs or own.numel() < 2 or given.shape != own.shape:
            return None
        error = self.local[target].double() - given.double()
        share = float((error * own).sum() / (own * own).sum())
        return share if share and alike(error, share * own) else None

    @functools.cached_property
    def right(self) -> list[str]:
        """The quantities whose gradient is right, given their deltas."""
        return [n for n, g in self.given.items() if n in self.local and self.alike(g, self.local[n])]

    def carrying(self, target: str) -> Observation:
        """The same, where the delta of `target` carries on the factor of the one before it, as dZ = A - Y does.

        What is returned for an input is used by nothing that could undo a factor.
        """
        factors = [self.scale.get(n, 1.0) for n in self.deltas(target)]
        final = target in self.inputs or target in self.scale or target not in self.local
        if final or not factors or factors[-1] == 1.0:
            return self
        return replace(self, local=self.local | {target: self.local[target] * factors[-1]})

    def deltas(self, target: str) -> list[str]:
        """The intermediates whose gradients the step may use: those given and nearer to J."""
        before = self.order[: self.order.index(target)] if target in self.order else []
        return [n for n in before if n in self.given and n not in self.inputs and self._leads(target, n)]

    def _leads(self, first: str, second: str) -> bool:
        """Whether one quantity is computed from another."""
        one, other = (self.graph.quantities[n] for n in (first, second))
        if node_of(one) is node_of(other):
            return one.output_nr == other.output_nr  # parts of one split are level
        if second not in self._makers:
            self._makers[second] = makers(other)
        return node_of(one) in self._makers[second]


def observe(
    forward: Forward,
    backward: Backward,
    inputs: Inputs,
    condition: Condition,
    convention: Convention,
    custom: Custom | None = None,
) -> Observation | None:
    """Run a derivation once. None where the forward does not run under this condition."""
    with default_dtype(condition.dtype):
        try:
            drawn = realise(inputs, condition)
            graph, _ = traced(forward, backward, drawn)
            returned: dict[str, Any] = {}
            given = call(_noting(backward, returned), graph.values(), graph.quantities)
            chained = graph.gradients({})
            usable = {n: given.gradients[n] for n in chained if n in given.gradients}
            usable = {n: g for n, g in usable.items() if bool(torch.isfinite(g).all())}
            own = frozenset(graph.inputs) & frozenset(graph.quantities)
            scale = convention.factors(usable, chained, graph.gradients, own)
            expected = graph.gradients({n: g / scale.get(n, 1.0) for n, g in usable.items()})
            values = graph.values()
            values |= {} if custom is None else custom.handed(values)
        except Exception:  # whatever a user's forward raises there: this condition shows nothing
            return None
    local = {n: g * scale.get(n, 1.0) for n, g in expected.items()}
    return Observation(
        condition,
        values,
        dict(given.gradients),
        dict(given.invalid),
        local,
        list(chained),
        own,
        frozenset(graph.quantities),
        graph,
        scale,
        {n: t for n, g in returned.items() if n in given.invalid and (t := tensor(g)) is not None and t.numel()},
    )


def _noting(backward: Backward, returned: dict[str, Any]) -> Backward:
    """The same backward, which also leaves here what it returns."""
    if isinstance(backward, Remote):
        return backward

    @functools.wraps(backward)
    def noting(**arguments: Any) -> Any:
        answer = backward(**arguments)
        if isinstance(answer, Mapping):
            returned.update(answer)
        return answer

    return noting


CLOSE = 1e-7  # relative to the RMS of a gradient: nearer than any other formula that is tried, further than rounding


def alike(a: Tensor, b: Tensor, close: float = CLOSE, floor: float = 0.0) -> bool:
    """Whether two gradients are the same formula's: equal but for rounding, or for less than `floor`."""
    if a.shape != b.shape:
        return False
    if not a.numel() or not bool(torch.isfinite(b).all()):
        return True
    size = float(b.double().square().mean().sqrt())
    return bool(((a.double() - b.double()).abs() <= close * size + floor).all())
