"""A check's report on the terminal: a table that fits 80 columns, and below it what is wrong, in sentences."""

from __future__ import annotations

import re

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from compare.check.report import Report
from compare.show.check_view import View, view

COLOURS = {
    "right": "green",
    "rescaled": "green",
    "subgradient": "green",
    "wrong": "bold red",
    "invalid": "bold red",
    "cancels": "red",
    "inherited": "yellow",
    "imprecise": "yellow",
    "undecided": "yellow",
}
WIDEST = 100  # columns; longer lines are hard to read on any terminal
LISTED = 6  # conditions of one kind that are named


def print_report(report: Report, title: str, *, quiet: bool = False, console: Console | None = None) -> None:
    """Print a report; `quiet`, its headline alone."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    width = min(console.width, WIDEST)
    shown = view(report, title)
    between = " " if len(shown.title) + len(shown.headline) + 2 <= console.width or quiet else "\n"
    headline = Text(shown.headline, style="bold green" if shown.ok else "bold red")
    console.print(Text(f"{shown.title}:{between}") + headline, soft_wrap=True)
    if quiet:
        return
    console.print(_table(shown), width=width)
    for text in shown.findings:
        console.print(Text(text), width=width)
    for note in shown.notes:
        console.print(Text(f"note: {note}"), width=width)
    if shown.example:
        console.print()
        for text in shown.example:
            console.print(Text(text), soft_wrap=True)
    if shown.findings or shown.notes or shown.example:
        console.print()
    console.print(Text(shown.summary), width=width)
    for status, names in _by_status(shown).items():
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        line = Text(f"{status}: {'; '.join(names[:LISTED])}{more}", style="dim")
        console.print(Padding(line, (0, 0, 0, 2)), width=width)


def _table(shown: View) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("quantity", overflow="fold", max_width=20)
    table.add_column("verdict", no_wrap=True)
    table.add_column("rel. error", justify="right", no_wrap=True)
    table.add_column("ulps", justify="right", no_wrap=True)
    table.add_column("seen at", overflow="fold")
    if any(row.line for row in shown.rows):
        table.add_column("line", overflow="fold", max_width=24)
    for row in shown.rows:
        cells = [
            Text(row.quantity),
            Text(row.verdict, style=COLOURS.get(row.verdict, "")),
            Text(row.error),
            Text(row.ulps),
            Text(row.condition),
        ]
        table.add_row(*cells, *([Text(row.line)] if len(table.columns) == 6 else []))
    return table


def _by_status(shown: View) -> dict[str, list[str]]:
    """Names of conditions by how they went; those that were right are grouped as well."""
    grouped: dict[str, list[str]] = {}
    for name, status in shown.conditions:
        grouped.setdefault(status, []).append(re.sub(r" \(.*?\)", "", name))
    return grouped
