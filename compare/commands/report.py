"""manualbp report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class RunReport:
    """Write a run as one HTML page: verdict, figures, formulas, and every number behind them.

    The page needs no other file and no network, and prints well.
    """

    run: tyro.conf.Positional[str]
    """Name of the run, or its folder."""
    out: str | None = None
    """File to write; by default the run's name with .html, here."""
    runs: str = "runs"
    """Folder of all runs."""

    def __call__(self) -> int:
        """Write, and print the path."""
        from compare.run.past import read_run
        from compare.show.run_html import run_page

        run = read_run(self.run, Path(self.runs))
        path = Path(self.out or f"{run.folder.resolve().name}.html")
        if path.suffix != ".html":
            raise ValueError(f"--out is {self.out!r}; it must end in .html")
        try:
            path.write_text(run_page(run), encoding="utf-8", newline="\n")
        except OSError as error:
            raise ValueError(f"--out {path}: cannot be written ({error.strerror}); choose another file") from None
        print(path)
        return 0
