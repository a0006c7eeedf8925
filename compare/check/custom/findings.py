"""What a check of a function has found so far: the worst verdict of each row, what was tried, notes, an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compare.check.custom.setting import Setting, numbers
from compare.check.report import Row, Tried
from compare.check.verdict import OK, WORST_FIRST, Judgement

FINE = (*OK, "undecided")
READABLE = 40  # numbers in an example that one can follow by hand


class Findings:
    """Rows, tried conditions and notes, filled in as the check goes on."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Judgement, str]] = {}
        self.tried: list[Tried] = []
        self.notes: dict[str, None] = {}
        self.passed = ""  # the first place where every gradient was right
        self.example = ""

    def note(self, text: str) -> None:
        """Say something once."""
        self.notes[text] = None

    def keep(self, row: str, j: Judgement, where: str) -> None:
        """Keep a verdict if it is the worst of its row."""
        kept = self.rows.get(row)
        if kept is None or _rank(j) < _rank(kept[0]):
            self.rows[row] = (j, where)

    def invalid(self, values: Mapping[str, Any], why: str, where: str) -> None:
        """Every gradient is invalid for the same reason."""
        for name, _ in numbers(values):
            self.keep(name, Judgement("invalid", explanation=why), where)

    def report_rows(self, inputs: list[str]) -> tuple[Row, ...]:
        """Outputs first, then the gradients in the order of the inputs, then properties."""
        outputs = [row for row in self.rows if row.startswith("output") and row not in inputs]
        order = dict.fromkeys([*outputs, *(n for n in inputs if n in self.rows), *self.rows])
        return tuple(_row(name, *self.rows[name]) for name in order)

    def illustrate(self, s: Setting, found: Mapping[str, Judgement], where: str) -> None:
        """Keep the inputs and the cotangent of the smallest failing case, if they can be read at a glance."""
        shown = {n: v for n, v in s.values.items() if isinstance(v, Tensor)}
        row = next((n for n, _ in numbers(s.values) if n in found and found[n].verdict == "wrong"), None)
        if row is None or sum(v.numel() for v in shown.values()) > READABLE:
            return
        lines = [f"at {where}:"]
        lines += [f"  {name} = {_digits(v.tolist())}" for name, v in shown.items()]
        lines += [f"  cotangent = {_digits(c.tolist())}" for c in s.draws["u"] if c is not None]
        lines += [f"  gradient of {row} is        {_digits(s.runs[0][row].tolist())}"]
        lines += [f"  gradient of {row} should be {_digits(s.exact[f'u|{row}'].tolist())}"]
        text = "\n".join(lines)
        if not self.example or len(text) < len(self.example):
            self.example = text


def _digits(value: Any) -> Any:
    if isinstance(value, list):
        return [_digits(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _rank(j: Judgement) -> int:
    """Worst first, wrong and invalid alike: the first of them that was met is the plainest. "undecided" counts only
    where nothing else was found.
    """
    if j.verdict == "invalid":
        return WORST_FIRST.index("wrong")
    return len(WORST_FIRST) if j.verdict == "undecided" else WORST_FIRST.index(j.verdict)


def _row(name: str, j: Judgement, where: str) -> Row:
    return Row(
        name, j.verdict, j.max_rel, j.max_ulp, j.worst_index, j.expected, j.got, where, explanation=j.explanation
    )
