"""A run's event files for TensorBoard, made again from the lines that are its record of truth.

What follows from them is made anew: curves, texts, the page of charts, hyper-parameters, Figure 2, the confusion
matrix. Histograms and other pictures are in the event files alone: they are taken over from the old ones as far as
these can be read, and so is each point whose line is lost.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.run.curves import NETWORKS
from compare.run.events import PREFIX, EventFile
from compare.run.folder import RUNS, find_run, unwritable
from compare.run.jsonl import Records, read_records
from compare.run.lines import STEPS, is_line, is_table, is_text
from compare.run.old_events import read_old_events
from compare.run.record import RunRecord, drawn, read_metrics
from compare.run.refusal import place
from compare.run.tags import GAPS, is_delta, mismatch_tags


@dataclass(frozen=True)
class Rebuilt:
    """How much was drawn again or kept, and what was too damaged for it."""

    folder: Path
    lines: int
    texts: int
    damaged: int
    pictures: int = 0
    histograms: int = 0
    lost: tuple[str, ...] = ()  # runs of whose old event files something cannot be read

    def __str__(self) -> str:
        text = f"{place(self.folder)}: the points of {self.lines} lines and {self.texts} texts are drawn again"
        if self.pictures or self.histograms:
            text += f"; {self.pictures} pictures and {self.histograms} histograms are kept"
        if self.damaged:
            text += f"; {self.damaged} damaged lines are left out"
        if self.lost:
            text += (
                f"; the old event files of {' and '.join(self.lost)} are missing or damaged: histograms and pictures "
                "that cannot be read there are lost, as no log holds them"
            )
        return text


@dataclass
class _Board:
    """What one of the runs will show: values by step and tag, each with its time."""

    values: dict[tuple[int, str], tuple[float | None, Any]] = field(default_factory=dict)

    def add(self, step: int, summary: Any, time: float | None = None) -> None:
        for value in () if summary is None else summary.value:
            self.values.setdefault((step, value.tag), (time, value))

    def write(self, events: EventFile) -> None:
        """In the order of steps; of one step, in the order in which they came."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        together: dict[tuple[int, float | None], list[Any]] = {}
        for (step, _), (time, value) in self.values.items():
            together.setdefault((step, time), []).append(value)
        for (step, time), values in sorted(together.items(), key=lambda each: each[0][0]):
            events.summary(step, Summary(value=values), at=time)


def rebuild(run: str, runs: Path) -> Rebuilt:
    """Replace the event files of a run, by its name or path, by new ones.

    Points get the time at which they were logged, where `timing.jsonl` has it. Raises `ValueError` where there is no
    such run, another process is writing it, or its folder cannot be written; then the old files are still there.
    """
    folder = find_run(run, runs)
    with RunRecord.reopen(folder):  # its lock: nobody else writes meanwhile
        metrics, written = read_metrics(folder), _read(folder / "text.jsonl")
        lines = [line for line in metrics if is_line(line)]
        texts = [text for text in written if is_text(text)]
        tables = [text for text in texts if is_table(text)]
        damaged = metrics.damaged + written.damaged + len(metrics) - len(lines) + len(written) - len(texts)
        boards = {name: _Board() for name in RUNS}
        times = {line.get("step"): line.get("time") for line in _read(folder / "timing.jsonl")}
        try:
            _points(boards, lines, times)
            _texts(boards["gap"], [text for text in texts if "rows" not in text], times)
            _tables(boards, tables, lines)
            lost, kept = _take_over(boards, folder)
            _about(boards, folder, lines, texts)
            _replace(boards, folder)
        except OSError as error:
            raise unwritable(folder, error) from None
    texts_drawn = len(texts) - len(tables)
    return Rebuilt(folder, len(lines), texts_drawn, damaged, kept["image"], kept["histo"], tuple(lost))


def _points(boards: dict[str, _Board], lines: list[dict[str, Any]], times: Mapping[Any, Any]) -> None:
    from compare.run.summaries import scalars

    for line in lines:
        for name, board in boards.items():
            board.add(line["step"], scalars(drawn(line.get(name, {}))), _number(times.get(line["step"])))


def _texts(board: _Board, texts: list[dict[str, Any]], times: Mapping[Any, Any]) -> None:
    from compare.run.summaries import text

    for each in texts:
        board.add(each["step"], text(each["tag"], each["text"]), _number(times.get(each["step"])))


def _tables(boards: dict[str, _Board], tables: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
    """What is drawn of the tables in text.jsonl."""
    from compare.run.derived import CONFUSION, MISMATCH_GAPS, STILL_WRONG, confusion, still_wrong
    from compare.run.summaries import scalars

    for each in tables:
        step, head, rows = each["step"], each["head"], each["rows"]
        with contextlib.suppress(ValueError, TypeError, IndexError):  # someone else wrote it
            if each["tag"] == CONFUSION:
                boards["manual"].add(step, confusion(head, rows))
            elif each["tag"] == STILL_WRONG:
                boards["manual"].add(step, still_wrong(head, rows))
            elif each["tag"] == MISMATCH_GAPS:
                so_far = {tag: float(value) for line in lines for tag, value in line.get("gap", {}).items()}
                gaps = {str(name): (float(ulps), float(relative)) for name, ulps, relative in rows}
                boards["gap"].add(step, scalars(drawn(mismatch_tags(gaps, so_far))))


def _take_over(boards: dict[str, _Board], folder: Path) -> tuple[list[str], dict[str, int]]:
    """Keep what no log holds; the runs of which something is lost, and how much was kept of each kind."""
    lost, kept = [], {"image": 0, "histo": 0}
    for name, board in boards.items():
        old = read_old_events(folder / name)
        if old.damaged or not old.values:
            lost.append(name)
        for step, time, value in old.values:
            if step in STEPS and (step, value.tag) not in board.values:
                board.values[step, value.tag] = (time, value)
                kind = value.WhichOneof("value")
                if kind in kept:
                    kept[kind] += 1
    return lost, kept


def _about(boards: dict[str, _Board], folder: Path, lines: list[dict[str, Any]], texts: list[dict[str, Any]]) -> None:
    """The page of charts, the config, the hyper-parameters and Figure 2, where the old files do not have them."""
    from compare.run.derived import figure_2, settings
    from compare.run.layout import charts
    from compare.run.summaries import layout, session, session_ended

    gaps = dict.fromkeys(tag for line in lines for tag in line.get("gap", {}))
    starts = [f"{GAPS[group]}/ulp " for group in ("deltas", "parameters")]
    names = [tag.removeprefix(s) for s in starts for tag in gaps if tag.startswith(s) and " worst" not in tag]
    verdicts = [each for each in texts if each["tag"] == "verdict"]
    with contextlib.suppress(OSError, ValueError, TypeError, OverflowError):  # removed, or someone else wrote it
        config = (folder / "config.toml").read_text(encoding="utf-8")
        _add_missing(boards["gap"], 0, settings(config))
        options = tomllib.loads(config).get("config", {})
        classes = any("accuracy/val" in line.get("manual", {}) for line in lines)
        for run in NETWORKS:
            _add_missing(boards[run], 0, *session(options, folder.name, run, classes=classes))
            if verdicts:
                well = verdicts[-1]["text"].startswith(("equal", "within", "not checked"))
                _add_missing(boards[run], verdicts[-1]["step"], session_ended(well=well))
    if names:
        _add_missing(boards["gap"], 0, layout(charts(sorted(names, key=lambda name: not is_delta(name)))))
    curves = [(line["step"], *(line.get("manual", {}).get(f"loss/{t}") for t in ("train", "val"))) for line in lines]
    curves = [each for each in curves if None not in each]
    if len(curves) > 1:
        epochs, training, validation = (list(column) for column in zip(*curves, strict=True))
        _add_missing(boards["manual"], epochs[-1], figure_2(epochs, training, validation))


def _add_missing(board: _Board, step: int, *summaries: Any) -> None:
    """Add values whose tags the board has at no step."""
    there = {tag for _, tag in board.values}
    for summary in summaries:
        if not there & {value.tag for value in summary.value}:
            board.add(step, summary)


def _replace(boards: dict[str, _Board], folder: Path) -> None:
    """Write new files and remove the old ones. Raises `OSError`, and leaves the old ones where they were."""
    old = [path for name in RUNS for path in (folder / name).iterdir() if path.name.startswith(PREFIX)]
    new: list[Path] = []
    try:
        for name, board in boards.items():
            with contextlib.closing(EventFile(folder / name)) as events:
                new.append(events.path)
                board.write(events)
    except OSError:
        for path in new:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    for path in old:  # until here, the new ones supersede them already
        with contextlib.suppress(OSError):
            os.unlink(path)


def _read(path: Path) -> Records:
    """The intact lines of a log that may have been removed."""
    try:
        return read_records(path)
    except ValueError:
        return Records()


def _number(time: Any) -> float | None:
    return float(time) if isinstance(time, int | float) else None
