"""manualbp runs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Runs:
    """List all runs: data, network, verdict, least validation loss, overfitting, speed."""

    runs: str = "runs"
    """Folder of all runs."""
    json: bool = False
    """Print the list as JSON on standard output, and nothing else."""

    def __call__(self) -> int:
        """Print the table, and what cannot be read in a line each: then the status is 2."""
        from compare.run.folder import no_runs, run_names
        from compare.run.past import read_folder
        from compare.show.runs_terminal import as_json, print_runs

        folder = Path(self.runs)
        names = run_names(folder)
        if not names:
            raise no_runs(folder)
        found, status = [], 0
        for name in names:
            try:
                found.append(read_folder(folder / name))
            except ValueError as error:
                print(f"manualbp: {error}", file=sys.stderr)
                status = 2
        if self.json:
            print(json.dumps([as_json(run) for run in found]))
        else:
            print_runs(found)
        return status
