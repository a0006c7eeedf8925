"""What TensorBoard shows that follows from a run's logs alone: so `board --rebuild` can make it again.

Imported only when a run is recorded: TensorBoard's modules are slow to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compare.run.chart import losses
from compare.run.history import best_epoch, overfitting_epoch
from compare.run.pictures import confusion_matrix
from compare.run.summaries import picture, text

# tags in text.jsonl of the numbers behind pictures
CONFUSION, STILL_WRONG, MISMATCH_GAPS = "confusion matrix", "still wrong", "gap at the mismatch"
CLASSES = 20  # at most, of a confusion matrix that can be read


def settings(config: str) -> Any:
    """The text of `config.toml`."""
    return text("what it ran with", verbatim(config))


def figure_2(epochs: Sequence[int], training: Sequence[float], validation: Sequence[float]) -> Any:
    """The lecture's Figure 2 of this run."""
    found = (best_epoch(epochs, validation), overfitting_epoch(epochs, training, validation))
    return picture("curves/loss (Figure 2)", losses(epochs, training, validation, *found))


def confusion(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """The picture of a table "confusion matrix", where it can be read; else None."""
    if len(rows) > CLASSES:
        return None
    return picture("confusion matrix/validation", confusion_matrix([row[1:] for row in rows], head[1:]))


def still_wrong(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A table "still wrong" as a text."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return text("what is still wrong", "\n".join(f"| {' | '.join(line)} |" for line in cells))


def verbatim(lines: str) -> str:
    """A text that Markdown shows as it is."""
    return "\n".join("    " + line for line in lines.splitlines())
