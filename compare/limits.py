"""What a child may use, and the error where a request to it gets no result."""

from __future__ import annotations

import os
from dataclasses import dataclass
from signal import Signals
from typing import Literal

Kind = Literal["timeout", "memory", "output", "crash", "raised", "protocol"]
MAX_WRITTEN = 64 * 2**20  # bytes of output that end a child


@dataclass(frozen=True)
class Limits:
    """What one child may use."""

    seconds: float = 60.0  # wall clock, for each request
    memory: int = (
        4 * 2**30
    )  # resident bytes of the child (torch alone: 2**28) and its descendants; the size of one file
    output: int = 2**20  # bytes of standard output and error that are kept; what follows is dropped
    processes: int = 128  # alive at one time

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "output", "processes"):
            value = getattr(self, name)
            if not value >= 0:  # NaN is refused too
                raise ValueError(f"the limit on {name} must not be negative, received {value}")


class Failure(Exception):
    """A request that got no result.

    `kind` is what happened: "raised" is an exception of the user's code, after which the child still answers; after
    "timeout", "memory", "output", "crash" and "protocol" it has been ended. `message` is one printable line, `where`
    the user's file and line (`hw.py:41`) where that is known, `output` what the user's code printed.
    """

    def __init__(self, kind: Kind, message: str, where: str = "", output: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.kind, self.message, self.where, self.output = kind, message, where, output


class Captured:
    """What a child prints: the first `most` bytes, and the number of those that were dropped."""

    def __init__(self, fd: int, most: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.most = most
        self.written = 0
        self._kept = bytearray()

    def read(self) -> bool:
        """Takes what has been printed by now; False where no process can print any more.

        It stops a little past `MAX_WRITTEN`, so that a process which never ceases to print cannot hold it up.
        """
        try:
            while self.written <= MAX_WRITTEN:
                piece = os.read(self.fd, 2**16)
                if not piece:
                    return False
                self.written += len(piece)
                self._kept += piece[: max(0, self.most - len(self._kept))]
        except BlockingIOError:
            pass
        return True

    def text(self) -> str:
        """The output with control characters escaped, so that it can be shown on a terminal."""
        text = self._kept.decode("utf-8", "replace")
        text = "".join(
            c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text
        )
        dropped = self.written - len(self._kept)
        return f"{text}\n[{dropped:,} more bytes of output]\n" if dropped else text


def ending(code: int) -> str:
    """How a child ended that should not have, by the exit code that `os.waitstatus_to_exitcode` gives."""
    if code >= 0:
        return f"the code ended its process with exit status {code} before it answered"
    name = Signals(-code).name if -code in set(Signals) else f"signal {-code}"
    return f"the code's process was killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
