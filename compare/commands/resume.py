"""manualbp resume."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped or killed, bit for bit."""

    run: tyro.conf.Positional[str]
    """Name of the run, or its folder."""
    runs: str = "runs"
    """Folder of all runs."""
    max_bytes: Annotated[int, tyro.conf.arg(metavar="N")] = 2 * 2**30
    """Largest checkpoint to read."""
    quiet: bool = False
    """Print the verdict alone."""
    json: bool = False
    """Print the result as JSON on standard output, and nothing else."""

    def __call__(self) -> int:
        """Train to the end, print, and return the exit status."""
        from compare.run.folder import refuse_busy

        refuse_busy(self.run, Path(self.runs))  # before torch is imported: who is refused is refused at once
        from compare.run.resume import resume_watched
        from compare.show.terminal import Terminal

        terminal = Terminal(quiet=self.quiet or self.json)
        with terminal:
            result = resume_watched(self.run, terminal, runs=self.runs, max_bytes=self.max_bytes)
        if self.json:
            print(json.dumps(result.to_json()))
        else:
            terminal.finished(result)
        return result.exit_status
