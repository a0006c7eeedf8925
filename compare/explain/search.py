"""The search for a repair: edits, likeliest first, until the wrong step comes right. Child process only."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from torch import Tensor

from compare.explain.candidate import Candidate, Elsewhere
from compare.explain.candidates import Candidates
from compare.explain.pairs import MOVED, joined, merged, moved, opposite
from compare.explain.refused import cancels, vanishes
from compare.explain.shown import Shown, shown
from compare.explain.trial import RESULT, compiled, gradient

CLOSE = 1e-8  # relative error below which a candidate is verified further
ENOUGH = 6  # candidates that come right on one condition: the likeliest is mostly among the first
WINDOW = 1.2  # in cost: how much less likely than the first that came right the last one tried may be
LONGER = 0.3  # seconds that are spent on others after the first one that came right
PATIENCE = 5.0  # seconds after which it is too slow to try every edit in the order of how likely it is
PAIRS = 10  # first edits that bring a step nearer, tried with a second


@dataclass
class Found:
    """A repair that holds on the values of one condition."""

    cause: str
    key: str
    shown: list[Shown]
    codes: list[CodeType | None] = field(repr=False)
    says: str = ""
    diz: str = ""
    pair: bool = False  # whether it takes two edits
    general: bool = True  # whether it holds at other sizes as well


class Search(Candidates):
    """The repairs of one wrong step of a program."""

    def find(self, seconds: float, like: list[str]) -> list[Found]:
        """Repairs, likeliest first; edits as in `like` are the likeliest of all."""
        deadline = time.monotonic() + seconds
        found = self._round(deadline, like)
        if found or self.together or time.monotonic() > deadline:
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
                second.upstream, second.after, second.floor = self.upstream, self.after, self.floor
                second.flowing, second.off, second.smaller = self.flowing, self.off, self.smaller
                second.facts = self.facts
                before = shown(first.changes, self.trial)
                found = second._round(time.monotonic() + share, [], pair=True)
                found = [each for each in found if not opposite(before, first.kind, each.key, self._number)]
            self.tried += second.tried
            if found:
                for each in found:
                    each.pair = True
                    each.shown = merged(before, each.shown)
                    if moved(first.kind, each.key):
                        each.cause, each.says, each.diz = MOVED
                    else:
                        each.cause = joined(first.cause, each.cause, each.shown)
                return found
        return []

    def _round(self, deadline: float, like: list[str], pair: bool = False) -> list[Found]:
        started = time.monotonic()
        self.snapshots = self.trial.snapshots()
        self.affordable = min(deadline - started, PATIENCE) / (time.monotonic() - started)
        result = self.snapshots[-1].get(RESULT)
        if not isinstance(result, Mapping):
            return []
        if not pair:
            self.upstream = {n: gradient(result[n]) for n in self.deltas if n in result and n != self.target}
        given = gradient(result.get(self.target))
        self.start_error = self._error(given)
        if self.start_error <= CLOSE:
            return []  # it differs by rounding alone: no edit can be told from another
        self.until = started + 0.5 * (deadline - started)
        found: list[tuple[float, Found]] = []
        for position, candidate in enumerate(self._until_found(like, found)):
            if time.monotonic() > deadline:
                break
            if pair and position > 2000:
                break
            general = _general(found)
            if len(general) >= ENOUGH:
                break
            self.tried += 1
            repaired = self._attempt(candidate)
            if repaired is not None:
                now = time.monotonic()
                if repaired.general and not general:
                    deadline = min(deadline, now + max(LONGER, 0.3 * (now - started)))
                elif not found:  # by chance, or sizes are numbers in this backward: one that is general may yet come
                    deadline = min(deadline, now + max(LONGER, now - started))
                self.latest = deadline
                found.append((candidate.cost, repaired))
        found.sort(key=lambda each: (not each[1].general, each[0]))
        return [each for _, each in found][: 2 * ENOUGH]

    def _until_found(self, like: list[str], found: Sequence[tuple[float, Found]]) -> Iterator[Candidate]:
        """The candidates, batch by batch; once one came right, those that are about as likely, then likelier ones."""
        for batch in self.batches(like):
            best = min(_general(found), default=math.inf)
            for candidate in batch:
                general = _general(found)
                if candidate.cost >= best or (general and candidate.cost > general[0] + WINDOW):
                    break
                yield candidate

    def _number(self, text: str) -> float | None:
        """The number that an expression is where the program ends; None where it is none."""
        try:
            return float(eval(text, dict(self.snapshots[-1])))
        except Exception:  # a name of another layer, an array
            return None

    def every(self, snapshots: list[dict[str, Any]]) -> list[Candidate]:
        """Every single edit of the statements that feed the target, whatever it does."""
        self.snapshots, self.upstream = snapshots, {}
        return list(self.singles())

    def _attempt(self, candidate: Candidate) -> Found | None:
        with Applied(self, candidate) as codes:
            if codes is None:
                return None
            try:
                result = self._run(codes, min(candidate.statements), candidate)
                value = gradient(result.get(self.target)) if isinstance(result, Mapping) else None
                error = self._error(value)
            except Exception:  # an edited backward may raise anything, also that it took too long
                return None
            if error > CLOSE or not self._same_deltas(result):
                if error < 0.9 * self.start_error:
                    self.nearer.append((error, candidate))
                return None
            if not self._harmless(result) or not all(self._holds(codes, other) for other in self.others):
                return None
            if any(vanishes(site, proposal) for site, proposal in candidate.changes):
                return None
            general = all(self._holds(codes, other) for other in self.smaller)
            return self._found(candidate, codes, general)

    def _found(self, candidate: Candidate, codes: list[CodeType | None], general: bool = True) -> Found:
        """A candidate as a repair, in words. Called with the edit in."""
        lines = shown(candidate.changes, self.trial)
        own = candidate.cause == candidate.edit.cause  # else the cause's own words fit better
        says, diz = (candidate.edit.says, candidate.edit.diz) if own else ("", "")
        return Found(candidate.cause, candidate.kind, lines, codes, says, diz, general=general)

    def _holds(self, codes: list[CodeType | None], other: Elsewhere) -> bool:
        """Whether a candidate is right at other values too."""
        result = self._result(codes, other.values)
        return isinstance(result, Mapping) and near(gradient(result.get(self.target)), other.expected, other.floor)

    def _result(self, codes: list[CodeType | None], values: dict[str, Any]) -> Any:
        """What an edited program returns at these values; None where it raises."""
        here, self.trial.values = self.trial.values, values
        try:
            return self.trial.run(0, None, codes)
        except Exception:  # an edited backward may raise anything, also that it took too long
            return None
        finally:
            self.trial.values = here

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

    def _harmless(self, result: Mapping[str, Any]) -> bool:
        """Whether the steps that were right, given their deltas, are right given the mended one."""
        return all(near(gradient(result.get(name)), expected, self.floor) for name, expected in self.after.items())

    def _error(self, value: Tensor | None) -> float:
        if value is None or value.shape != self.expected.shape:
            return float("inf")
        if not value.numel():
            return 0.0
        error = float((value - self.expected).abs().max())
        return error / self.size if self.size > 0 and error == error else (0.0 if error == 0 else float("inf"))


def _general(found: Sequence[tuple[float, Found]]) -> list[float]:
    """What the repairs cost that hold at other sizes too, in the order in which they were found."""
    return [cost for cost, each in found if each.general]


def near(value: Tensor | None, expected: Tensor, floor: float) -> bool:
    """Whether a gradient is right, but for rounding or for less than `floor`."""
    if value is None or value.shape != expected.shape:
        return False
    size = float(expected.square().mean().sqrt()) if expected.numel() else 0.0
    return bool(((value - expected).abs() <= 10 * CLOSE * size + floor).all())


class Applied:
    """The statements with an edit in them, compiled; as they were, afterwards."""

    def __init__(self, search: Search, candidate: Candidate) -> None:
        self.search, self.candidate = search, candidate

    def __enter__(self) -> list[CodeType | None] | None:
        trial = self.search.trial
        self.before = list(trial.codes)
        self.statements = list(trial.statements)
        if any(cancels(site.place, proposal.new) for site, proposal in self.candidate.changes):
            return None
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
