"""Gradient descent, eq. (1)."""

from __future__ import annotations

import torch

from manualbp.layer import Grads, Params
from manualbp.params import at, named


@torch.no_grad()
def sgd_step_(params: Params, grads: Grads, lr: float) -> None:
    """W <- W - lr dJ/dW and b <- b - lr dJ/db, in place, for every parameter that has a gradient."""
    for path, gradient in named(grads):
        at(params, path).add_(gradient, alpha=-lr)
