"""manualbp diff."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Diff:
    """Compare two runs: their options, the first step at which their numbers differ, their curves."""

    first: tyro.conf.Positional[str]
    """Name of a run, or its folder."""
    second: tyro.conf.Positional[str]
    """The other one."""
    runs: str = "runs"
    """Folder of all runs."""

    def __call__(self) -> int:
        """Print what differs; status 0 whether or not anything does."""
        from compare.run.past import read_run
        from compare.show.diff_terminal import print_diff

        print_diff(*(read_run(name, Path(self.runs)) for name in (self.first, self.second)))
        return 0
