"""The folder of one training run: what is logged, so that it can be looked at while and after the run goes on.

runs/NAME/metrics.jsonl    the scalars of both runs and their gap as float64, one line a step; the record of truth
runs/NAME/timing.jsonl     what differs between machines and repetitions
runs/NAME/text.jsonl       the verdict and other texts, and the numbers behind pictures
runs/NAME/config.toml      config, versions, engine, threads
runs/NAME/{manual,autograd,gap}/   the same for TensorBoard, which overlays equal tags
runs/NAME/checkpoints/     what the run can go on from, see `compare.run.checkpoint`
"""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from compare.run.events import EventFile
from compare.run.folder import BUSY, LOGS, METRICS, RUNS, busy, hidden_folder, publish, refuse_taken, unwritable
from compare.run.jsonl import GrowingFile, Records, damaged_lines, encode_line, read_records, with_numbers
from compare.run.machine import machine, versions
from compare.run.refusal import escaped, place, shown
from compare.run.toml_file import to_toml

RELATIVE = "/relative "  # in the tags of gaps that are relative to a gradient's size
LOG10_FLOOR = -20.0  # four decades under float64's rounding, so that no gap is drawn apart from the smallest one


class RunRecord:
    """The logs of one run, open for writing; made by `create` or `reopen`, closed by `close` or the end of a `with`.

    Nothing that a disk does ends a training run: where a write fails, `on_warning` gets one line, once, `complete`
    becomes False, and every later write is still tried.
    """

    path: Path
    complete: bool

    def __init__(self, path: Path, on_warning: Callable[[str], None]) -> None:
        """Open the logs in the folder `path` and lock them. Raises `OSError`; use `create` or `reopen`."""
        self.path = path
        self.complete = True
        self._on_warning = on_warning
        self._events: dict[str, EventFile] = {}
        with contextlib.ExitStack() as opened:  # closes what was opened if a later one fails
            self._logs = {name: opened.enter_context(contextlib.closing(GrowingFile(path / name))) for name in LOGS}
            # before the folders that make this a run's folder: so none can be removed under its writer's hands
            if not self._logs[METRICS].lock():
                raise BlockingIOError(None, BUSY)
            self._opened = opened.pop_all()

    @classmethod
    def create(
        cls,
        root: Path,
        name: str | None,
        data_name: str,
        config: Mapping[str, Any],
        *,
        overwrite: bool,
        engine: str = "reference",
        device: str | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> Self:
        """A new run in the folder `root/name`, for this process alone; see `publish` for names and `overwrite`.

        `config` holds what `to_toml` can write; `engine` and `device` are those in use, where the config may say
        "auto". `on_warning` gets the one line about logs that cannot be written; it is printed to stderr by default.
        Raises `ValueError` for a name that is taken or not a plain file name, and for a folder that cannot be written.
        """
        settings = to_toml({"config": config, "versions": versions(), "machine": _described(engine, device)})
        refuse_taken(root, name, overwrite=overwrite)
        prepared = hidden_folder(root)
        record = None
        try:
            (prepared / "config.toml").write_text(settings, encoding="utf-8", newline="\n")
            record = cls(prepared, on_warning or _print_warning)
            for run in RUNS:
                (prepared / run).mkdir()
            record._draw_from(0)
            record.path = publish(prepared, name, data_name, overwrite=overwrite)
        except BaseException as error:
            if record is not None:
                record.close()
            shutil.rmtree(prepared, ignore_errors=True)  # this process has just made it
            if isinstance(error, OSError):
                raise unwritable(root, error) from None
            raise
        return record

    @classmethod
    def reopen(cls, path: Path, *, on_warning: Callable[[str], None] | None = None) -> Self:
        """The record of the run in the folder `path`, to be continued by this process alone; `rewind` comes next.

        Raises `ValueError` where another process writes it, at once, or it cannot be written.
        """
        try:
            return cls(path, on_warning or _print_warning)
        except BlockingIOError:
            raise busy(path) from None
        except OSError as error:
            raise unwritable(path, error) from None

    def rewind(self, sizes: Mapping[str, int], first_step: int, *, complete: bool) -> None:
        """Take back what was logged after `sizes` were those of the logs, as `sync` gave them.

        TensorBoard's points at `first_step` and after it are superseded. `complete` says whether the logs were
        complete then. Lines that are not there any more, or are damaged, are told in one warning. Raises `ValueError`
        where the folder cannot be written.
        """
        self.complete = complete
        try:
            whole = [log.rewind(sizes.get(name, 0)) for name, log in self._logs.items()]
            damaged = damaged_lines(self.path / METRICS)
            self._draw_from(first_step)
        except OSError as error:
            raise unwritable(self.path, error) from None
        if damaged or not all(whole):
            lost = f"{damaged} damaged lines" if damaged else "lines missing"
            self._warn(f"{place(self.path / METRICS)}: {lost} before the checkpoint; the logs are incomplete")

    def sync(self) -> dict[str, int]:
        """Force the logs to the disk; their sizes in bytes, by name. Never raises."""
        for name, log in self._logs.items():
            with self.surviving(name, None):
                log.sync()
        return {name: log.size for name, log in self._logs.items()}

    def scalars(self, step: int, values: Mapping[str, Mapping[str, float]]) -> None:
        """Log `{run: {tag: value}}` at `step`, for runs among "manual", "autograd" and "gap".

        `metrics.jsonl` gets one line with the float64 values. TensorBoard gets them as float32, and instead of a
        relative gap, a gradient's norm and an update's size their log10 (`.../log10 ...`, see `log10_gap`).
        """
        unknown = values.keys() - set(RUNS)
        if unknown:
            raise ValueError(f"a run is one of {', '.join(RUNS)}, got {shown(str(min(unknown)))}")
        numbers = {run: {tag: float(value) for tag, value in tags.items()} for run, tags in values.items()}
        self._log(METRICS, step, numbers)
        for run, tags in numbers.items():
            with self.surviving(run, step):
                self._events[run].scalars(step, drawn(tags))

    def drawing(self, run: str, step: int, *summaries: Any) -> None:
        """Give TensorBoard what `compare.run.summaries` made; `metrics.jsonl` gets none of it."""
        if summaries:
            together = summaries[0]
            for summary in summaries[1:]:
                together.MergeFrom(summary)
            with self.surviving(run, step):
                self._events[run].summary(step, together)

    def table(self, step: int, tag: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log the numbers behind a picture."""
        text = f"a table of {len(rows)} rows"
        self._log(
            "text.jsonl", step, {"tag": tag, "text": text, "head": list(head), "rows": [list(row) for row in rows]}
        )

    def timing(self, step: int, values: Mapping[str, Any]) -> None:
        """Log what differs between machines and repetitions, such as seconds; the wall-clock time is added."""
        self._log("timing.jsonl", step, {"time": time.time(), **values})

    def text(self, tag: str, text: str, *, step: int = 0) -> None:
        """Log a text, such as the verdict; TensorBoard shows it as Markdown, in the run "gap"."""
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")  # a path in it can hold what is no UTF-8
        self._log("text.jsonl", step, {"tag": tag, "text": text})
        with self.surviving("gap", step):
            self._events["gap"].text(step, tag, text)

    def close(self) -> None:
        """Close the logs; never raises."""
        with self.surviving("", None):
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _log(self, name: str, step: int, record: Mapping[str, Any]) -> None:
        with self.surviving(name, step):
            self._logs[name].append(encode_line({"step": int(step), **record}))

    @contextlib.contextmanager
    def surviving(self, name: str, step: int | None) -> Iterator[None]:
        """Turn a failed write of `name` in the run's folder into the one warning."""
        try:
            yield
        except OSError as error:
            since = "" if step is None else f" from step {step} on"
            reason = escaped(error.strerror or str(error))
            self._warn(
                f"{place(self.path / name)}: cannot be written ({reason}); the logs are incomplete{since}, "
                "training goes on"
            )

    def _warn(self, line: str) -> None:
        first, self.complete = self.complete, False
        if first:
            self._on_warning(line)

    def _draw_from(self, first_step: int) -> None:
        """Start an event file for each run, whose points from `first_step` on supersede those of earlier files."""
        for run in RUNS:
            self._events[run] = self._opened.enter_context(contextlib.closing(EventFile(self.path / run, first_step)))


def log10_gap(gap: float) -> float:
    """log10 of a size, for a chart: none at all, as any under 1e-20, is drawn at -20; NaN stays NaN."""
    return max(math.log10(gap), LOG10_FLOOR) if gap else LOG10_FLOOR


def read_metrics(path: Path) -> Records:
    """The lines of a run's `metrics.jsonl`, given that file or the run's folder.

    Each is `{"step": 3, "manual": {tag: value}, "autograd": {...}, "gap": {...}}`. Lines that a crash cut short or a
    disk damaged are skipped; `.damaged` of the list counts them. Raises `ValueError` where there is no such file.
    """
    records = read_records(path / METRICS if path.is_dir() else path)
    records[:] = [with_numbers(record) for record in records]
    return records


def _print_warning(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr can be a full disk too, or closed
        print(f"warning: {line}", file=sys.stderr, flush=True)


def drawn(tags: Mapping[str, float]) -> dict[str, float]:
    """What TensorBoard draws of `tags`: powers of ten for what spans many of them."""
    shown = {}
    for tag, value in tags.items():
        place = _logarithmic(tag)
        shown[place or tag] = log10_gap(value) if place else value
    return shown


@functools.cache
def _logarithmic(tag: str) -> str:
    """The tag under which log10 of a number is drawn; empty where the number itself is."""
    group, _, rest = tag.partition("/")
    if RELATIVE in tag or group in ("gradient norm", "update to weight"):
        return f"{group}/log10 {rest}"
    return ""


def _described(engine: str, device: str | None) -> dict[str, Any]:
    return {name: fact for name, fact in machine(engine, device).items() if name not in ("torch", "numpy")}
