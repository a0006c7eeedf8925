"""The curves of a run while they grow: a number of each tag at each evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compare.run.history import History, Overfitting

NETWORKS = ("manual", "autograd")


class Curves:
    """Everything that was logged so far, by run and tag; a tag's list may begin after the first evaluation."""

    def __init__(self, epochs: Sequence[int] = (), history: Mapping[str, Mapping[str, Sequence[float]]] | None = None):
        """Empty, or those of the epochs given."""
        self.epochs = list(epochs)
        self.history: History = {"manual": {}, "autograd": {}, "gap": {}}
        for run, tags in (history or {}).items():
            self.history[run] = {tag: list(values) for tag, values in tags.items()}
        self.overfitting = {run: Overfitting() for run in NETWORKS}
        for run, found in self.overfitting.items():
            losses = (self.history[run].get(f"loss/{part}", ()) for part in ("train", "val"))
            for each in zip(self.epochs, *losses, strict=False):
                found.add(*each)

    @property
    def best(self) -> int | None:
        """The epoch of the least validation loss by hand; None before the first evaluation."""
        return self.overfitting["manual"].best

    def latest(self, run: str) -> dict[str, float]:
        """The last value of each tag of a run."""
        return {tag: values[-1] for tag, values in self.history[run].items()}

    def begin(self, epoch: int) -> None:
        """Numbers of this epoch come next."""
        self.epochs.append(epoch)

    def add(self, run: str, tags: Mapping[str, float]) -> None:
        """Numbers of the epoch that was begun last."""
        curves = self.history[run]
        for tag, value in tags.items():
            curves.setdefault(tag, []).append(value)
        if "loss/val" in tags and run in self.overfitting:
            self.overfitting[run].add(self.epochs[-1], tags["loss/train"], tags["loss/val"])
