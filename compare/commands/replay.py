"""manualbp replay."""

from __future__ import annotations

from dataclasses import dataclass

import tyro


@dataclass(frozen=True)
class Replay:
    """Repeat the step at which a run's gradients did not agree."""

    run: tyro.conf.Positional[str]
    """Name of the run, or its folder."""
    runs: str = "runs"
    """Folder of all runs."""

    def __call__(self) -> int:
        """Print the report again; status 1 where the gradients still do not agree."""
        from compare.run.replay import replay

        replayed = replay(self.run, runs=self.runs)
        print(replayed)
        return replayed.exit_status
