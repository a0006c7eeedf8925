"""L2 regularisation (section 4): J + (l2/2) ||W||^2, over the parameters that layers declare as weights."""

from __future__ import annotations

import torch
from torch import Tensor

from manualbp.layer import Grads, Layer, Params
from manualbp.params import at


def penalty(net: Layer, params: Params, l2: float) -> Tensor | float:
    """(l2/2) sum of W_i^2 over all weights, biases left out; 0.0 where there is nothing to decay."""
    return sum(((l2 / 2) * (W * W).sum() for W in (at(params, path) for path in net.weights)), 0.0)


@torch.no_grad()
def add_gradient_(net: Layer, grads: Grads, params: Params, l2: float) -> None:
    """dJ/dW <- dJ/dW + l2 W for all weights, in place.

    With the update of eq. (1) this is the lecture's W <- (1 - lr l2) W - lr dJ/dW, rearranged.
    """
    if l2 == 0:
        return
    for path in net.weights:
        at(grads, path).add_(at(params, path) * l2)
