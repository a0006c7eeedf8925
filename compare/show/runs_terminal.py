"""A table of runs that fits 80 columns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.run.past import PastRun
from compare.show.numbers import fixed
from compare.show.terminal import COLOURS

WIDTHS = {"run": 17, "data": 8, "network": 13}  # letters: what leaves room for the numbers in 80 columns
SHORT = {"equal bit for bit": "equal", "within the noise floor": "within floor", "": "unfinished"}


def print_runs(runs: Sequence[PastRun], *, console: Console | None = None) -> None:
    """One row a run, in the order given; long names are folded, never cut."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("run", "data", "network", "verdict"):
        table.add_column(title, no_wrap=True)
    for title in ("best val", "overfit", "steps/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for run in runs:
        facts = as_json(run)
        verdict = Text(SHORT.get(run.verdict, run.verdict), style=COLOURS.get(run.verdict, "yellow"))
        names = (folded(text, WIDTHS[name]) for name, text in facts.items() if name in WIDTHS)
        numbers = (
            "" if facts["best_validation_loss"] is None else fixed(facts["best_validation_loss"]),
            "-" if run.overfitting_epoch is None else f"{run.overfitting_epoch}",
            f"{run.speed:,.0f}" if run.speed else "",
        )
        table.add_row(*map(Text, names), verdict, *map(Text, numbers))
    console.print(table)


def folded(text: str, width: int) -> str:
    """The text in lines of at most `width` letters that end, where that can be, after a mark and not within a word."""
    lines = [""]
    for piece in re.findall(r"[^-_,./ ]*[-_,./ ]?", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def as_json(run: PastRun) -> dict[str, Any]:
    """The same facts for a program."""
    best = run.best_epoch
    loss = None if best is None else run.curve("manual", "loss/val")[run.epochs.index(best)]
    return {
        "run": run.name,
        "data": str(run.config.get("data", "")),
        "network": run.texts.get("network", ""),
        "verdict": run.verdict or None,
        "verdict_text": run.verdict_text,
        "best_validation_loss": loss if loss is not None and math.isfinite(loss) else None,
        "best_epoch": best,
        "overfitting_epoch": run.overfitting_epoch,
        "epochs": run.epochs[-1] if run.epochs else None,
        "steps_per_second": round(run.speed, 1),
    }
