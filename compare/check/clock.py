"""How long a check has worked: in processor time, so that on a busy machine no fewer conditions are tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

PATIENCE = 4.0  # wall-clock seconds that count as one of the processor: code that sleeps or waits comes to an end too


class Clock:
    """Runs from when it is made. `processor` tells the processor seconds that were used, `end` the wall-clock seconds
    after which there is no time left at all.
    """

    def __init__(self, processor: Callable[[], float] = time.process_time, end: float = math.inf) -> None:
        self._processor, self._end = processor, end
        self._wall, self._used = time.monotonic(), processor()

    @property
    def wall(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._wall

    @property
    def spent(self) -> float:
        """The lesser of wall-clock and processor time (several threads use more of it than passes), with a backstop."""
        if self.wall > self._end:
            return math.inf
        return max(min(self.wall, self._processor() - self._used), self.wall / PATIENCE)


def waiting() -> Clock:
    """A clock by the wall, for work that other processes do."""
    return Clock(time.monotonic)
