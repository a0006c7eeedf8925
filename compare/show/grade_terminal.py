"""Grading on the terminal: a bar, or a line for each submission; at the end what the class got."""

from __future__ import annotations

import statistics
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console
from rich.text import Text

from compare.grade import Graded
from compare.grading.table import Grade
from compare.wire import one_line

COMMONEST = 3  # first mistakes that are named at the end


class Progress:
    """Watches a grading. Texts out of submissions are printed on one line, without markup or control characters."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self._bar: progress.Progress | None = None
        self._task = progress.TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def finished(self, grade: Grade, done: int, total: int) -> None:
        """One more submission is graded."""
        if self.quiet:
            return
        line = one_line(f"{grade.student}  {grade.score:g}  {grade.first_wrong or 'right'}", 200)
        if not self.console.is_terminal:
            self.console.print(Text(f"{done}/{total}  {line}"), soft_wrap=True)
            return
        if self._bar is None:
            columns = (
                progress.MofNCompleteColumn(),
                progress.BarColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.description}", markup=False),
            )
            self._bar = progress.Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, description=line[:40])

    def ended(self, graded: Graded, out: Path, summary: Path) -> None:
        """What the class got, and where to read more."""
        scores = [grade.score for grade in graded.grades] or [0.0]
        count = len(graded.grades)
        old = f" ({count - graded.new} of them before)" if graded.new < count else ""
        submissions = "submission" if count == 1 else "submissions"
        steps = ", ".join(f"{step} ({len(grades)})" for step, grades in graded.commonest[:COMMONEST])
        said = f"{count} {submissions} graded{old}: mean {statistics.mean(scores):.1f} of {graded.points:g} points"
        self.console.print(Text(said))
        if steps:
            self.console.print(Text(one_line(f"commonest first mistakes: {steps}", 300)))
        for name, path in (("table", out), ("summary", summary)):  # whole, to be copied
            self.console.print(Text(f"{name:<7}  {one_line(str(path), 300)}"), soft_wrap=True)
