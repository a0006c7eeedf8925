"""Files that people write by hand, or a run beside its logs: settings, weights, a table of grades. Read whole."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 4 * 2**20


def read_small(path: str | Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file of at most `max_bytes`.

    Raises `OSError`, its `strerror` in words for a user, for anything else: opening a pipe would wait for ever, and
    a device has no end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        if status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"holds {status.st_size:,} bytes, the limit is {max_bytes:,}", str(path))
        return file.read(max_bytes)
