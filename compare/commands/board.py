"""manualbp board."""

from __future__ import annotations

from dataclasses import dataclass

import tyro


@dataclass(frozen=True)
class Board:
    """Look at runs in TensorBoard, on this machine only."""

    run: tyro.conf.Positional[str | None] = None
    """Name of a run; all runs if none is given."""
    runs: str = "runs"
    """Folder of all runs."""
    port: int = 0
    """Port on localhost; 0 takes a free one."""

    def __call__(self) -> int:
        """Serve until Ctrl-C."""
        from compare.run.board import board

        return board(self.run, runs=self.runs, port=self.port)
