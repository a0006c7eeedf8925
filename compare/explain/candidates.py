"""Which edits of which statements are tried for a wrong step, likeliest first. Child process only."""

from __future__ import annotations

import ast
import itertools
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare.explain.edits import EDITS, Edit
from compare.explain.influence import equal, moved, unchanged
from compare.explain.known import Known
from compare.explain.pure import in_place
from compare.explain.reach import Reach
from compare.explain.refused import cancels, elsewhere, position, returns_all
from compare.explain.site import Proposal, Site
from compare.explain.syntax import Place, places
from compare.explain.traced import Traced
from compare.explain.trial import RESULT, Trial, gradient, own

ARITHMETIC = (
    *("sign", "wrong_factor", "extra_derivative", "order_of_operations"),
    *("missing_factor", "missing_mean", "special_case"),
)
SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)
MOST = 40_000  # candidates of one step
REPEATED = 24  # places where one edit applies, beyond which it is not tried at all of them at once
WRITTEN = 80  # expressions of the same function that are looked at


@dataclass(frozen=True)
class Elsewhere:
    """Other values, and what the gradient should be there."""

    values: dict[str, Any]
    expected: Tensor
    floor: float = 0.0  # what rounding leaves of a gradient that is zero


@dataclass(eq=False)
class Candidate:
    """One edit, at one place or at several at once."""

    changes: list[tuple[Site, Proposal]]
    edit: Edit
    cost: float
    statements: list[int]

    @property
    def cause(self) -> str:
        """The mistake that it mends."""
        return self.changes[0][1].cause or self.edit.cause

    @property
    def key(self) -> str:
        """Equal for the same edit elsewhere."""
        return f"{self.edit.name}: {self.changes[0][1].key}"

    @property
    def kind(self) -> str:
        """Equal for the same edit in another layer: `* a3 * (1 - a3)`, `* a2 * (1 - a2)`."""
        return re.sub(r"(?<=[A-Za-z_])\d+", "#", self.key)


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
        self.tried = 0
        self.nearer: list[tuple[float, Candidate]] = []
        self.snapshots: list[dict[str, Any]] = []  # before each statement, and after the last
        self.upstream: dict[str, Tensor | None] = {}  # the deltas that the step was handed
        self.after: dict[str, Tensor] = {}  # what steps that are right have to give once this one is
        self.until = math.inf  # by time.monotonic(): no further edits are proposed
        self.floor = 0.0  # what rounding leaves of a gradient that is zero
        self.together: set[str] = set()  # other wrong steps that the same edit has to mend

    def ordered(self, like: list[str]) -> list[Candidate]:
        """Every candidate, likeliest first: single edits, and one edit at all the places where it applies."""
        singles = list(itertools.islice(self.singles(), MOST))
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
            apart = _disjoint(group)
            if 2 <= len(apart) <= 8:
                statements = sorted({k for c in apart for k in c.statements})
                changes = [change for c in apart for change in c.changes]
                together.append(Candidate(changes, apart[0].edit, apart[0].cost + 0.5, statements))
        return sorted([*singles, *together], key=lambda c: c.cost)

    def singles(self) -> Iterator[Candidate]:
        """Every edit at every place that may be edited."""
        allowed = self._allowed()
        self.traced = Traced(self.trial)
        for rank, k in enumerate(sorted(allowed, reverse=True)):
            if time.monotonic() > self.until:
                return
            statement = self.trial.statements[k]
            statement.siblings = self.trial.statements  # type: ignore[attr-defined]
            reaches: dict[int, tuple[Reach, int]] = {}
            holder = ast.Module([statement], [])
            for place in places(holder):
                if not self.traced.reached(place.node):
                    continue
                at = self.traced.statement.get(id(place.node), 0)
                if at not in reaches:
                    reaches[at] = self._within(place.node, k)
                yield from self._proposed(place, *reaches[at], k, 0.12 * min(rank, 8))

    def _proposed(self, place: Place, reach: Reach, visit: int, k: int, far: float) -> Iterator[Candidate]:
        if isinstance(place.node, ast.stmt) and isinstance(place.node, ast.FunctionDef):
            return
        if elsewhere(place, self.trial.statements[k], self.target):
            return
        kinds = [edit for edit in EDITS if isinstance(place.node, edit.pattern)]
        if not kinds:
            return
        at = Place(place.node, place.parent, place.field, place.index, place.above[1:] or (self.trial.statements[k],))
        value, known = self._value(place, k, visit)
        if isinstance(place.parent, ast.Dict) and isinstance(place.node, ast.Name) and self.target not in self.inputs:
            far += 1.2  # what is returned under this name is used elsewhere under its own
        site = Site(at, reach, value, known)
        counted = position(at)
        for edit in kinds:
            for proposal in itertools.islice(edit.proposals(site), self.most):
                if cancels(place, proposal.new):
                    continue
                if counted and (proposal.cause or edit.cause) in ARITHMETIC:
                    proposal = replace(proposal, cause=counted)
                yield Candidate([(site, proposal)], edit, edit.cost + proposal.cost + far, [k])

    def _value(self, place: Place, k: int, visit: int) -> tuple[Any, bool]:
        """The value that an expression had: where it was computed several times, on one of those visits."""
        statement = self.trial.statements[k]
        if not isinstance(place.node, ast.expr) or isinstance(getattr(place.node, "ctx", None), ast.Store):
            return None, False
        value, known = self.traced.value(place.node, visit)
        if known:
            return (None, False) if callable(value) else (value, True)
        if not isinstance(statement, SIMPLE) or in_place(place.node):
            return None, False
        if any(
            isinstance(a, ast.comprehension | ast.GeneratorExp | ast.ListComp | ast.DictComp | ast.Lambda)
            for a in place.above
        ):
            return None, False
        try:
            with torch.no_grad():
                return eval(compile(ast.Expression(place.node), "<value>", "eval"), self.snapshots[k]), True
        except Exception:  # a function's name, a keyword, or an expression that changes something
            return None, False

    def _reach(self, k: int) -> Reach:
        after = self.snapshots[k] if isinstance(self.trial.statements[k], SIMPLE) else self.snapshots[-2]
        outside = set(self.trial.outside) - set(self.trial.values)
        values = {n: v for n, v in after.items() if n not in outside or not callable(v)}
        return Reach(
            values,
            self.inputs,
            self.target,
            self.quantities,
            self._written(self.trial.statements[k], 0),
            False,
            self.trial.values,
        )

    def _written(self, node: ast.AST, visit: int) -> dict[str, Any]:
        """The expressions that the function of a node writes out: what one line holds, another may lack."""
        found: dict[str, Any] = {}
        for statement in self.traced.beside(node):
            for inner in ast.walk(statement):
                if not isinstance(inner, ast.BinOp | ast.Call | ast.Subscript | ast.Attribute) or len(found) >= WRITTEN:
                    continue
                if isinstance(getattr(inner, "ctx", None), ast.Store):
                    continue
                value, known = self.traced.value(inner, visit)
                if (
                    known
                    and not callable(value)
                    and gradient(value) is not None
                    and len(text := ast.unparse(inner)) < 60
                ):
                    found.setdefault(text, value)
        return found

    def _within(self, node: ast.AST, k: int) -> tuple[Reach, int]:
        """The names in reach of a node, and the visit of its statement at which they had these values.

        In a loop or a function a quantity has another name than in the forward; it is known by its value. Of several
        visits that one is looked at where the target itself is in reach, else the second: the first of a loop is often
        a special one.
        """
        visits = self.traced.names(node)
        if not visits:
            return self._reach(k), 0
        known = Known(self.trial.values)
        named = [known.names(space) for space in visits]
        visit = next((i for i, names in enumerate(named) if self.target in names.values()), min(1, len(visits) - 1))
        outside = {n: v for n, v in self.trial.outside.items() if not callable(v) and not n.startswith("__")}
        values = outside | {n: v for n, v in visits[visit].items() if not callable(v)}
        names = named[visit]
        parameters = self.traced.parameters.get(id(node), set())
        inputs = self.inputs | {n for n, own in names.items() if own in self.inputs and n in parameters}
        target = next((n for n, own in names.items() if own == self.target), self.target)
        written = self._written(node, visit)
        return Reach(
            values, frozenset(inputs), target, self.quantities | frozenset(names), written, True, self.trial.values
        ), visit

    def _allowed(self) -> list[int]:
        """Statements that feed the wrong step and none of the deltas that it was handed."""
        allowed = []
        watched = [*self.upstream]
        for k, statement in enumerate(self.trial.statements):
            if time.monotonic() > self.until:
                break
            if (
                k < self.trial.helpers
                or not isinstance(statement, SIMPLE)
                or (self.trial.mutates and _in_place(statement))
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
            elif not changed and isinstance(statement, ast.Assign):
                continue
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


def _disjoint(group: list[Candidate]) -> list[Candidate]:
    """One candidate a place, none inside another's."""
    kept: list[Candidate] = []
    for candidate in group:
        place = candidate.changes[0][0].place
        nodes = {id(place.node)} | {id(above) for above in place.above}
        if all(
            id(other.changes[0][0].node) not in nodes
            and id(place.node) not in {id(a) for a in other.changes[0][0].place.above}
            for other in kept
        ):
            kept.append(candidate)
    return kept


def _in_place(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AugAssign | ast.Expr)
