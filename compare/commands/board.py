"""manualbp board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Board:
    """Look at runs in TensorBoard, on this machine only."""

    run: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[NAME]")] = None
    """Name of a run; all runs if none is given."""
    runs: str = "runs"
    """Folder of all runs."""
    port: int = 0
    """Port on localhost; 0 takes a free one."""
    rebuild: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Do not serve: make the event files of this run again from its logs."""

    def __call__(self) -> int:
        """Serve until Ctrl-C."""
        if self.rebuild is not None:
            from compare.run.folder import refuse_busy

            if self.run is not None:
                raise ValueError(f"--rebuild {self.rebuild} names the run; drop {self.run}")
            refuse_busy(self.rebuild, Path(self.runs))  # before torch is imported: who is refused is refused at once
            from compare.run.rebuild import rebuild

            print(rebuild(self.rebuild, Path(self.runs)))
            return 0
        from compare.run.board import board

        return board(self.run, runs=self.runs, port=self.port)
