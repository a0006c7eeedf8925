"""A run's event files for TensorBoard, made again from the lines that are its record of truth."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.run.events import PREFIX, EventFile
from compare.run.folder import RUNS, find_run, unwritable
from compare.run.jsonl import Records, read_records
from compare.run.record import RunRecord, drawn, read_metrics
from compare.run.refusal import place

STEPS = range(2**63)  # that an event can hold


@dataclass(frozen=True)
class Rebuilt:
    """How much was drawn again, and how many lines were too damaged for it."""

    folder: Path
    lines: int
    texts: int
    damaged: int

    def __str__(self) -> str:
        lost = f"; {self.damaged} damaged lines are left out" if self.damaged else ""
        return f"{place(self.folder)}: the points of {self.lines} lines and {self.texts} texts are drawn again{lost}"


def rebuild(run: str, runs: Path) -> Rebuilt:
    """Replace the event files of a run, by its name or path, by new ones out of `metrics.jsonl` and `text.jsonl`.

    Points get the time at which they were logged, where `timing.jsonl` has it. Raises `ValueError` where there is no
    such run, another process is writing it, or its folder cannot be written; then the old files are still there.
    """
    folder = find_run(run, runs)
    with RunRecord.reopen(folder):  # its lock: nobody else writes meanwhile
        metrics, texts = read_metrics(folder), _read(folder / "text.jsonl")
        damaged = metrics.damaged + texts.damaged
        lines = [line for line in metrics if _is_line(line)]
        written = [text for text in texts if _is_text(text)]
        damaged += len(metrics) - len(lines) + len(texts) - len(written)
        times = {line.get("step"): line.get("time") for line in _read(folder / "timing.jsonl")}
        old = [path for name in RUNS for path in (folder / name).iterdir() if path.name.startswith(PREFIX)]
        new: list[Path] = []
        try:
            for name in RUNS:
                with contextlib.closing(EventFile(folder / name)) as events:
                    new.append(events.path)
                    for line in lines:
                        events.scalars(line["step"], drawn(line.get(name, {})), at=_number(times.get(line["step"])))
                    for text in written if name == "gap" else ():
                        events.text(text["step"], text["tag"], text["text"], at=_number(times.get(text["step"])))
        except OSError as error:
            for path in new:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise unwritable(folder, error) from None
        for path in old:  # until here, the new ones supersede them already
            with contextlib.suppress(OSError):
                os.unlink(path)
    return Rebuilt(folder, len(lines), len(written), damaged)


def _read(path: Path) -> Records:
    """The intact lines of a log that may have been removed."""
    try:
        return read_records(path)
    except ValueError:
        return Records()


def _is_line(line: Mapping[str, Any]) -> bool:
    """Whether an intact line is one of numbers by run and tag, as everything that `scalars` logs."""
    tables = [line.get(name, {}) for name in RUNS]
    return _is_step(line.get("step")) and all(
        isinstance(table, dict) and all(isinstance(value, int | float) for value in table.values()) for table in tables
    )


def _is_text(line: Mapping[str, Any]) -> bool:
    return _is_step(line.get("step")) and isinstance(line.get("tag"), str) and isinstance(line.get("text"), str)


def _is_step(step: Any) -> bool:
    return isinstance(step, int) and step in STEPS


def _number(time: Any) -> float | None:
    return float(time) if isinstance(time, int | float) else None
