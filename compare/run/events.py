"""TensorBoard's event files, written one whole record at a time in the thread that calls.

`torch.utils.tensorboard.SummaryWriter` writes the same records in a thread of its own, where a full disk prints a
traceback and is raised again at an unrelated call later. Here it is an `OSError` at once, from the call that failed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.run.crc32c import masked_crc32c
from compare.run.jsonl import GrowingFile

PREFIX = "events.out.tfevents."  # how TensorBoard knows an event file


class EventFile:
    """One new event file in `folder`; a folder must have one writer at a time, or TensorBoard loses events.

    Events at `first_step` and after it that earlier files of this folder hold are superseded. The first file of a
    folder says so too (with 0): otherwise TensorBoard's slower reader (`--load_fast=false`) would show the old points
    of a continued run next to the new ones.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        # imported here: this module must not make `import compare` slow
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._event = Event
        self._tags: tuple[str, ...] = ()
        self._scalars = Event()  # the last event of scalars: the next one mostly has the same tags
        self.path = folder / f"{PREFIX}{_later(folder):.6f}.{os.getpid()}"
        self._file = GrowingFile(self.path)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._write(Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float], *, at: float | None = None) -> None:
        """Append `values` by tag at `step`, and at the time `at` (default: now); TensorBoard keeps them as float32.

        Raises `OSError`.
        """
        if self._tags != (tags := tuple(values)):
            self._tags, self._scalars = tags, self._event()
            for tag in tags:
                self._scalars.summary.value.add(tag=tag)
        event = self._scalars
        event.wall_time, event.step = time.time() if at is None else at, step
        for entry, value in zip(event.summary.value, values.values(), strict=True):
            entry.simple_value = value
        self._write(event)

    def text(self, step: int, tag: str, text: str, *, at: float | None = None) -> None:
        """Append `text`, which TensorBoard shows as Markdown, at `step`. Raises `OSError`."""
        from compare.run.summaries import text as made

        self.summary(step, made(tag, text), at=at)

    def summary(self, step: int, summary: Any, *, at: float | None = None) -> None:
        """Append a TensorBoard `Summary` of any kind at `step`. Raises `OSError`."""
        self._write(self._event(wall_time=time.time() if at is None else at, step=step, summary=summary))

    def close(self) -> None:
        """Close the file. Raises `OSError` where a delayed write fails."""
        self._file.close()

    def _write(self, event: Any) -> None:
        self._file.append(_record(event.SerializeToString()))


def _later(folder: Path) -> float:
    """Now, or just after the newest event file of a folder where the clock has gone back.

    The order of the names is the order in which TensorBoard reads the files.
    """
    latest = 0.0
    for name in os.listdir(folder):
        with contextlib.suppress(ValueError):
            latest = max(latest, float(name.removeprefix(PREFIX).rpartition(".")[0]))
    return max(time.time(), latest + 1e-6)


def _record(data: bytes) -> bytes:
    """`data` as TensorBoard reads it: its length and their checksums, the numbers in little-endian."""
    length = len(data).to_bytes(8, "little")
    return b"%b%b%b%b" % (length, _checksum(length), data, _checksum(data))


def _checksum(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")
