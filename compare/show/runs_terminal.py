"""A table of runs that fits 80 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.run.past import PastRun
from compare.show.numbers import fixed
from compare.show.terminal import COLOURS

SHORT = {"equal bit for bit": "equal", "within the noise floor": "within floor", "": "unfinished"}


def print_runs(runs: Sequence[PastRun], *, console: Console | None = None) -> None:
    """One row a run, in the order given; long names are folded, never cut."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("data", overflow="fold", max_width=13)
    table.add_column("network", overflow="fold", max_width=16)
    table.add_column("verdict", no_wrap=True)
    for title in ("best val", "epoch", "overfit", "steps/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for run in runs:
        facts = as_json(run)
        verdict = Text(SHORT.get(run.verdict, run.verdict), style=COLOURS.get(run.verdict, "yellow"))
        cells = [
            "" if facts["best_validation_loss"] is None else fixed(facts["best_validation_loss"]),
            "" if run.best_epoch is None else f"{run.best_epoch}",
            "-" if run.overfitting_epoch is None else f"{run.overfitting_epoch}",
            f"{run.speed:,.0f}" if run.speed else "",
        ]
        table.add_row(Text(run.name), Text(facts["data"]), Text(facts["network"]), verdict, *map(Text, cells))
    console.print(table)


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
