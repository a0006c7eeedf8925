"""The three ways to update (section 3): which samples each step sees."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Update = Literal["batch", "stochastic", "mini-batch"]


def batch_rows(update: Update, m: int, size: int | None = None) -> int:
    """Samples a step: m for "batch", 1 for "stochastic", B = `size` for "mini-batch".

    Raises ValueError for a size below 1 or above m, or an update that does not exist.
    """
    if update not in get_args(Update):
        raise ValueError(f"update must be one of {', '.join(get_args(Update))}, got {update!r}")
    if m < 1:
        raise ValueError(f"there must be at least one sample to train on, got {m}")
    if update == "batch":
        return m
    if update == "stochastic":
        return 1
    if size is None or not 1 <= size <= m:
        raise ValueError(f"the batch size must be from 1 to the {m} training samples, got {size}")
    return size


def visited(update: Update, m: int, generator: torch.Generator) -> Tensor:
    """The rows of one epoch in the order in which its steps take them, int64.

    "batch" takes all rows in their order; the others draw a new order each epoch.
    """
    if update == "batch":
        return torch.arange(m, device=generator.device)
    return torch.randperm(m, generator=generator, device=generator.device)


def batches(update: Update, m: int, size: int | None, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The row indices of each step of one epoch, int64: `visited` cut into pieces.

    The last one may be smaller: no sample is dropped and none is seen twice.
    """
    rows = batch_rows(update, m, size)
    return torch.split(visited(update, m, generator), rows)
