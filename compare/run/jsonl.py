"""Files that only grow, and lines of JSON in them that each carry a checksum.

A line is `{"step":3,...,"crc32":"89abcdef"}`: plain JSON for any parser. The checksum is that of the bytes before
`,"crc32"`, so that a reader skips a line that was cut short or damaged instead of believing it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compare.run.refusal import place, refusal

if sys.platform != "win32":
    import fcntl

LOCK_SECONDS = 0.2
BLOCK = 2**16  # bytes that are looked at for a line end at once
LONGEST_LINE = 2**24  # bytes; a file without line ends must not fill the memory
_LINE = re.compile(rb'(\{.*),"crc32":"([0-9a-f]{8})"\}\r?\n?', re.DOTALL)
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class GrowingFile:
    """A file that grows by whole pieces, each in the operating system's hands when `append` returns.

    A process that is killed loses nothing that it appended. A piece that could be written only in part, as on a full
    disk, is cut off again, so that the file stays readable and later pieces can follow.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0, opener=_open_itself)  # noqa: SIM115 - closed by close()
        self._size = self._file.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Bytes that were appended whole."""
        return self._size

    def lock(self) -> bool:
        """Whether this process is now the file's only writer; the lock ends with the process, however it ends.

        Another's lock is waited for a moment: who only asks whether a run is being written holds it as long as that.
        """
        if sys.platform == "win32":
            return True
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(LOCK_SECONDS / 10)
            except OSError:
                return True  # a file system without locks: what remains is that a run's folder is made only once

    def append(self, piece: bytes) -> None:
        """Append all of `piece`, or nothing and raise `OSError`; a file that was deleted raises it too."""
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise FileNotFoundError("it was removed")
        try:
            written = self._file.write(piece)
            while written < len(piece):
                written += self._file.write(piece[written:])
        except BaseException:  # Ctrl-C can fall between two halves as well
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(piece)

    def sync(self) -> None:
        """Force what was appended to the disk. Raises `OSError`."""
        os.fsync(self._file.fileno())

    def rewind(self, size: int) -> bool:
        """Cut the file to its first `size` bytes, which end a line; whether they were all there.

        Where they are not, it is cut to the last whole line among them, so that what follows starts a line.
        """
        end = min(size, self._size)
        with open(self._file.name, "rb") as file:
            while end:
                start = max(0, end - BLOCK)
                file.seek(start)
                last = file.read(end - start).rfind(b"\n")
                end = start + last + 1
                if last >= 0:
                    break
        self._file.truncate(end)
        self._size = end
        return end == size

    def close(self) -> None:
        """Close the file; a write that a network file system had put off can raise `OSError` here."""
        self._file.close()


def _open_itself(path: str, flags: int) -> int:
    """Open a file, and never what a symbolic link of that name leads to: others can make a run's folder too."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)


def encode_line(record: Mapping[str, Any]) -> bytes:
    """`record`, not empty, as one line of JSON with its checksum.

    Non-finite numbers become the strings "nan", "inf" and "-inf", as JSON has none; what is no JSON value is taken as
    a number (a tensor of one element, a NumPy scalar). A float is written so that it reads back bit for bit.
    """
    try:  # most records are JSON's own already, which is known sooner by writing it
        text = json.dumps(record, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        text = json.dumps(plain(record), allow_nan=False, separators=(",", ":"))
    body = text[:-1].encode()
    return b'%b,"crc32":"%08x"}\n' % (body, zlib.crc32(body))


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The record of one line without its checksum, or None where the line is damaged or cut short."""
    match = _LINE.fullmatch(line)
    if match is None or zlib.crc32(match[1]) != int(match[2], 16):
        return None
    try:
        record: dict[str, Any] = json.loads(match[1] + b"}")
    except (ValueError, RecursionError):  # someone else wrote the line, with a checksum that fits
        return None
    return record


class Records(list[dict[str, Any]]):
    """The records of a file in their order; `damaged` is the number of lines that were skipped."""

    damaged: int = 0


def read_records(path: Path) -> Records:
    """Every intact record of a file of such lines; damaged lines are skipped and counted.

    Raises `ValueError` where the file cannot be read at all.
    """
    records = Records()
    for record in _decoded(path):
        if record is None:
            records.damaged += 1
        else:
            records.append(record)
    return records


def damaged_lines(path: Path) -> int:
    """How many lines of a file of such lines are damaged. Raises `ValueError` where it cannot be read at all."""
    return sum(record is None for record in _decoded(path))


def _decoded(path: Path) -> Iterator[dict[str, Any] | None]:
    if not path.is_file():  # a pipe would have no end
        raise refusal(place(path), "no such file", "check the name of the run")
    try:
        with open(path, "rb") as file:
            while line := file.readline(LONGEST_LINE):
                yield decode_line(line)
    except OSError as error:
        raise refusal(place(path), f"cannot be read ({error.strerror})", "check its permissions") from None


def with_numbers(value: Any) -> Any:
    """`value` with the strings "nan", "inf" and "-inf" as the numbers that they stand for."""
    if isinstance(value, dict):
        return {key: with_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """`value` in JSON's own types; see `encode_line`."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)
