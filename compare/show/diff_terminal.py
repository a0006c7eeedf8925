"""Two runs against each other: options, the first difference, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.run.past import PastRun

OWN = ("name", "runs", "overwrite")  # options that differ between any two runs
ROWS = 10


@dataclass(frozen=True)
class FirstDifference:
    """The first evaluation at which two runs' numbers differ."""

    epoch: int
    tags: tuple[str, ...]  # such as "manual loss/train" or "gap/ulp largest"
    after: int  # steps: the numbers were the same after this many
    by: int  # and differ after this many


def print_diff(a: PastRun, b: PastRun, *, console: Console | None = None) -> None:
    """Print what differs between two runs."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    changed = list(differing_options(a, b))
    if changed:
        table = _table(("option", a.name, b.name))
        for name, left, right in changed:
            table.add_row(Text(name), Text(left), Text(right))
        console.print(table)
    else:
        console.print("The options are the same.")
    first = first_difference(a, b)
    common = sorted(set(a.epochs) & set(b.epochs))
    if not common:
        console.print("No epoch was evaluated in both runs.")
        return
    if first is None:
        console.print(f"Every number is the same, in every bit, at every epoch that both evaluated ({len(common)}).")
    else:
        where = f"between step {first.after} and step {first.by}" if first.by > first.after else "before any step"
        tags = ", ".join(first.tags[:3]) + (f" and {len(first.tags) - 3} more" if len(first.tags) > 3 else "")
        console.print(f"The first difference is {where}, seen at epoch {first.epoch}: {tags}.")
    console.print(_curves(a, b, common))
    console.print(f"draw them: manualbp plot {a.name} {b.name}", soft_wrap=True)


def differing_options(a: PastRun, b: PastRun) -> Iterable[tuple[str, str, str]]:
    """Options, versions and machine where the runs differ; an option that is not set is "-"."""
    for left, right in ((a.config, b.config), (a.versions, b.versions), (a.machine, b.machine)):
        for name in dict.fromkeys((*left, *right)):
            if name not in OWN and left.get(name) != right.get(name):
                yield name, str(left.get(name, "-")), str(right.get(name, "-"))


def first_difference(a: PastRun, b: PastRun) -> FirstDifference | None:
    """The first evaluation that both made where any number, NaN aside, differs in any bit; None where there is none."""
    before = 0
    for epoch in sorted(set(a.epochs) & set(b.epochs)):
        i, j = a.epochs.index(epoch), b.epochs.index(epoch)
        tags = tuple(
            tag if tag.startswith(run) else f"{run} {tag}"
            for run in a.history
            for tag in a.history[run].keys() & b.history[run].keys()
            if not _same(a.history[run][tag][i], b.history[run][tag][j])
        )
        if tags:
            losses_first = sorted(tags, key=lambda tag: ("loss" not in tag, tag))
            return FirstDifference(epoch, tuple(losses_first), before, a.steps[i])
        before = a.steps[i]
    return None


def _same(x: float, y: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y))


def _curves(a: PastRun, b: PastRun, common: list[int]) -> Table:
    """Both losses of both runs at some epochs."""
    table = _table(("epoch", f"train, {a.name}", f"train, {b.name}", f"val, {a.name}", f"val, {b.name}"), number=True)
    last = len(common) - 1
    for at in sorted({round(k * last / (ROWS - 1)) for k in range(ROWS)}):
        cells = [
            format(run.curve("manual", tag)[run.epochs.index(common[at])], ".5f")
            for tag in ("loss/train", "loss/val")
            for run in (a, b)
        ]
        table.add_row(Text(str(common[at])), *map(Text, cells))
    return table


def _table(titles: tuple[str, ...], *, number: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(Text(title), overflow="fold", justify="right" if number else "left")
    return table
