"""Saves a run's state when that is due; a disk that fails costs a warning and never the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compare.run.checkpoint import CHECKPOINTS, save_checkpoint
from compare.run.config import TrainConfig
from compare.run.finite import entries_finite
from compare.run.record import RunRecord
from compare.run.rhythm import rhythm
from compare.run.state import freeze

if TYPE_CHECKING:
    from compare.run.loop import Loop


class Keeper:
    """The checkpoints of one run. `about` is what a checkpoint says of the run as a whole; see `compare.run.resume`."""

    def __init__(self, config: TrainConfig, record: RunRecord, about: Mapping[str, Any]) -> None:
        self.record, self.about = record, about
        self.keep = config.checkpoint_keep
        self.rhythm = rhythm(config.checkpoint_every)
        self._last: tuple[int, int] | None = None  # step and number of evaluations of the newest checkpoint

    def due(self, loop: Loop) -> bool:
        """Whether it is time for a checkpoint; asked between two steps."""
        return self.rhythm.due(loop.done, loop.epoch - bool(loop.position))

    def save(self, loop: Loop) -> None:
        """Save the state of a loop between two steps, unless it is the one saved last.

        A state with a number that is not finite is not kept: it would push out those before it.
        """
        now = (loop.done, len(loop.curves.epochs))
        if self.rhythm.off or now == self._last or not entries_finite(loop.pair.state().values()):
            return
        self.rhythm.saved(loop.done, loop.epoch - bool(loop.position))
        state = {"about": self.about, "logs": self.record.sync(), "complete": self.record.complete}
        with self.record.surviving(CHECKPOINTS, loop.epoch):
            save_checkpoint(self.record.path, freeze(loop, state), keep=self.keep)
            self._last = now

    def went_on(self, loop: Loop) -> None:
        """The loop has just been put into the state of a checkpoint."""
        self.rhythm.saved(loop.done, loop.epoch - bool(loop.position))
        self._last = (loop.done, len(loop.curves.epochs))
