"""What a check found, as data with a plain text form."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from compare.check.verdict import OK, WORST_FIRST

WIDTH = 80  # columns of a terminal
NOT_NEEDED = "not tried: enough conditions failed already"


@dataclass(frozen=True)
class Row:
    """One quantity: its worst verdict over all conditions, and where that was seen."""

    name: str
    verdict: str
    max_rel: float = 0.0
    max_ulp: float = 0.0
    worst_index: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0
    condition: str = ""
    cause: str = ""
    explanation: str = ""
    repair: str = ""
    line: str = ""

    @property
    def ok(self) -> bool:
        """Whether the verdict lets the derivation pass."""
        return self.verdict in OK


@dataclass(frozen=True)
class Tried:
    """One condition, and how it went: "ok", "failed", or why it could not be tried."""

    name: str
    status: str


@dataclass(frozen=True)
class Report:
    """The verdict on a derivation: one row a quantity, nearest to J first."""

    rows: tuple[Row, ...]
    conditions: tuple[Tried, ...] = ()
    notes: tuple[str, ...] = ()
    example: str = ""  # the smallest failing case, to be followed by hand
    seconds: float = 0.0
    subject: str = "derivation"
    stopped: str = field(default="")  # why not every condition was tried

    @property
    def ok(self) -> bool:
        """Every row is right, rescaled or a subgradient, and there is one at least."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def first_wrong(self) -> Row | None:
        """The wrong or invalid quantity nearest to J."""
        return next((row for row in self.rows if row.verdict in ("wrong", "invalid")), None)

    def __getitem__(self, name: str) -> Row:
        """The row of a quantity."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name}; the report has rows for {', '.join(row.name for row in self.rows)}")

    def raise_if_wrong(self) -> None:
        """Raise GradientMismatch, with this report, unless the derivation is right."""
        if not self.ok:
            raise GradientMismatch(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        """What a notebook shows. The page is `show`'s, which nothing else here needs: it is loaded by its name."""
        fragment: str = importlib.import_module("compare.show.notebook").report_fragment(self)
        return fragment


class GradientMismatch(AssertionError):
    """A hand-written gradient is not what it should be; `report` says which and where."""

    def __init__(self, report: Report, where: str = "") -> None:
        self.report = report
        self.where = where
        super().__init__(f"{where}\n{report}" if where else str(report))


def headline(report: Report) -> str:
    """The verdict in one line."""
    first = report.first_wrong
    if report.ok:
        return f"RIGHT: every gradient of this {report.subject} is what it should be"
    if first is not None:
        others = sum(row.verdict in ("wrong", "invalid") for row in report.rows) - 1
        more = f" ({others} more)" if others else ""
        what = "is invalid" if first.verdict == "invalid" else "is wrong"
        step = "" if report.subject == "function" else "the step that computes "
        step = "the " if first.name == "backward" else step  # it gave no gradients at all
        return f"WRONG: {step}{first.name} {what}{more}"
    causing = [row for row in report.rows if row.verdict != "inherited"]
    worst = min(causing or report.rows, key=lambda row: WORST_FIRST.index(row.verdict), default=None)
    return "NOTHING WAS CHECKED" if worst is None else f"NOT RIGHT: {worst.name} is {worst.verdict}"


def _lines(report: Report) -> Iterable[str]:
    yield headline(report)
    yield ""
    width = max((len(row.name) for row in report.rows), default=8)
    width = min(max(width, 8), 24)
    yield f"{'quantity':<{width}}  {'verdict':<11} {'rel. error':>10} {'ulps':>9}  seen at"
    for row in report.rows:
        size = f"{row.max_rel:>10.1e} {row.max_ulp:>9.2g}" if row.verdict != "invalid" else " " * 20
        yield f"{row.name:<{width}}  {row.verdict:<11} {size}  {row.condition}".rstrip()
        if not row.ok and row.worst_index is not None and row.verdict not in ("invalid", "undecided"):
            at = f"[{', '.join(map(str, row.worst_index))}]" if row.worst_index else ""
            yield f"{'':<{width}}  {row.name}{at} is {row.got:.10g}, should be {row.expected:.10g}"
        if row.line and not row.ok and row.verdict != "inherited":
            yield f"{'':<{width}}  computed in {row.line}"
        told = f"{row.cause}: {row.explanation}" if row.cause and row.explanation else row.cause or row.explanation
        yield from _wrapped(told, " " * (width + 2))
        yield from (f"{'':<{width}}  {line}" for line in row.repair.splitlines())
    for note in report.notes:
        yield from _wrapped(f"note: {note}", "")
    if report.example:
        yield ""
        yield report.example
    if report.conditions:
        done = sum(tried.status in ("ok", "failed") for tried in report.conditions)
        yield ""
        text = f"{done} of {len(report.conditions)} conditions tried in {report.seconds:.1f} s{report.stopped}"
        yield from _wrapped(text, "")
        for tried in report.conditions:  # the line above speaks for those that were left out after enough had failed
            if tried.status not in ("ok", "failed", NOT_NEEDED):
                yield from _wrapped(f"{tried.name}: {tried.status}", "  ")


def _wrapped(text: str, indent: str) -> Iterable[str]:
    """Lines of at most `WIDTH` columns."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
