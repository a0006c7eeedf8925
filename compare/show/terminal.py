"""A run on the terminal: a bar while it goes on, a table and the verdict at its end. 80 columns are enough."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from compare.run.config import TrainConfig
from compare.run.history import EpochReport, TrainResult
from compare.run.stops import STATUS
from compare.run.watcher import Plan
from compare.show.numbers import fixed

LINES = 10  # of a run where no bar can be drawn
ROWS = 12  # of the table
COLOURS = {
    "equal bit for bit": "green",
    "within the noise floor": "green",
    "mismatch": "bold red",
    "undecided": "bold red",
    "diverged": "bold yellow",
    "not checked": "yellow",
}


class Terminal:
    """Watches one run. Texts out of files are printed as they are, without markup or control characters."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self.console = console or Console(highlight=False, markup=False)
        self.errors = Console(stderr=True, highlight=False, markup=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def started(self, plan: Plan) -> None:
        """Say what is about to be trained, and begin the bar."""
        if self.quiet:
            return
        c = plan.config
        size = f" of {c.batch_size}" if c.update == "mini-batch" else ""
        self._facts(
            [
                ("data", plan.data),
                ("network", plan.network),
                ("training", f"{c.update}{size}, lr {c.lr:g}, l2 {c.l2:g}, {c.epochs} epochs, check {c.check}"),
                ("on", plan.device),
                ("engine", _engine(c, plan.engine)),
                *(("judged by", note) for note in plan.notes),
                *((("goes on", f"after step {plan.from_step}"),) if plan.from_step is not None else ()),
            ]
        )
        self.console.print()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch"),
                MofNCompleteColumn(),
                BarColumn(bar_width=10),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=c.epochs)
            self._bar.start()

    def evaluated(self, report: EpochReport) -> None:
        """Move the bar, or print a line now and then."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=report.epoch, description="  ".join(_said(report)[1:]))
        elif report.epoch in _sampled(range(report.epochs + 1), LINES):
            self.console.print(_fitting([*_said(report), _left(report)], self.console.width), soft_wrap=True)

    def warned(self, line: str) -> None:
        """A warning, on standard error even when quiet."""
        self.errors.print(f"manualbp: warning: {line}", soft_wrap=True)

    def finished(self, result: TrainResult) -> None:
        """The table, the report of a mismatch, and last the verdict and what to do next."""
        if not self.quiet:
            self.console.print()
            self.console.print(_table(result))
            if result.report is not None:
                self.console.print(str(result.report), soft_wrap=True)
                self.console.print()
        self._facts(_findings(result), colour=COLOURS[result.verdict])

    def _facts(self, facts: list[tuple[str, str]], *, colour: str = "") -> None:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in facts:
            grid.add_row(Text(name, style="bold"), Text(fact, style=colour if name == "verdict" else ""))
        self.console.print(grid)


def _engine(config: TrainConfig, why: str) -> str:
    product = f", {config.product} products" if config.product != "auto" else ""
    return f"{config.engine}{product} ({why})" if why else config.engine


def _said(report: EpochReport) -> list[str]:
    """Losses, the gap since the last evaluation, and the speed of the run so far."""
    manual, gap = report.scores["manual"], report.scores.get("gap", {}).get("gap/ulp largest")
    parts = [
        f"epoch {report.epoch}/{report.epochs}",
        f"loss {fixed(manual['loss/train'])}",
        f"val {fixed(manual['loss/val'])}",
    ]
    if "accuracy/val" in manual:
        parts.append(f"acc {manual['accuracy/val']:.4f}")
    if gap is not None:
        parts.append(f"gap {gap:.2g} ulp")
    if report.step and report.seconds > 0:
        parts.append(f"{report.step / report.seconds:,.0f}/s")
    return parts


def _left(report: EpochReport) -> str:
    """The time that the epochs to come will take, if each takes as long as those before it."""
    if not 0 < report.epoch < report.epochs:
        return f"{report.seconds:.1f} s"
    return f"{report.seconds / report.epoch * (report.epochs - report.epoch):.0f} s left"


def _fitting(parts: list[str], width: int) -> str:
    """As many parts as fit one line, the first ones."""
    while len(parts) > 1 and len("  ".join(parts)) > width:
        parts = parts[:-1]
    return "  ".join(parts)


def _findings(result: TrainResult) -> list[tuple[str, str]]:
    facts = [("verdict", result.verdict_text)]
    manual = result.history["manual"]
    if result.best_epoch is not None:
        at = result.epochs.index(result.best_epoch)
        best = f"{result.best_epoch} of {result.epochs[-1]}, validation loss {fixed(manual['loss/val'][at])}"
        if "accuracy/val" in manual:
            best += f", accuracy {manual['accuracy/val'][at]:.4f}"
        overfits = result.overfitting_epoch
        facts += [
            ("best epoch", best),
            ("validation", "no overfitting seen" if overfits is None else f"overfitting since epoch {overfits}"),
        ]
    facts.append(("run", str(result.folder)))
    runs = "" if result.config.runs == "runs" else f" --runs {result.config.runs}"
    if result.verdict == "mismatch":
        facts.append(("next", f"manualbp replay {result.folder.name}{runs}"))
    elif result.exit_status > STATUS and result.config.checkpoint_every != "off":
        facts.append(("next", f"manualbp resume {result.folder.name}{runs}"))
    elif result.verdict == "diverged":
        facts.append(("next", f"lower --lr {result.config.lr:g}; manualbp board {result.folder.name}{runs}"))
    else:
        facts.append(("next", f"manualbp board {result.folder.name}{runs}"))
    return facts


def _table(result: TrainResult) -> Table:
    """Loss and accuracy of both runs at some of the epochs: the first, the best and the last among them."""
    manual, autograd, gap = (result.history[run] for run in ("manual", "autograd", "gap"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = [
        ("epoch", [str(epoch) for epoch in result.epochs]),
        ("train loss", _numbers(manual, "loss/train", fixed)),
        ("val loss", _numbers(manual, "loss/val", fixed)),
        ("autograd's", _numbers(autograd, "loss/val", fixed)),
    ]
    if "accuracy/val" in manual:
        columns.append(("accuracy", _numbers(manual, "accuracy/val", "{:.4f}".format)))
    if gap:
        columns.append(("gap, ulp", _numbers(gap, "gap/ulp largest", "{:.3g}".format, length=len(result.epochs))))
    for title, _ in columns:
        table.add_column(title, justify="right")
    keep = {*_sampled(range(len(result.epochs)), ROWS)}
    if result.best_epoch is not None:
        keep.add(result.epochs.index(result.best_epoch))
    for row in sorted(keep):
        table.add_row(*(Text(cells[row]) for _, cells in columns))
    return table


def _numbers(history: dict[str, list[float]], tag: str, form: Callable[[float], str], *, length: int = 0) -> list[str]:
    """Formatted values; a curve that began later than epoch 0 is filled up in front."""
    cells = [form(value) for value in history.get(tag, [])]
    return [""] * (length - len(cells)) + cells


def _sampled(positions: range, most: int) -> set[int]:
    """About `most` positions, evenly spread, the first and the last among them."""
    last = len(positions) - 1
    if last < most:
        return set(positions)
    return {round(k * last / (most - 1)) for k in range(most)}
