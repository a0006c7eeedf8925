"""manualbp lecture."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Lecture:
    """Run the lecture: every equation, figure and exercise gets a verdict."""

    name: tyro.conf.Positional[str | None] = None
    """One statement in full: eq-1 to eq-14, figure-1, section-2.1, exercise-1, ...; all of them if none is given."""
    lang: Literal["en", "pt"] = "en"
    """Language: English or Portuguese."""
    report: str | None = None
    """Write a page with formulas, numbers and figures to this file, such as lecture.html."""
    runs: str | None = None
    """Keep the training runs in this folder, for manualbp board; by default their logs are thrown away."""
    overwrite: bool = False
    """Replace runs of the lecture that are in that folder already."""

    def __call__(self) -> int:
        """Print the table, or one statement in full; status 1 where something is not as it should be."""
        from rich.console import Console

        from compare.lecture.runs import Runs
        from compare.lecture.table import STATEMENTS, Judged, find
        from compare.lecture.terminal import show_all, show_one

        wanted = STATEMENTS if self.name is None else (find(self.name),)
        page = None if self.report is None else Path(self.report)
        if page is not None:
            _refuse_unwritable(page)
        console = Console(highlight=False, markup=False)
        runs = Runs(None if self.runs is None else Path(self.runs), self.overwrite)
        if self.name is None:
            runs.refuse_taken("lecture-*")
        judged: list[Judged] = []
        errors = Console(stderr=True, highlight=False)
        with errors.status("") if errors.is_terminal else contextlib.nullcontext() as status:
            for statement in wanted:
                if status is not None:
                    status.update(statement.heading[self.lang])
                judged.append(Judged(statement, statement.run(runs)))
        if self.name is None:
            show_all(console, judged, self.lang)
        else:
            show_one(console, judged[0], self.lang)
        if page is not None:
            from compare.lecture.page import write

            write(page, judged, self.lang)
            console.print(f"{page}", soft_wrap=True)
        return int(any(each.outcome.verdict == "broken" for each in judged))


def _refuse_unwritable(page: Path) -> None:
    """Raise ValueError before any work where a page could not be written after it."""
    if not page.parent.is_dir():
        raise ValueError(f"--report {page}: there is no folder {page.parent}; make it, or choose another file")
    if page.is_dir():
        raise ValueError(f"--report {page}: is a folder; name a file, such as {page / 'lecture.html'}")
    if not os.access(page if page.exists() else page.parent, os.W_OK):
        raise ValueError(f"--report {page}: cannot be written (permission denied); choose another file")
