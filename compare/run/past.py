"""A run that was recorded, read back from its folder: finished, stopped, or still going on."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from compare.run.folder import find_run
from compare.run.history import History, Verdict, best_epoch, overfitting_epoch
from compare.run.jsonl import read_records, with_numbers
from compare.run.lines import is_line, is_table, is_text, is_timing
from compare.run.record import read_metrics
from compare.run.refusal import escaped, place, refusal
from compare.small_file import read_small

UNFINISHED = "no verdict yet: the run goes on, or was killed"


@dataclass(frozen=True)
class PastTable:
    """The numbers behind a picture, at the last epoch at which they were logged."""

    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class PastRun:
    """What a run's folder holds. Text in it is escaped: it may be printed."""

    name: str
    folder: Path
    config: dict[str, Any]
    versions: dict[str, Any]
    machine: dict[str, Any]
    texts: dict[str, str]  # "network", "verdict", "mismatch", "what is computed"
    tables: dict[str, PastTable]
    epochs: list[int]
    history: History  # every list as long as `epochs`; None where a tag has no value yet
    seconds: float
    steps: list[int]  # done at each epoch
    damaged: int  # lines that could not be read
    mismatch: tuple[int, float] | None = None  # its epoch and its gap, relative to the gradient

    @property
    def verdict_text(self) -> str:
        """The verdict in one line."""
        return self.texts.get("verdict", UNFINISHED)

    @property
    def verdict(self) -> str:
        """The verdict in a few words; empty where there is none yet."""
        start = self.verdict_text.partition(" until then ")[2] or self.verdict_text
        return next((kind for kind in get_args(Verdict) if start.startswith(kind)), "")

    @property
    def ok(self) -> bool:
        """Whether the run's gradients agreed."""
        return self.verdict in ("equal bit for bit", "within the noise floor")

    @property
    def best_epoch(self) -> int | None:
        """The epoch of least validation loss."""
        return best_epoch(self.epochs, self.curve("manual", "loss/val")) if self.epochs else None

    @property
    def overfitting_epoch(self) -> int | None:
        """The epoch since which the run overfits."""
        if not self.epochs:
            return None
        return overfitting_epoch(self.epochs, self.curve("manual", "loss/train"), self.curve("manual", "loss/val"))

    @property
    def speed(self) -> float:
        """Steps a second, evaluations and logging included; 0 where nothing was timed."""
        return self.steps[-1] / self.seconds if self.steps and self.seconds > 0 else 0.0

    def curve(self, run: str, tag: str) -> list[float]:
        """A curve with NaN where it has no value; all NaN where there is no such tag."""
        return self.history.get(run, {}).get(tag) or [float("nan")] * len(self.epochs)

    def tags(self, run: str, group: str) -> list[str]:
        """The tags of a group, in the order in which they were logged."""
        return [tag for tag in self.history.get(run, {}) if tag.startswith(f"{group}/")]


def read_run(run: str, runs: Path) -> PastRun:
    """The run of that name in the folder `runs`, or at that path. Raises `ValueError` where there is none."""
    return read_folder(find_run(run, runs))


def read_folder(folder: Path) -> PastRun:
    """The run in `folder`. Raises `ValueError` where a file in it cannot be read."""
    metrics = read_metrics(folder)
    whole = [line for line in metrics if is_line(line)]
    # of an epoch that was done twice, as after a crash, the later one counts
    lines = {line["step"]: line for line in whole}
    epochs = sorted(lines)
    history: History = {"manual": {}, "autograd": {}, "gap": {}}
    for run, curves in history.items():
        for tag in dict.fromkeys(tag for line in lines.values() for tag in line.get(run, {})):
            curves[tag] = [float(lines[epoch].get(run, {}).get(tag, "nan")) for epoch in epochs]
    times = {line["step"]: line for line in _records(folder / "timing.jsonl") if is_timing(line)}
    texts, tables = {}, {}
    for line in filter(is_text, _records(folder / "text.jsonl")):
        if "rows" not in line:
            texts[escaped(line["tag"])] = "\n".join(escaped(part) for part in line["text"].splitlines())
        elif is_table(line):
            tables[escaped(line["tag"])] = PastTable(
                tuple(escaped(str(name)) for name in line["head"]),
                tuple(tuple(escaped(c) if isinstance(c, str) else c for c in row) for row in line["rows"]),
            )
    settings = _settings(folder / "config.toml")
    return PastRun(
        escaped(folder.resolve().name),
        folder,
        settings.get("config", {}),
        settings.get("versions", {}),
        settings.get("machine", {}),
        texts,
        tables,
        epochs,
        history,
        max((float(line["seconds"]) for line in times.values()), default=0.0),
        [times[epoch]["steps"] if epoch in times else 0 for epoch in epochs],
        metrics.damaged + len(metrics) - len(whole),
        _mismatch(folder / "mismatch" / "mismatch.json"),
    )


def _records(path: Path) -> list[dict[str, Any]]:
    return [with_numbers(record) for record in read_records(path)] if path.is_file() else []


def _mismatch(path: Path) -> tuple[int, float] | None:
    try:
        about = json.loads(read_small(path))
        gaps = [float(each["relative"]) for each in about["differences"]]
        return int(about["epoch"]), max(gap for gap in gaps if gap == gap)
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one, of which replay tells
        return None


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(read_small(path).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no TOML"
        raise refusal(place(path), f"cannot be read ({reason})", "restore it, or remove the run") from None
    return {name: section for name, section in settings.items() if isinstance(section, dict)}
