"""The search for a repair: edits of a program, likeliest first, until the wrong step comes right. Child process only."""

from __future__ import annotations

import ast
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.edits import EDITS, Edit
from compare.explain.pure import in_place
from compare.explain.reach import Reach
from compare.explain.shown import Shown, shown
from compare.explain.site import Proposal, Site
from compare.explain.syntax import Place, base, places
from compare.explain.trial import RESULT, TooSlow, Trial, compiled, gradient

CLOSE = 1e-8  # relative error below which a candidate is verified further
ENOUGH = 6  # candidates that come right on one condition: the likeliest is mostly among the first
WINDOW = 1.2  # in cost: how much less likely than the first that came right the last one tried may be
PAIRS = 10  # first edits that bring a step nearer, tried with a second
SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)


@dataclass(frozen=True)
class Elsewhere:
    """Other values, and what the gradient should be there."""

    values: dict[str, Any]
    expected: Tensor


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


@dataclass
class Found:
    """A repair that holds on the values of one condition."""

    cause: str
    key: str
    shown: list[Shown]
    codes: list[CodeType | None] = field(repr=False)
    says: str = ""
    diz: str = ""


class Search:
    """The repairs of one wrong step of a program."""

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
        self.last_result: Any = None

    def find(self, seconds: float, like: list[str]) -> list[Found]:
        """Repairs, likeliest first; edits as in `like` are the likeliest of all."""
        deadline = time.monotonic() + seconds
        found = self._round(deadline, like)
        if found or time.monotonic() > deadline:
            return found
        nearer = sorted(self.nearer, key=lambda each: each[0])[:PAIRS]
        for _, first in nearer:
            share = (deadline - time.monotonic()) / 2
            if share < 0.05:
                break
            with Applied(self, first):
                second = Search(
                    self.trial, self.target, self.expected, self.inputs, self.quantities, self.deltas, self.others
                )
                second.upstream = self.upstream
                before = [shown(site.place, self.trial, proposal.new) for site, proposal in first.changes]
                found = second._round(time.monotonic() + share, [], pair=True)
            self.tried += second.tried
            if found:
                for each in found:
                    each.shown = _merged(before, each.shown)
                    each.cause = _joined(first.cause, each.cause)
                return found
        return []

    def _round(self, deadline: float, like: list[str], pair: bool = False) -> list[Found]:
        self.snapshots = self.trial.snapshots()
        result = self.snapshots[-1].get(RESULT)
        if not isinstance(result, Mapping):
            return []
        if not pair:
            self.upstream = {n: gradient(result[n]) for n in self.deltas if n in result and n != self.target}
        given = gradient(result.get(self.target))
        self.start_error = self._error(given)
        candidates = self._ordered(like)
        found: list[tuple[float, Found]] = []
        for position, candidate in enumerate(candidates):
            if position % 16 == 0 and time.monotonic() > deadline:
                break
            if pair and position > 2000:
                break
            if found and (len(found) >= ENOUGH or candidate.cost > found[0][0] + WINDOW):
                break
            self.tried += 1
            repaired = self._attempt(candidate)
            if repaired is not None:
                found.append((candidate.cost, repaired))
        return [each for _, each in found]

    def every(self, snapshots: list[dict[str, Any]]) -> list[Candidate]:
        """Every single edit of the statements that feed the target, whatever it does."""
        self.snapshots, self.upstream = snapshots, {}
        return list(self._singles())

    def _attempt(self, candidate: Candidate) -> Found | None:
        with Applied(self, candidate) as codes:
            if codes is None:
                return None
            try:
                result = self._run(codes, min(candidate.statements), candidate)
                value = gradient(result.get(self.target)) if isinstance(result, Mapping) else None
                error = self._error(value)
            except (TooSlow, Exception):
                return None
            if error > CLOSE or not self._same_deltas(result):
                if error < 0.9 * self.start_error:
                    self.nearer.append((error, candidate))
                return None
            if not all(self._holds(codes, other) for other in self.others):
                return None
            lines = [shown(site.place, self.trial, proposal.new) for site, proposal in candidate.changes]
            return Found(candidate.cause, candidate.key, lines, codes, candidate.edit.says, candidate.edit.diz)

    def _holds(self, codes: list[CodeType | None], other: Elsewhere) -> bool:
        """Whether a candidate is right at other values too."""
        here, self.trial.values = self.trial.values, other.values
        try:
            result = self.trial.run(0, None, codes)
            value = gradient(result.get(self.target)) if isinstance(result, Mapping) else None
        except (TooSlow, Exception):
            return False
        finally:
            self.trial.values = here
        if value is None or value.shape != other.expected.shape:
            return False
        size = float(other.expected.square().mean().sqrt()) if value.numel() else 0.0
        return bool(((value - other.expected).abs() <= 10 * CLOSE * size).all())

    def _run(self, codes: list[CodeType | None], start: int, candidate: Candidate) -> Any:
        creates = candidate.edit.name in ("assign or add", "copy before changing", "swap the operator")
        if self.trial.mutates or creates:
            return self.trial.run(0, None, codes)
        return self.trial.run(start, dict(self.snapshots[start]), codes)

    def _same_deltas(self, result: Mapping[str, Any]) -> bool:
        for name, before in self.upstream.items():
            after = gradient(result.get(name))
            if after is None or before is None or after.shape != before.shape:
                return False
            if bool((after - before).abs().max() > CLOSE * before.abs().max()):
                return False
        return True

    def _error(self, value: Tensor | None) -> float:
        if value is None or value.shape != self.expected.shape:
            return float("inf")
        if not value.numel():
            return 0.0
        error = float((value - self.expected).abs().max())
        return error / self.size if self.size > 0 and error == error else (0.0 if error == 0 else float("inf"))

    def _ordered(self, like: list[str]) -> list[Candidate]:
        """Every candidate, likeliest first: single edits, and one edit at all the places where it applies."""
        singles = list(self._singles())
        for candidate in singles:
            if candidate.key in like:
                candidate.cost -= 6.0
        groups: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in singles:
            groups[candidate.key].append(candidate)
        together = []
        for group in groups.values():
            apart = _disjoint(group)
            if 2 <= len(apart) <= 8:
                statements = sorted({k for c in apart for k in c.statements})
                changes = [change for c in apart for change in c.changes]
                together.append(Candidate(changes, apart[0].edit, apart[0].cost + 0.5, statements))
        return sorted([*singles, *together], key=lambda c: c.cost)

    def _singles(self) -> Iterator[Candidate]:
        allowed = self._allowed()
        for rank, k in enumerate(sorted(allowed, reverse=True)):
            statement = self.trial.statements[k]
            statement.siblings = self.trial.statements  # type: ignore[attr-defined]
            reach = self._reach(k)
            holder = ast.Module([statement], [])
            for place in places(holder):
                yield from self._proposed(place, reach, k, 0.12 * min(rank, 8))

    def _proposed(self, place: Place, reach: Reach, k: int, far: float) -> Iterator[Candidate]:
        if isinstance(place.node, ast.stmt) and isinstance(place.node, ast.FunctionDef):
            return
        if _elsewhere(place, self.trial.statements[k], self.target):
            return
        kinds = [edit for edit in EDITS if isinstance(place.node, edit.pattern)]
        if not kinds:
            return
        at = Place(place.node, place.parent, place.field, place.index, place.above[1:] or (self.trial.statements[k],))
        value, known = self._value(place, k)
        if isinstance(place.parent, ast.Dict) and isinstance(place.node, ast.Name) and self.target not in self.inputs:
            far += 1.2  # what is returned under this name is used elsewhere under its own
        site = Site(at, reach, value, known)
        for edit in kinds:
            for proposal in edit.proposals(site):
                yield Candidate([(site, proposal)], edit, edit.cost + proposal.cost + far, [k])

    def _value(self, place: Place, k: int) -> tuple[Any, bool]:
        """The value that an expression had, where it was computed once."""
        statement = self.trial.statements[k]
        if not isinstance(place.node, ast.expr) or not isinstance(statement, SIMPLE):
            return None, False
        if any(
            isinstance(a, ast.comprehension | ast.GeneratorExp | ast.ListComp | ast.DictComp | ast.Lambda)
            for a in place.above
        ):
            return None, False
        if isinstance(getattr(place.node, "ctx", None), ast.Store) or in_place(place.node):
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
        return Reach(values, self.inputs, self.target, self.quantities)

    def _allowed(self) -> list[int]:
        """Statements that feed the wrong step and none of the deltas that it was handed."""
        allowed = []
        watched = [*self.upstream]
        for k, statement in enumerate(self.trial.statements):
            if (
                k < self.trial.helpers
                or not isinstance(statement, SIMPLE)
                or (self.trial.mutates and _in_place(statement))
            ):
                allowed.append(k)
                continue
            changed = self._influenced(k)
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
        inside = dict(after)
        moved = False
        for name, value in after.items():
            if name == "__builtins__" or before.get(name) is value or _unchanged(before.get(name), value):
                continue
            other = _moved(value, before.get(name))
            if other is None:
                return None
            inside[name], moved = other, True
        if not moved:
            return None
        try:
            result = self.trial.run(k + 1, inside)
        except (TooSlow, Exception):
            return None
        if not isinstance(result, Mapping):
            return None
        plain = self.snapshots[-1][RESULT]
        return {n for n in plain if not _equal(gradient(result.get(n)), gradient(plain[n]))}


def _merged(first: list[Shown], second: list[Shown]) -> list[Shown]:
    """Two edits of one line told as one."""
    lines = {(s.file, s.line): s for s in first}
    for s in second:
        before = lines.get((s.file, s.line))
        lines[s.file, s.line] = s if before is None else Shown(s.file, s.line, before.old, s.new)
    return list(lines.values())


def _joined(first: str, second: str) -> str:
    """The one mistake that two edits mend together."""
    if {first, second} <= {"extra_derivative", "missing_activation_derivative", "wrong_activation_derivative"}:
        return "wrong_activation_derivative"
    return first if second in ("wrong_axis", "missing_transpose") else second


class Applied:
    """The statements with an edit in them, compiled; as they were, afterwards."""

    def __init__(self, search: Search, candidate: Candidate) -> None:
        self.search, self.candidate = search, candidate

    def __enter__(self) -> list[CodeType | None] | None:
        trial = self.search.trial
        self.before = list(trial.codes)
        self.statements = list(trial.statements)
        codes: list[CodeType | None] = list(trial.codes)
        whole = False
        for site, proposal in self.candidate.changes:
            if site.place.node in trial.statements and isinstance(site.place.node, ast.stmt):
                k = trial.statements.index(site.place.node)
                trial.statements[k] = ast.copy_location(ast.Pass(), site.node) if proposal.new is None else proposal.new
                whole = True
            else:
                site.place.put(ast.copy_location(ast.Pass(), site.node) if proposal.new is None else proposal.new)
        try:
            for k in self.candidate.statements:
                codes[k] = compiled(trial.statements[k])
        except (ValueError, SyntaxError, TypeError, RecursionError):
            return None
        assert whole or self.candidate.statements
        trial.codes = codes  # type: ignore[assignment]
        return codes

    def __exit__(self, *exception: object) -> None:
        trial = self.search.trial
        trial.codes = self.before
        trial.statements[:] = self.statements
        for site, _ in reversed(self.candidate.changes):
            site.place.put(site.node)


def _elsewhere(place: Place, statement: ast.stmt, target: str) -> bool:
    """Whether a place belongs to another entry of the returned dictionary."""
    chain = (*place.above, place.node)
    for above, below in zip(chain, chain[1:], strict=False):
        if isinstance(above, ast.Dict) and below in above.values and base_of(statement) == RESULT:
            key = above.keys[above.values.index(below)]
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                return key.value != target
        if isinstance(above, ast.Dict) and below in above.keys:
            return True
    return False


def base_of(statement: ast.stmt) -> str:
    """The name that a statement assigns to, where it is one."""
    return base(statement.targets[0]) if isinstance(statement, ast.Assign) else ""


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


def _unchanged(before: Any, after: Any) -> bool:
    """Whether a copy is the same value: of programs that change in place, copies are compared."""
    if isinstance(after, Mapping):
        return (
            isinstance(before, Mapping)
            and before.keys() == after.keys()
            and all(before[n] is v or _unchanged(before[n], v) for n, v in after.items())
        )
    if isinstance(after, tuple | list):
        return type(before) is type(after) and len(before) == len(after) and all(map(_unchanged, before, after))
    if isinstance(after, Tensor):
        return isinstance(before, Tensor) and before.shape == after.shape and torch.equal(before, after)
    if isinstance(after, np.ndarray):
        return isinstance(before, np.ndarray) and np.array_equal(before, after)
    return isinstance(after, int | float | str) and before == after


def _moved(value: Any, before: Any) -> Any:
    if gradient(value) is not None and not isinstance(value, float):
        return value * 1.37 + 0.11 if getattr(value, "dtype", None) != torch.bool else ~value
    if isinstance(value, float):
        return value * 1.37 + 0.11
    if isinstance(value, Mapping):
        old = before if isinstance(before, Mapping) else {}
        return {n: v if old.get(n) is v else _moved(v, None) for n, v in value.items()}
    if isinstance(value, tuple | list):
        moved = [_moved(v, None) for v in value]
        return None if any(m is None for m in moved) else type(value)(moved)
    return None


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
