"""Losses and accuracies of both networks on a whole part of the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import manualbp as mbp
from compare.run.network import Part, correct
from compare.run.pair import Pair

ROWS = 4096  # samples at a time, which bounds the memory


@dataclass(frozen=True)
class Score:
    """J without its penalty, and the share of samples classified right (None for regression)."""

    loss: float
    accuracy: float | None


def evaluate(pair: Pair, part: Part, *, classes: bool) -> tuple[Score, Score]:
    """The scores of the hand-written network and of its twin, each at its own weights."""
    m = len(part.x)
    losses = [torch.zeros((), dtype=torch.float64, device=part.x.device) for _ in range(2)]
    right = [torch.zeros((), dtype=torch.int64, device=part.x.device) for _ in range(2)]
    with torch.no_grad():
        for start in range(0, m, ROWS):
            rows = slice(start, start + ROWS)
            y = part.y[rows]
            z, twin_z = pair.predict(part, rows)
            losses[0] += pair.loss.forward(z, y)[0] * len(y)
            losses[1] += pair.loss_module(twin_z, y)
            if classes:
                right[0] += correct(pair.loss, z, y)
                right[1] += correct(pair.loss, twin_z, y)
    ours, twin = (
        Score(float(loss) / m, int(count) / m if classes else None) for loss, count in zip(losses, right, strict=True)
    )
    return ours, twin


def penalties(pair: Pair) -> tuple[float, float]:
    """(l2/2) sum of squares of the weights, of both networks."""
    with torch.no_grad():
        twin: Tensor | float = sum(
            ((pair.l2 / 2) * (W * W).sum() for W in (pair.twin.parameters[path] for path in pair.net.weights)), 0.0
        )
        return float(mbp.l2.penalty(pair.net, pair.params, pair.l2)), float(twin)
