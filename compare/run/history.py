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


def overfitting_epoch(epochs: Sequence[int], training: Sequence[float], validation: Sequence[float]) -> int | None:
    """The first of three epochs in a row, after the best one, whose training loss still falls.

    Their validation loss is above its minimum, and the training loss of each is below that of the epoch before.
    None where there are no such epochs.
    """
    best = min(range(len(epochs)), key=lambda i: validation[i], default=0)
    lasted = 0
    for i in range(best + 1, len(epochs)):
        overfits = validation[i] > validation[best] and training[i] < training[i - 1]
        lasted = lasted + 1 if overfits else 0
        if lasted == SUSTAINED:
            return epochs[i - SUSTAINED + 1]
    return None


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
