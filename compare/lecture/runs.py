"""Training runs that statements share: each is done once, and kept for TensorBoard where there is a folder for it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.run.config import TrainConfig


class RunRefused(ValueError):
    """A run cannot be kept where it was asked for: an error of usage, not a finding about the lecture."""


@dataclass
class Runs:
    """What has been run so far. Without `folder` the logs of a run are thrown away."""

    folder: Path | None = None
    overwrite: bool = False
    done: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, run: Callable[[], Any]) -> Any:
        """The result of `run`, computed at the first call."""
        if name not in self.done:
            self.done[name] = run()
        return self.done[name]

    def train(self, name: str, config: TrainConfig, **options: Any) -> Any:
        """`compare.run.train.train` on one thread of the CPU, as the run `lecture-NAME`, once."""

        def run() -> Any:
            from compare.run.train import train

            self.refuse_taken(f"lecture-{name}")
            with tempfile.TemporaryDirectory() as scratch:
                place = {"runs": str(self.folder or scratch), "name": f"lecture-{name}", "overwrite": self.overwrite}
                return train(dataclasses.replace(config, device="cpu", threads=1, **place), **options)  # type: ignore[arg-type]

        return self.once(name, run)

    def refuse_taken(self, names: str) -> None:
        """Raise RunRefused where the folder is none, or holds a run of these names (a glob) that is to stay."""
        if self.folder is None:
            return
        if self.folder.exists() and not (self.folder.is_dir() and os.access(self.folder, os.W_OK)):
            raise RunRefused(f"--runs {self.folder}: is not a folder that can be written to; choose another one")
        if not self.overwrite:
            for taken in sorted(self.folder.glob(names)):
                raise RunRefused(
                    f"{taken}: this run exists already; replace it with --overwrite, or choose another --runs"
                )
