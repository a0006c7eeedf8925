"""explain: the cause of each wrong step of a report, its line and its repair."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward
from compare.check.codec import pack
from compare.check.conditions import Condition, Inputs, conditions
from compare.check.hooks import Forward
from compare.check.report import Report, Row
from compare.check.scale import Convention
from compare.explain.identify import identify
from compare.explain.observe import Observation, alike, observe
from compare.explain.program import NotReadable, Program, read
from compare.isolate import Child, Failure, Limits
from compare.wire import WireError

log = logging.getLogger(__name__)
SECONDS = 10.0
CONDITIONS = 7  # under which a repair has to hold
WRONG = ("wrong", "invalid", "cancels", "imprecise")


def explain(
    report: Report, forward: Forward, backward: Backward, inputs: Inputs, *, seconds: float = SECONDS, seed: int = 0
) -> Report:
    """The report with cause, explanation, repair and line of every wrong row; as it is where none is wrong.

    Each wrong step is mended by itself, the one nearest to J first. A cause is named only where its repair makes the
    step right under every condition looked at. Edits of the backward run in a child process; the user's files are
    read, never changed. At most about `seconds` are spent.
    """
    wrong = [row for row in report.rows if row.verdict in WRONG and row.name != "backward"]
    if not wrong:
        return report
    deadline = time.monotonic() + seconds
    explained: dict[str, Row] = {}
    evidence = Evidence(forward, backward, inputs, [row.condition for row in wrong], seed)
    with _Searcher(backward, seconds) as searcher:
        like: list[str] = []
        for left, row in zip(range(len(wrong), 0, -1), wrong, strict=True):
            share = (deadline - time.monotonic()) / left
            explained[row.name] = _explained(row, evidence, searcher, like, share) if share > 0.05 else row
    return replace(report, rows=tuple(explained.get(row.name, row) for row in report.rows))


class Evidence:
    """Observations under the conditions of a check, made when they are asked for."""

    def __init__(self, forward: Forward, backward: Backward, inputs: Inputs, wanted: list[str], seed: int) -> None:
        every = list(conditions(inputs, seed))
        self.by_name = {str(c): c for c in every}
        first = [self.by_name[name] for name in dict.fromkeys(wanted) if name in self.by_name]
        self.order: list[Condition] = [*first, *(c for c in every if c not in first)]
        convention = Convention()
        self._run = lambda c: observe(forward, backward, inputs, c, convention)
        self._seen: dict[str, Observation | None] = {}
        self.at(every[0])  # where the check finds its convention as well

    def at(self, condition: Condition) -> Observation | None:
        """What this condition shows; None where the forward does not run there."""
        name = str(condition)
        if name not in self._seen:
            self._seen[name] = self._run(condition)
        return self._seen[name]

    def others(self, but: Condition) -> Iterator[Observation]:
        """Observations under other conditions, the failing ones of any row first."""
        count = 0
        for condition in self.order:
            if condition == but or count >= CONDITIONS:
                continue
            seen = self.at(condition)
            if seen is not None:
                count += 1
                yield seen


class _Searcher:
    """The child that searches repairs; started when it is first needed, and only where the source can be read."""

    def __init__(self, backward: Backward, seconds: float) -> None:
        self.seconds = seconds
        self.why = ""
        self.child: Child | None = None
        self.program: Program | None = None
        self.tried = 0
        try:
            self.program = read(backward)
        except NotReadable as error:
            self.why = str(error)

    def __enter__(self) -> _Searcher:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.child is not None:
            self.child.close()

    def call(self, method: str, asked: dict[str, Any], seconds: float) -> tuple[Any, dict[str, Tensor]] | None:
        """The child's answer; None, and no more child, where there is none."""
        if self.program is None:
            return None
        try:
            if self.child is None:
                self.child = Child(
                    "compare.explain.bench:Bench", Limits(seconds=self.seconds + 5, memory=2 * 2**30), threads=1
                )
                p = self.program
                pieces = tuple((q.source, q.file, q.line) for q in (p.main, *p.helpers))
                data, tensors = pack({"pieces": pieces, "modules": p.modules, "constants": p.constants})
                self.child.call("load", data, tensors)
            data, tensors = pack(asked)
            return self.child.call(method, data, tensors, seconds=seconds)
        except (Failure, WireError) as error:
            self.why = str(error)
            if not (isinstance(error, Failure) and error.kind == "raised"):
                self.program = None
            return None

    def repairs(self, seen: Observation, target: str, like: list[str], seconds: float) -> list[dict[str, Any]]:
        """Repairs of a step that hold on one condition."""
        asked = {
            "values": seen.values,
            "target": target,
            "expected": seen.local[target],
            "given": seen.given.get(target),
            "inputs": sorted(seen.inputs),
            "quantities": sorted(seen.quantities),
            "deltas": seen.deltas(target),
            "like": like,
            "seconds": seconds,
        }
        answer = self.call("search", asked, seconds + 5)
        if answer is None:
            return []
        self.why = answer[0]["why"] or self.why
        self.tried += answer[0]["tried"]
        return list(answer[0]["found"])

    def holds(self, which: int, target: str, seen: Observation) -> bool:
        """Whether a repair makes the step right here too, and leaves the deltas that it was handed alone."""
        answer = self.call("run", {"values": seen.values, "which": which}, 5.0)
        if answer is None:
            return False
        gradients = answer[1]
        if target not in gradients or not alike(gradients[target], seen.local[target]):
            return False
        return all(n in gradients and alike(gradients[n], seen.given[n]) for n in seen.deltas(target))

    def harmless(self, which: int, target: str, seen: Observation) -> bool:
        """Whether every step that was right, given its deltas, is right given the mended ones."""
        answer = self.call("run", {"values": seen.values, "which": which}, 5.0)
        if answer is None:
            return False
        new = seen.given | {n: g for n, g in answer[1].items() if n in seen.local and g.shape == seen.local[n].shape}
        expected = seen.expect(new)
        right = [n for n, g in seen.given.items() if n in seen.local and alike(g, seen.local[n])]
        return all(alike(new[n], expected[n]) for n in right if n != target and n in expected)


def _explained(row: Row, evidence: Evidence, searcher: _Searcher, like: list[str], seconds: float) -> Row:
    condition = evidence.by_name.get(row.condition)
    seen = evidence.at(condition) if condition is not None else None
    if row.explanation.startswith("only in a later call"):
        return replace(row, cause="stale_state")
    if seen is not None and not _tells(seen, row.name):
        seen = next((other for other in evidence.others(seen.condition) if _tells(other, row.name)), seen)
    if seen is None or row.name not in seen.local:
        return replace(row, cause="unknown")
    found = searcher.repairs(seen, row.name, like, 0.8 * seconds)
    log.debug("%s: %d found, %d tried %s", row.name, len(found), searcher.tried, searcher.why)
    for which, repair in enumerate(found):
        if not searcher.harmless(which, row.name, seen):
            continue
        if all(searcher.holds(which, row.name, other) for other in evidence.others(seen.condition)):
            like.append(repair["key"])
            return _mended(row, repair)
    told = identify([seen, *evidence.others(seen.condition)], row.name)
    if told is not None:
        return replace(row, cause=told.cause, explanation=f"dJ/d{row.name}: {told.says}")
    return replace(row, cause="unknown")


def _tells(seen: Observation, name: str) -> bool:
    """Whether a step is wrong here in numbers that can be compared."""
    if name not in seen.local:
        return False
    given = seen.given.get(name)
    return given is None or bool(torch.isfinite(given).all()) and not alike(given, seen.local[name])


def _mended(row: Row, repair: dict[str, Any]) -> Row:
    lines = [f"{file}:{line}  {old}  ->  {new or '(left out)'}" for file, line, old, new in repair["lines"]]
    first = repair["lines"][0]
    return replace(
        row, cause=repair["cause"], explanation=repair["says"], repair="\n".join(lines), line=f"{first[0]}:{first[1]}"
    )
