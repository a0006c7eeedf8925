"""From what became of a submission to its line in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compare.check.report import Report, Row
from compare.grading.marker import Outcome
from compare.grading.table import Grade
from compare.grading.weights import FORWARD, MISSING, RAISES, Weights

BACKWARD = "backward"  # the row of a report that stands for the whole function
NOTHING = "nothing to grade"  # the file does not run, or is none; the note says why


def grade_of(student: str, outcome: Outcome, weights: Weights, fingerprint: str, remark: str = "") -> Grade:
    """The score, a verdict for each quantity that counts, the first wrong step, and a note."""
    verdicts = verdicts_of(outcome, tuple(weights.weights), weights.credit)
    notes = [outcome.failed, *_notes(outcome.report), outcome.forward_note, remark]
    return Grade(
        student,
        weights.score(verdicts),
        verdicts,
        first_wrong(outcome, verdicts),
        "; ".join(note for note in notes if note),
        fingerprint,
    )


def verdicts_of(outcome: Outcome, quantities: Sequence[str], credit: Mapping[str, float]) -> dict[str, str]:
    """A verdict for each quantity: `missing` where there is none, `raises` where the backward fails elsewhere."""
    report = outcome.report
    rows = {row.name: row.verdict for row in report.rows} if report is not None else {}
    verdicts = {name: rows.get(name, MISSING) for name in quantities}
    if FORWARD in verdicts:
        verdicts[FORWARD] = outcome.forward or MISSING
    if outcome.cheated or used_autograd(report):
        return dict.fromkeys(quantities, "invalid")
    if BACKWARD in rows:
        for name, verdict in verdicts.items():
            if name != FORWARD and verdict != MISSING and credit[verdict] > credit[RAISES]:
                verdicts[name] = RAISES
    return verdicts


def used_autograd(report: Report | None) -> bool:
    """Whether the backward asked autograd for a derivative under any condition."""
    row = _row(report, BACKWARD)
    return row is not None and row.explanation.startswith("autograd")


def first_wrong(outcome: Outcome, verdicts: Mapping[str, str]) -> str:
    """The first step that is not right, with its line and cause where they are known: `z2 (hw.py:41): ...`."""
    if outcome.cheated:
        return "invalid: changed torch or the harness"
    if used_autograd(outcome.report):
        return "invalid: autograd"
    if outcome.report is None:
        return NOTHING
    bad = [row for row in outcome.report.rows if not row.ok and row.verdict != "inherited"]
    row = outcome.report.first_wrong or next(iter(bad), None)
    if row is None:
        missing = [name for name, verdict in verdicts.items() if verdict == MISSING]
        return f"{missing[0]}: missing" if missing else ""
    if row.name == BACKWARD:
        return f"{BACKWARD}: {row.explanation.partition(':')[0]}"
    place = f" ({row.line})" if row.line else ""
    cause = row.cause if row.cause != "unknown" else ""
    return f"{row.name}{place}: {cause or row.verdict}"


def _notes(report: Report | None) -> list[str]:
    if report is None:
        return []
    invalid = [f"{row.name} {row.explanation}" for row in report.rows if row.verdict == "invalid"]
    late = any(tried.status.endswith("out of time") for tried in report.conditions)
    stopped = [f"not every condition was tried{report.stopped}"] if late else []
    return invalid[:3] + stopped


def _row(report: Report | None, name: str) -> Row | None:
    return next((row for row in report.rows if row.name == name), None) if report is not None else None
