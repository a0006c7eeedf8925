"""Which edits of which statements are tried for a wrong step, likeliest first. Child process only."""

from __future__ import annotations

import ast
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from compare.explain.around import SIMPLE, Around
from compare.explain.candidate import Candidate, Elsewhere, disjoint
from compare.explain.edits import EDITS
from compare.explain.facts import NOTHING
from compare.explain.influence import equal, moved, unchanged
from compare.explain.numpy_style import in_numpy
from compare.explain.reach import Reach
from compare.explain.refused import (
    apart,
    elsewhere,
    layered,
    only_compared,
    passed,
    position,
    returned,
    returns_all,
    tested,
)
from compare.explain.shown import Shown, where
from compare.explain.site import Site
from compare.explain.suspects import FEEDS, OPEN, SETTLED, SUSPECT, Suspects
from compare.explain.syntax import Place, places
from compare.explain.trial import RESULT, Trial, gradient, own

ARITHMETIC = (
    *("sign", "wrong_factor", "extra_derivative", "order_of_operations"),
    *("missing_factor", "missing_mean", "mean_twice", "special_case", "path_twice", "missing_path", "wrong_operand"),
    *("wrong_epsilon", "wrong_count"),
)
SCALING = ("wrong_factor", "mean_twice", "missing_mean", "wrong_count", "order_of_operations", "extra_derivative")
EDITED = tuple({kind for edit in EDITS for kind in edit.pattern})
BANDS = (0.0, 2.0, 2.5, math.inf)  # costs of edits: those of one band are looked for everywhere before the next
PER_SITE = 100  # candidates, about
MOST = 40_000  # candidates of one step
LOOKING = 0.4  # share of the time for likelier ones, once something came right, in which they are looked for
REPEATED = 24  # places where one edit applies, beyond which it is not tried at all of them at once


class Candidates:
    """The edits of a program that can mend one wrong step."""

    most: int | None = None  # proposals of one edit at one place

    def __init__(
        self,
        trial: Trial,
        target: str,
        expected: Tensor,
        inputs: frozenset[str],
        quantities: frozenset[str],
        deltas: frozenset[str],
        others: list[Elsewhere] | None = None,
    ) -> None:
        self.trial, self.target, self.expected = trial, target, expected.double()
        self.inputs, self.quantities, self.deltas = inputs, quantities, deltas
        self.size = float(self.expected.square().mean().sqrt()) if expected.numel() else 0.0
        self.others = others or []
        self.smaller: list[Elsewhere] = []  # inputs of other sizes, at which what holds by chance does not
        self.tried = 0
        self.nearer: list[tuple[float, Candidate]] = []
        self.snapshots: list[dict[str, Any]] = []  # before each statement, and after the last
        self.upstream: dict[str, Tensor | None] = {}  # the deltas that the step was handed
        self.after: dict[str, Tensor] = {}  # what steps that are right have to give once this one is
        self.affordable = math.inf  # candidates for which there is time: of more, those at suspects come first
        self.until = math.inf  # by time.monotonic(): no further edits are proposed
        self.latest = math.inf  # by time.monotonic(): when looking ends, as known by now
        self.flowing: list[Tensor] = []  # the gradients that the forward's graph has on its edges
        self.off: list[Tensor] = []  # the gradients that are given wrong
        self.hint: Shown | None = None  # the first line that makes no gradient of the graph out of those that are
        self.floor = 0.0  # what rounding leaves of a gradient that is zero
        self.facts = NOTHING  # what is known of the forward
        self.decay: float | None = None  # what the gradient lacks is this times the input itself
        self.compared: set[int] = set()  # statements that make what is nowhere read but in comparisons
        self.together: set[str] = set()  # other wrong steps that the same edit has to mend

    def batches(self, like: list[str]) -> Iterator[list[Candidate]]:
        """The candidates, likeliest first: single edits, and one edit at all the places where it applies.

        Where there is no time for all of them, those that mend a suspect come first: a later batch is for when nothing
        was found in the ones before.
        """
        sites = self._ranked()
        if PER_SITE * len(sites) <= self.affordable:
            yield self._sorted(list(itertools.islice(self._proposals(sites), MOST)), like)
            return
        later: list[Candidate] = []
        until = self.until
        for ranks, share in (((SUSPECT,), 0.4), ((FEEDS,), 0.7), ((OPEN, SETTLED), 1.0)):
            now = time.monotonic()
            self.until = now + min(share * (until - now), LOOKING * (self.latest - now))
            some = [site for site in sites if site[3] in ranks]
            first: list[Candidate] = []
            for candidate in itertools.islice(self._proposals(some), MOST):
                (site, proposal), statement = candidate.changes[0], self.trial.statements[candidate.statements[0]]
                mends = ranks[0] > FEEDS or self.suspects.mends(site.place, proposal.new, statement)
                (first if mends else later).append(candidate)
            yield self._sorted(first, like)
        yield self._sorted(later, like)

    def _sorted(self, singles: list[Candidate], like: list[str]) -> list[Candidate]:
        for candidate in singles:
            if candidate.kind in like:
                candidate.cost -= 6.0
        groups: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in singles:
            groups[candidate.key].append(candidate)
        together = []
        for group in groups.values():
            if not 2 <= len(group) <= REPEATED:
                continue
            apart = disjoint(group)
            if 2 <= len(apart) <= 8:
                statements = sorted({k for c in apart for k in c.statements})
                changes = [change for c in apart for change in c.changes]
                together.append(Candidate(changes, apart[0].edit, apart[0].cost + 0.5, statements))
        return sorted([*singles, *together], key=lambda c: c.cost)

    def singles(self) -> Iterator[Candidate]:
        """Every edit at every place that may be edited: the likely kinds of edit everywhere first."""
        yield from self._proposals(self._ranked())

    def _proposals(self, sites: list[tuple[Site, int, float, int]]) -> Iterator[Candidate]:
        for band in itertools.pairwise(BANDS):
            for site, k, far, _ in sites:
                if time.monotonic() > self.until:
                    return
                yield from self._proposed(site, k, far, band)

    def _ranked(self) -> list[tuple[Site, int, float, int]]:
        """The places that may be edited, likeliest first, each with its statement, distance and rank."""
        sites = list(self._sites())
        self.suspects = Suspects(self.around, self.flowing, self.off)
        first = self.suspects.first((site.place, self.trial.statements[k]) for site, k, _ in sites)
        self.hint = None if first is None else where(first, self.trial)
        ranked = [(site, k, far, self.suspects.rank(site.place, self.trial.statements[k])) for site, k, far in sites]
        return sorted(ranked, key=lambda each: each[3])

    def _sites(self) -> Iterator[tuple[Site, int, float]]:
        """The places that may be edited, with the number of their statement, and how far they are from the end."""
        allowed = self._allowed()
        self.compared = {k for k in allowed if only_compared(self.trial.statements, k)}
        self.around = Around(self.trial, self.snapshots, self.target, self.inputs, self.quantities, self.facts)
        self.around.decay = self.decay
        traced = self.around.traced
        for rank, k in enumerate(sorted(allowed, reverse=True)):
            statement = self.trial.statements[k]
            statement.siblings = self.trial.statements  # type: ignore[attr-defined]
            reaches: dict[int, tuple[Reach, int]] = {}
            for place in places(ast.Module([statement], [])):
                if time.monotonic() > self.until:
                    return
                if not traced.reached(place.node) or isinstance(place.node, ast.FunctionDef):
                    continue
                if not isinstance(place.node, EDITED) or elsewhere(place, statement, self.target):
                    continue
                at = traced.statement.get(id(place.node), 0)
                if at not in reaches:
                    reaches[at] = self.around.within(place.node, k, _counting(place))
                reach, visit = reaches[at]
                value, known = self.around.value(place, k, visit)
                evaluated = partial(self.around.evaluated, place=place, k=k, visit=visit)
                above = place.above[1:] or (statement,)
                own = Place(place.node, place.parent, place.field, place.index, above)
                yield Site(own, reach, value, known, evaluated), k, 0.12 * min(rank, 8)

    def _proposed(self, site: Site, k: int, far: float, band: tuple[float, float]) -> Iterator[Candidate]:
        place = site.place
        if isinstance(place.parent, ast.Dict) and isinstance(place.node, ast.Name):
            far += 0.3 if self.target in self.inputs else 1.2  # what is returned is used elsewhere under its own name
        counted = "" if site.in_shape else position(place) or apart(place) or passed(place, self.trial.functions)
        counted = counted or ("wrong_mask" if k in self.compared else "")
        for edit in EDITS:
            if not band[0] < edit.cost <= band[1] or not isinstance(place.node, edit.pattern):
                continue
            for proposal in itertools.islice(edit.proposals(site), self.most):
                if (spelt := in_numpy(proposal.new, site.reach.arrays, self.trial.numpy)) is not proposal.new:
                    proposal = replace(proposal, new=spelt)
                if site.in_shape and (proposal.cause or edit.cause) == "wrong_index":
                    proposal = replace(proposal, cause="wrong_count")
                if self.decay is not None and (proposal.cause or edit.cause) in SCALING:
                    proposal = replace(proposal, cause="wrong_l2")  # all that is off is a multiple of the input itself
                if counted and (proposal.cause or edit.cause) in ARITHMETIC:
                    proposal = replace(proposal, cause=counted)
                if (proposal.cause or edit.cause) in ("wrong_factor", "missing_factor", "sign") and tested(place):
                    proposal = replace(proposal, cause="wrong_mask")
                if (proposal.cause or edit.cause) == "wrong_index" and layered(site):
                    proposal = replace(proposal, cause="wrong_layer")
                yield Candidate([(site, proposal)], edit, edit.cost + proposal.cost + far, [k])

    def _allowed(self) -> list[int]:
        """Statements that feed the wrong step and none of the deltas that it was handed."""
        allowed = []
        watched = [*self.upstream]
        for k, statement in reversed(list(enumerate(self.trial.statements))):  # the last are the likeliest
            if time.monotonic() > self.until:
                break
            if (
                k < self.trial.helpers
                or not isinstance(statement, SIMPLE)
                or (k < len(self.trial.statements) - 1 and returned(statement, self.target))
                or (self.trial.mutates and (_in_place(statement) or _names_again(statement)))
            ):
                allowed.append(k)
                continue
            if self.together and k == len(self.trial.statements) - 1 and returns_all(statement):
                continue
            changed = self._influenced(k)
            if self.together and changed is not None and not self.together <= changed:
                continue
            if changed is None or (self.target in changed and not changed & set(watched)):
                allowed.append(k)
        return allowed

    def _influenced(self, k: int) -> set[str] | None:
        """The returned quantities that change when what a statement makes is changed; None where it cannot be told."""
        if k == len(self.trial.statements) - 1:
            return None
        before, after = self.snapshots[k], self.snapshots[k + 1]
        inside = {n: own(v) for n, v in after.items()} if self.trial.mutates else dict(after)
        anything = False
        for name, value in after.items():
            if name == "__builtins__" or before.get(name) is value or unchanged(before.get(name), value):
                continue
            other = moved(value, before.get(name))
            if other is None:
                return None
            inside[name], anything = other, True
        if not anything:
            return None
        try:
            result = self.trial.run(k + 1, inside)
        except Exception:  # moved values may be refused in any way
            return None
        if not isinstance(result, Mapping):
            return None
        plain = self.snapshots[-1][RESULT]
        return {n for n in plain if not equal(gradient(result.get(n)), gradient(plain[n]))}


def _counting(place: Place) -> list[str]:
    """The names that the loops around a place count with, the outermost first."""
    return [a.target.id for a in place.above if isinstance(a, ast.For) and isinstance(a.target, ast.Name)]


def _in_place(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AugAssign | ast.Expr)


def _names_again(statement: ast.stmt) -> bool:
    """Whether a statement gives an array another name: what is done to one is done to the other."""
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name | ast.Subscript)
