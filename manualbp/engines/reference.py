"""The readable truth: the pure layers as they are, a step at a time. It exploits nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from manualbp import l2 as penalty
from manualbp.engines.engine import spans
from manualbp.layer import Grads, Layer, Params
from manualbp.loss import Loss
from manualbp.sgd import sgd_step_


class Reference:
    """Any layer and any cost: forward, backward, L2, update."""

    name = "reference"
    product = "torch"

    def __init__(self, net: Layer, loss: Loss) -> None:
        self.net, self.loss = net, loss

    @torch.no_grad()
    def train(self, params: Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float) -> Tensor:
        """One step for each `size` rows of `order`."""
        losses = []
        for span in spans(len(order), size):
            rows = order[span]
            J, grads = self.gradients(params, x[rows], y[rows], l2=l2)
            sgd_step_(params, grads, lr)
            losses.append(J)
        return torch.stack(losses) if losses else x.new_zeros(0)

    @torch.no_grad()
    def gradients(self, params: Params, x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, Grads]:
        """The three steps of section 2.1 on one batch."""
        z, cache = self.net.forward(params, x)
        J, loss_cache = self.loss.forward(z, y)
        _, grads = self.net.backward(params, cache, self.loss.backward(loss_cache))
        penalty.add_gradient_(self.net, grads, params, l2)
        return J, grads
