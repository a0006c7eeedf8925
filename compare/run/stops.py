"""Ctrl-C and SIGTERM during a run: taken between two steps, so that what is saved then is the state of a whole step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

SAME = 0.3
STATUS = 128  # of a process that a signal ended: 128 and the signal's number


class StopAsked(KeyboardInterrupt):
    """A signal asked the run to end; `exit_status` is 130 for Ctrl-C and 143 for SIGTERM."""

    def __init__(self, exit_status: int) -> None:
        super().__init__()
        self.exit_status = exit_status


class Stops:
    """While it is entered, a first signal is kept for `raise_if_asked`; a later one is raised at once.

    One that follows within `SAME` seconds is the same request: `timeout` signals its child, and then its whole group.

    Where the process does not handle a signal in Python (it is ignored, as under nohup, or left to the system), or
    this is not the main thread, signals are left as they are.
    """

    def __init__(self) -> None:
        self._asked, self._at = 0, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_if_asked(self) -> None:
        """Raises `StopAsked` once a signal has come."""
        if self._asked:
            raise StopAsked(STATUS + self._asked)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked, self._at = number, time.monotonic()
        elif time.monotonic() - self._at > SAME:
            raise StopAsked(STATUS + number)
