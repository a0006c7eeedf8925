"""What can still be read of a run's event files, whatever happened to them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.run.crc32c import masked_crc32c
from compare.run.events import PREFIX

HEAD, FOOT = 12, 4  # bytes around an event: its length with a checksum, and its own checksum


@dataclass
class OldEvents:
    """The values that TensorBoard would show, in their order: step, time and value; and how many events are lost."""

    values: list[tuple[int, float, Any]] = field(default_factory=list)
    damaged: int = 0


def read_old_events(folder: Path) -> OldEvents:
    """Every intact value of the event files in `folder` that no later file supersedes. Raises `OSError`."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    found = OldEvents()
    for path in sorted(path for path in folder.iterdir() if path.name.startswith(PREFIX)):
        for piece in _records(path.read_bytes()):
            try:
                event = None if piece is None else Event.FromString(piece)
            except DecodeError:
                event = None
            if event is None:
                found.damaged += 1
            elif event.HasField("session_log") and event.session_log.status == SessionLog.START:
                found.values = [kept for kept in found.values if kept[0] < event.step]
            else:
                found.values += [(event.step, event.wall_time, value) for value in event.summary.value]
    return found


def _records(content: bytes) -> Iterator[bytes | None]:
    """Each whole event; None for one that is damaged. Nothing can be found after a length that is damaged."""
    at = 0
    while at < len(content):
        head = content[at : at + HEAD]
        length = int.from_bytes(head[:8], "little")
        end = at + HEAD + length + FOOT
        if len(head) < HEAD or head[8:] != struct.pack("<I", masked_crc32c(head[:8])) or end > len(content):
            yield None
            return
        data = content[at + HEAD : end - FOOT]
        yield data if content[end - FOOT : end] == struct.pack("<I", masked_crc32c(data)) else None
        at = end
