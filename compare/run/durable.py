"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TEMPORARY = ".new"  # what the name of a file ends in while it is written


def write_durably(path: Path, content: bytes) -> None:
    """Make `content` the file `path`. A crash or a power cut at any moment leaves the old file or the new one.

    The bytes go to a file of another name in the same folder, are forced to the disk, and get their name by a rename,
    which replaces an old file in one step; then the folder is forced to the disk too. Raises `OSError`, and then
    leaves `path` as it was and nothing beside it.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk. Raises `OSError`."""
    if os.name == "nt":  # Windows cannot open a folder, and keeps its names by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
