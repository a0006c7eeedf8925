"""A check's report in words that every form of output shares. Everything in it is one printable line a string."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from compare.check.report import Report, Row, headline
from compare.wire import one_line

MEANINGS = {
    "right": "equals dJ/d of it, up to what rounding explains",
    "rescaled": "a constant multiple of dJ/d of it that is undone later: every gradient of a parameter is right",
    "subgradient": "another valid choice at a kink or a tie",
    "wrong": "this step is wrong, given the deltas that it was handed",
    "inherited": "this step is right; the delta that it was handed is wrong",
    "cancels": "wrong at this step, yet right end to end: two mistakes undo each other",
    "imprecise": "the right formula, but it loses digits that autograd keeps",
    "undecided": "rounding explains every difference here: no condition could decide it",
    "invalid": "nothing that can be compared",
}


REPAIR = "Repair: "  # before a line of source, which keeps its spaces


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    quantity: str
    verdict: str
    ok: bool
    error: str
    ulps: str
    condition: str  # the name alone, without sizes
    line: str


@dataclass(frozen=True)
class View:
    """What is shown of a report."""

    title: str
    headline: str
    ok: bool
    rows: tuple[Line, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    example: tuple[str, ...]
    summary: str
    conditions: tuple[tuple[str, str], ...]  # name with sizes, and how it went
    meanings: tuple[tuple[str, str], ...]  # of the verdicts that occur


def view(report: Report, title: str) -> View:
    """The words for a report on what `title` names."""
    verdicts = dict.fromkeys(row.verdict for row in report.rows)
    return View(
        one_line(title, 200),
        one_line(headline(report)),
        report.ok,
        tuple(_line(row) for row in report.rows),
        tuple(_printable(text) if text.startswith(REPAIR) else one_line(text) for text in _findings(report)),
        tuple(one_line(note) for note in report.notes),
        tuple(_printable(text) for text in report.example.splitlines()),
        one_line(_summary(report)),
        tuple((one_line(tried.name, 200), one_line(tried.status, 200)) for tried in report.conditions),
        tuple((verdict, MEANINGS.get(verdict, "")) for verdict in verdicts),
    )


def _printable(text: str) -> str:
    """`text` with its spaces, and every unprintable character as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:300])


def _line(row: Row) -> Line:
    measured = row.verdict != "invalid"
    return Line(
        one_line(row.name, 60),
        row.verdict,
        row.ok,
        f"{row.max_rel:.1e}" if measured else "",
        f"{row.max_ulp:.2g}" if measured else "",
        one_line(row.condition.partition(" (")[0], 60),
        one_line(row.line, 100),
    )


def _findings(report: Report) -> Iterable[str]:
    """The first wrong step in full, then the others, then what only inherits."""
    first = report.first_wrong
    failed = [row for row in report.rows if not row.ok and row.verdict != "inherited"]
    for row in sorted(failed, key=lambda row: row is not first):
        yield from _finding(row, first=row is first)
    inherited = [row.name for row in report.rows if row.verdict == "inherited"]
    if inherited:
        are = "is" if len(inherited) == 1 else "are"
        yield f"{_listed(inherited)} {are} right, given the wrong deltas that arrive there: look there last."
    for row in report.rows:
        if row.verdict in ("rescaled", "subgradient"):
            yield f"{row.name} is {row.verdict}: {MEANINGS[row.verdict]}."


def _finding(row: Row, *, first: bool) -> Iterable[str]:
    place = f" ({row.line})" if row.line else ""
    if row.verdict == "invalid":
        yield f"{row.name}{place} {row.explanation or 'cannot be compared'}"
    elif row.verdict == "undecided":
        yield f"{row.name}{place}: {MEANINGS['undecided']}."
    else:
        lead = "The first wrong step is the one that computes" if first else f"{row.verdict.capitalize()}:"
        at = f"[{', '.join(map(str, row.worst_index))}]" if row.worst_index else ""
        yield (
            f"{lead} {row.name}{place}: {row.name}{at} is {row.got:.10g}, should be {row.expected:.10g}, "
            f"at: {row.condition}."
        )
        if row.verdict in ("cancels", "imprecise"):
            yield f"{row.name}: {MEANINGS[row.verdict]}."
        if row.explanation and not row.cause:
            yield f"{row.name}: {row.explanation}"
    if row.cause:
        yield f"Cause of {row.name}: {row.cause}{f': {row.explanation}' if row.verdict != 'invalid' else ''}"
    for line in row.repair.splitlines():
        yield f"{REPAIR}{line}"


def _listed(names: list[str]) -> str:
    shown = names[:8]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(shown) + more if more or len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _summary(report: Report) -> str:
    tried = [t for t in report.conditions if not t.status.startswith("not tried")]
    failed = sum(t.status == "failed" for t in tried)
    text = f"{len(tried)} of {len(report.conditions)} conditions tried in {report.seconds:.1f} s"
    return f"{text}, {failed} failed{report.stopped}" if failed else f"{text}{report.stopped}"


def to_json(report: Report, title: str) -> dict[str, Any]:
    """The report as what JSON can hold; numbers that are not finite are the strings "inf", "-inf" and "nan"."""
    data = asdict(report)
    first = report.first_wrong
    head = {"subject": report.subject, "title": title, "ok": report.ok, "headline": headline(report)}
    plain: dict[str, Any] = _finite(head | {"first_wrong": first.name if first is not None else None} | data)
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
