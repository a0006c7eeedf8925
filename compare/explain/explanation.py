"""explain: the cause of each wrong step of a report, its line and its repair."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from compare.check.backward import Backward
from compare.check.conditions import Condition, Inputs, conditions
from compare.check.hooks import Forward
from compare.check.report import Report, Row
from compare.check.scale import Convention
from compare.explain.bench import Bench
from compare.explain.evidence import evidence_of
from compare.explain.identify import exchanged, identify
from compare.explain.observe import Observation, observe
from compare.explain.searcher import Searcher

log = logging.getLogger(__name__)
SECONDS = 10.0
CONDITIONS = 7  # under which a repair has to hold
WRONG = ("wrong", "invalid", "cancels", "imprecise")


def explain(
    report: Report,
    forward: Forward,
    backward: Backward,
    inputs: Inputs,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    bench: Bench | None = None,
) -> Report:
    """The report with cause, explanation, repair and line of every wrong row; as it is where none is wrong.

    Each wrong step is mended by itself, the one nearest to J first. A cause is named only where its repair makes the
    step right under every condition looked at. Edits of the backward run in a child process; the user's files are
    read, never changed. At most about `seconds` are spent. `bench` is where edits run in a process that is a child.
    """
    wrong = [row for row in report.rows if row.verdict in WRONG and row.name != "backward"]
    if not wrong:
        return report
    deadline = time.monotonic() + seconds
    explained: dict[str, Row] = {}
    evidence = Evidence(forward, backward, inputs, [row.condition for row in wrong], seed)
    with Searcher(backward, bench) as searcher:
        searcher.start(seconds)
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
        self._run: Callable[[Condition], Observation | None] = lambda c: observe(
            forward, backward, inputs, c, convention
        )
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


def _explained(row: Row, evidence: Evidence, searcher: Searcher, like: list[str], seconds: float) -> Row:
    condition = evidence.by_name.get(row.condition)
    seen = evidence.at(condition) if condition is not None else None
    if row.explanation.startswith("only in a later call"):
        return replace(row, cause="stale_state")
    if seen is not None and not _tells(seen, row.name):
        seen = next((other for other in evidence.others(seen.condition) if _tells(other, row.name)), seen)
    if seen is None or row.name not in seen.local:
        return replace(row, cause="unknown")
    until = time.monotonic() + seconds
    others = list(evidence.others(seen.condition))
    telling = [other for other in others if _tells(other, row.name)]
    found = searcher.repairs(seen, telling[:2], row.name, like, 0.75 * (until - time.monotonic()))
    log.debug("%s: %d found, %d tried %s", row.name, len(found), searcher.tried, searcher.why)
    for which, repair in enumerate(found):
        if all(searcher.holds(which, row.name, other) for other in others):
            like.append(repair["key"])
            crossed = exchanged([seen, *others], row.name)
            return _mended(row, repair if crossed is None else repair | vars(crossed))
    told = exchanged([seen, *others], row.name) or identify([seen, *others], row.name, until)
    if told is not None:
        return replace(row, cause=told.cause, explanation=f"dJ/d{row.name}: {told.says}")
    return replace(row, cause="unknown", explanation=row.explanation or evidence_of(seen, row.name))


def _tells(seen: Observation, name: str) -> bool:
    """Whether a step is wrong here in numbers that can be compared."""
    if name not in seen.local:
        return False
    given = seen.given.get(name)
    return given is None or (bool(torch.isfinite(given).all()) and not seen.alike(given, seen.local[name]))


def _mended(row: Row, repair: dict[str, Any]) -> Row:
    lines = [f"{file}:{line}  {old}  ->  {new or '(left out)'}" for file, line, old, new in repair["lines"]]
    first = repair["lines"][0]
    return replace(
        row, cause=repair["cause"], explanation=repair["says"], repair="\n".join(lines), line=f"{first[0]}:{first[1]}"
    )
