"""Whom a run tells how it goes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compare.run.config import TrainConfig
from compare.run.history import EpochReport


@dataclass(frozen=True)
class Plan:
    """What is about to be trained."""

    config: TrainConfig
    data: str
    network: str
    device: str
    folder: Path
    notes: list[str]
    engine: str = ""  # why it was chosen
    from_step: int | None = None  # of a run that is continued


class Watcher(Protocol):
    """Whom a run tells how it goes."""

    def started(self, plan: Plan) -> None:
        """All is loaded and the run's folder is there."""

    def evaluated(self, report: EpochReport) -> None:
        """After an epoch; the first is epoch 0, before training."""

    def warned(self, line: str) -> None:
        """Something that does not end the run."""


@dataclass(frozen=True)
class Calling:
    """Tells a function of each evaluation."""

    callback: Callable[[EpochReport], None] | None

    def started(self, plan: Plan) -> None:
        """Nobody is told."""

    def evaluated(self, report: EpochReport) -> None:
        """Call the function."""
        if self.callback is not None:
            self.callback(report)

    def warned(self, line: str) -> None:
        """A warning of Python's."""
        warnings.warn(line, RuntimeWarning, stacklevel=2)
