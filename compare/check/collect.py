"""Evaluate a derivation under one condition after another, and keep the worst verdict of each quantity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from compare.check.clock import Clock
from compare.check.conditions import Condition
from compare.check.constants import ENOUGH, UNCHANGED
from compare.check.evaluation import Evaluation
from compare.check.hooks import ForwardFailed
from compare.check.report import NOT_NEEDED, Report, Row, Tried
from compare.check.restore import same_buffers, same_randomness
from compare.check.verdict import WORST_FIRST, Judgement, judge

RED = ("invalid", "wrong", "cancels", "imprecise")  # verdicts on a step itself
SECONDS = 10.0  # of the processor, after which no further condition is begun
FOR_THE_FIRST = 3  # times as long for the first few, which show the most


def collect(
    evaluator: Callable[[Condition], Evaluation],
    tried_at: Iterable[Condition],
    *,
    seconds: float = SECONDS,
    subject: str = "derivation",
    clock: Clock | None = None,
) -> Report:
    """Evaluate under every condition, or until enough have failed, and keep the worst verdict of each quantity.

    The random state and the buffers of the caller's modules are left as they were found.
    """
    clock = clock or Clock()
    rows: dict[str, tuple[Judgement, str]] = {}
    tried: list[Tried] = []
    notes: dict[str, None] = {}
    tested: set[str] = set()
    first_failure: ValueError | None = None
    failed = unchanged = 0  # conditions that failed, and those of them since another quantity did
    stopped = ""
    for position, condition in enumerate(tried_at):
        name = str(condition)
        if failed >= ENOUGH and unchanged >= UNCHANGED:
            stopped = "; enough failed, the others were not tried"
            tried.append(Tried(name, NOT_NEEDED))
            continue
        if position and clock.spent > (FOR_THE_FIRST if position < ENOUGH else 1) * seconds:
            stopped = stopped or f"; stopped after {clock.wall:.0f} s, the others were not tried"
            tried.append(Tried(name, "not tried: out of time"))
            continue
        try:
            with same_randomness(), same_buffers():
                evaluation = evaluator(condition)
        except ValueError as error:  # of the user's forward or inputs; any other is a mistake of this program
            if not position and not isinstance(error, ForwardFailed):
                raise  # this is no forward to compare with, even if at other sizes it looks like one
            first_failure = first_failure or error
            tried.append(Tried(name, f"forward does not run here: {error}"))
            continue
        judged = judge(evaluation)
        if condition.keeps_values and "backward" in evaluation.invalid and any(t.status == "ok" for t in tried):
            notes[f"{condition.name}: {evaluation.invalid['backward']}"] = None
            tried.append(Tried(name, "the backward does not take this layout"))
            continue
        notes |= dict.fromkeys(evaluation.notes)
        tested |= {quantity for quantity, judgement in judged.items() if not judgement.idle}
        red = {quantity for quantity, judgement in judged.items() if judgement.verdict in RED}
        new = red - {quantity for quantity, (judgement, _) in rows.items() if judgement.verdict in RED}
        for quantity, judgement in judged.items():
            kept = rows.get(quantity)
            if kept is None or _rank(judgement) < _rank(kept[0]):
                rows[quantity] = (judgement, name)
        bad = bool(red)
        failed += bad
        unchanged = 0 if new else unchanged + bad
        tried.append(
            Tried(name, "failed" if bad else (evaluation.failed and f"reference failed: {evaluation.failed}") or "ok")
        )
    if not rows and first_failure is not None:
        raise first_failure
    if rows and not tested:
        idle = "is 0 in every entry at every input tried, whatever the formula; give other inputs"
        rows = {name: (replace(j, verdict="undecided", explanation=idle), at) for name, (j, at) in rows.items()}
    elif idle_ones := [name for name in rows if name not in tested]:
        notes[f"{', '.join(idle_ones)}: 0 in every entry at every input tried: a wrong factor would not show"] = None
    return Report(
        tuple(_row(name, *found) for name, found in rows.items()),
        tuple(tried),
        tuple(notes),
        seconds=clock.wall,
        subject=subject,
        stopped=stopped,
    )


def _rank(judgement: Judgement) -> int:
    """Worst first; "undecided" counts only where nothing else was found."""
    return len(WORST_FIRST) if judgement.verdict == "undecided" else WORST_FIRST.index(judgement.verdict)


def _row(name: str, j: Judgement, condition: str) -> Row:
    return Row(
        name,
        j.verdict,
        j.max_rel,
        j.max_ulp,
        j.worst_index,
        j.expected,
        j.got,
        condition,
        explanation=j.explanation,
    )
