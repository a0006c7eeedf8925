"""What a run leaves behind: its curves, its verdict, and what is read off them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

import manualbp as mbp
from compare.check.report import Report
from compare.run.config import TrainConfig

Verdict = Literal[
    "equal bit for bit", "within the noise floor", "mismatch", "undecided", "diverged", "not checked"
]  # fmt: skip
History = dict[str, dict[str, list[float]]]  # run ("manual", "autograd", "gap") -> tag -> value at each evaluation

SUSTAINED = 3  # epochs that overfitting must last


def best_epoch(epochs: Sequence[int], validation: Sequence[float]) -> int:
    """The epoch of least validation loss, the first of equals."""
    return epochs[min(range(len(epochs)), key=lambda i: validation[i])]


class Overfitting:
    """Whether a run overfits, told while its curves grow.

    It does from the first of three epochs in a row, after the best one, whose validation loss is above its minimum
    while the training loss of each is below that of the epoch before.
    """

    def __init__(self) -> None:
        self.best: int | None = None  # epoch of least validation loss, the first of equals
        self.least = math.nan  # validation loss
        self.since: int | None = None  # epoch
        self._training = math.nan  # loss of the epoch before
        self._row: list[int] = []  # epochs that fulfil all of it

    def add(self, epoch: int, training: float, validation: float) -> None:
        """Take the losses of the next epoch that was evaluated."""
        if self.best is None or validation < self.least:
            self.best, self.least, self.since, self._row = epoch, validation, None, []
        elif validation > self.least and training < self._training:
            self._row.append(epoch)
            if self.since is None and len(self._row) == SUSTAINED:
                self.since = self._row[0]
        else:
            self._row = []
        self._training = training


def overfitting_epoch(epochs: Sequence[int], training: Sequence[float], validation: Sequence[float]) -> int | None:
    """The epoch since which a run overfits, or None; see `Overfitting`."""
    found = Overfitting()
    for losses in zip(epochs, training, validation, strict=True):
        found.add(*losses)
    return found.since


@dataclass(frozen=True)
class EpochReport:
    """One evaluation of both networks. `str` gives a line without line end."""

    epoch: int
    epochs: int
    step: int
    scores: dict[str, dict[str, float]]  # as History, at this epoch
    seconds: float

    def __str__(self) -> str:
        manual = self.scores["manual"]
        accuracy = f"  accuracy {manual['accuracy/val']:.4f}" if "accuracy/val" in manual else ""
        return (
            f"epoch {self.epoch}/{self.epochs}  loss {manual['loss/train']:.6f}  val {manual['loss/val']:.6f}{accuracy}"
        )


@dataclass(frozen=True)
class TrainResult:
    """A finished run. `exit_status` is the one that `manualbp train` ends with."""

    config: TrainConfig  # with what depended on the data filled in
    network: str
    verdict: Verdict
    verdict_text: str
    epochs: list[int]  # at which history was taken; 0 is before training
    history: History
    best_epoch: int | None
    overfitting_epoch: int | None
    folder: Path
    params: mbp.Params
    twin_params: dict[str, Tensor]  # by path of the hand-written parameter
    steps: int
    seconds: float
    exit_status: int
    report: Report | None = None  # of a mismatch
    notes: list[str] = field(default_factory=list)

    def _repr_html_(self) -> str:
        """What a notebook shows; see `Report`."""
        fragment: str = importlib.import_module("compare.show.notebook").run_fragment(self.folder)
        return fragment

    def to_json(self) -> dict[str, Any]:
        """Everything but tensors, in JSON's own types; a number that is not finite is null."""
        return {
            "run": self.folder.name,
            "folder": str(self.folder),
            "network": self.network,
            "verdict": self.verdict,
            "verdict_text": self.verdict_text,
            "exit_status": self.exit_status,
            "best_epoch": self.best_epoch,
            "overfitting_epoch": self.overfitting_epoch,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "epochs": self.epochs,
            "history": {
                run: {tag: [v if math.isfinite(v) else None for v in values] for tag, values in tags.items()}
                for run, tags in self.history.items()
            },
            "notes": self.notes,
        }
