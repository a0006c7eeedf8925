"""When a checkpoint is due: `--checkpoint-every epoch | off | N | "N epochs"`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

SPACING = 1.0  # seconds between two checkpoints of "epoch": epochs of milliseconds would else wait for the disk
_FORM = re.compile(r"(\d+)(?: ?(steps?|epochs?))?", re.ASCII)


@dataclass
class Rhythm:
    """Counts from the last checkpoint on. Every `steps` steps, every `epochs` epochs, or, with neither, never.

    `spaced`: an epoch's checkpoint waits until the last one is a second old.
    """

    steps: int = 0
    epochs: int = 0
    spaced: bool = False
    _at: float = field(default=0.0, init=False)
    _step: int = field(default=0, init=False)
    _epoch: int = field(default=0, init=False)

    @property
    def off(self) -> bool:
        """Whether there are to be no checkpoints at all."""
        return not self.steps and not self.epochs

    def due(self, step: int, epoch: int) -> bool:
        """Whether a checkpoint is due after `step` steps and `epoch` whole epochs."""
        if self.steps:
            return step - self._step >= self.steps
        if not self.epochs or epoch - self._epoch < self.epochs:
            return False
        return not self.spaced or time.monotonic() - self._at >= SPACING

    def left(self, step: int) -> int | None:
        """Steps from here until a checkpoint is due, at least 1; None where no step makes it due."""
        return max(self._step + self.steps - step, 1) if self.steps else None

    def saved(self, step: int, epoch: int) -> None:
        """A checkpoint has been tried then."""
        self._at, self._step, self._epoch = time.monotonic(), step, epoch


def rhythm(every: int | str) -> Rhythm:
    """The rhythm of an option. Raises `ValueError` for anything else."""
    if every == "off":
        return Rhythm()
    if every == "epoch":
        return Rhythm(epochs=1, spaced=True)
    match = _FORM.fullmatch(str(every)) if not isinstance(every, bool) else None
    number = int(match[1]) if match is not None and len(match[1]) < 19 else 0
    if match is None or number < 1:
        raise ValueError(
            f'--checkpoint-every is {every!r}; choose epoch, off, a number of steps such as 500, or "5 epochs"'
        )
    return Rhythm(epochs=number) if (match[2] or "").startswith("epoch") else Rhythm(steps=number)
