"""The engine `fused`: torch's operations, each into a buffer that is already there. For large networks, CPU and GPU.

Exploits that nothing has to be recorded: buffers are allocated once a shape, the gradient of the inputs, which nobody
asked for, is never computed, and

    W = (1 - lr l2) W - lr delta^T a

is one matrix product that accumulates: gradient, L2 and update in one, with no gradient ever stored. And that W is done
with column by column: once those that lead to some units of the layer below have passed dJ/da on and are updated,
these units' delta takes the place of their a. So memory holds the weights, one array a layer, and little else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from manualbp.engines.engine import spans
from manualbp.engines.inplace import OVERWRITES, activate, times_slope_
from manualbp.engines.plan import Stage, nested_like, require_batches, stages, weights_of
from manualbp.engines.products import Matmul, products, tensor_float_32
from manualbp.layer import Grads, Layer, Params
from manualbp.loss import Loss

BLOCK, BLOCK_VALUES = 256, 2**17  # on a CPU dJ/da is there for so many units, or so many numbers, at a time
LARGE = 2**18  # numbers of x


@dataclass(frozen=True)
class Buffers:
    """Room for the largest batch; a smaller one takes the first rows of each."""

    x: Tensor
    again: bool  # x stands where a later a will, and is gathered again once that is done with
    z: list[Tensor]
    a: list[Tensor]  # a[l] is z[l] where the activation overwrites
    da: Tensor
    block: int  # units that da has room for


class Fused:
    """Trains by torch's operations in place; an update is one product."""

    name = "fused"

    def __init__(
        self,
        net: Layer,
        loss: Loss,
        *,
        device: torch.device,
        dtype: torch.dtype,
        product: str = "auto",
        matmul: Matmul = "ieee",
    ) -> None:
        """Raises ValueError for a network that is no plan (see plan.py) or a product that is not in reach."""
        self.plan, self.loss = stages(net, loss), loss
        self.product, self.products = products(product, device, dtype, matmul)
        self.matmul = matmul
        self._buffers: Buffers | None = None

    @torch.no_grad()
    def train(self, params: Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float) -> Tensor:
        """One step for each `size` rows of `order`."""
        require_batches(self.plan, params, x, y)
        order = order.to(x.device)
        weights = weights_of(self.plan, params)
        buffers = self.buffers(x, min(size, max(len(order), 1)))
        steps = list(spans(len(order), size))
        losses = x.new_empty(len(steps))
        with tensor_float_32(self.matmul == "tf32"):
            for step, span in enumerate(steps):
                losses[step] = self.step(weights, weights, x, y, order[span], buffers, (-lr, 1 - lr * l2, 1.0))
        return losses

    @torch.no_grad()
    def gradients(self, params: Params, x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, Grads]:
        """The same step with other factors: gradient = l2 W + dJ/dW, where the update is (1 - lr l2) W - lr dJ/dW."""
        require_batches(self.plan, params, x, y)
        weights = weights_of(self.plan, params)
        gradients = [(W.clone(), None if b is None else b.clone()) for W, b in weights]
        rows = torch.arange(len(x), device=x.device)
        with tensor_float_32(self.matmul == "tf32"):
            J = self.step(weights, gradients, x, y, rows, self.buffers(x, len(x)), (1.0, l2, 0.0))
        return J, nested_like(self.plan, params, gradients)

    def step(
        self,
        weights: list[tuple[Tensor, Tensor | None]],
        to: list[tuple[Tensor, Tensor | None]],
        x: Tensor,
        y: Tensor,
        rows: Tensor,
        buffers: Buffers,
        factors: tuple[float, float, float],
    ) -> Tensor:
        """One batch; to W = beta (to W) + alpha dJ/dW, to b = beta_b (to b) + alpha dJ/db. Returns J."""
        alpha, beta, beta_b = factors
        m = len(rows)
        inputs = buffers.x[: m * x.shape[1]].view(m, -1)
        below = [torch.index_select(x, 0, rows, out=inputs)]  # a[l-1] of each layer l
        z = [each[:m] for each in buffers.z]
        a = [each[:m] for each in buffers.a]
        for l, (stage, (W, b)) in enumerate(zip(self.plan, weights, strict=True)):
            self.products.forward(below[l], W, b, z[l])
            activate(stage.activation, z[l], a[l])
            below.append(a[l])
        J, cache = self.loss.forward(a[-1], y.index_select(0, rows))
        # delta[L], and all below, in place of a
        times_slope_(self.plan[-1].activation, z[-1], a[-1], self.loss.backward(cache))
        for l in range(len(self.plan) - 1, -1, -1):
            delta, W, (to_W, to_b) = a[l], weights[l][0], to[l]
            if l == 0:
                if buffers.again:
                    torch.index_select(x, 0, rows, out=inputs)
                self.products.accumulate_(to_W, delta, inputs, beta, alpha)
            for start in range(0, W.shape[1] if l > 0 else 0, buffers.block):
                units = slice(start, min(start + buffers.block, W.shape[1]))
                part = a[l - 1][:, units]
                da = buffers.da[: part.numel()].view_as(part)
                self.products.backward(delta, W[:, units], da)  # with W before its update
                self.products.accumulate_(to_W[:, units], delta, part, beta, alpha)
                times_slope_(self.plan[l - 1].activation, z[l - 1][:, units], part, da)
            if to_b is not None:
                to_b.mul_(beta_b).add_(delta.sum(0), alpha=alpha)
        return J

    def buffers(self, x: Tensor, rows: int) -> Buffers:
        """Room for batches of up to `rows` samples of x's dtype, on its device."""
        kept = self._buffers
        if kept is None or len(kept.a[0]) < rows or kept.x.dtype != x.dtype or kept.x.device != x.device:
            self._buffers = None
            kept = self._buffers = _allocated(self.plan, x, rows)
        return kept


def _allocated(plan: tuple[Stage, ...], x: Tensor, rows: int) -> Buffers:
    z = [x.new_empty(rows, stage.linear.n_out) for stage in plan]
    a = [
        each if isinstance(stage.activation, OVERWRITES) else torch.empty_like(each)
        for each, stage in zip(z, plan, strict=True)
    ]
    hidden = [stage.linear.n_out for stage in plan[:-1]]
    widest = max(hidden, default=0)
    block = max(BLOCK, BLOCK_VALUES // rows) if x.device.type == "cpu" else max(widest, 1)
    again = len(hidden) > 1 and hidden[-1] >= x.shape[1] and rows * x.shape[1] >= LARGE
    place = a[-2].view(-1) if again else x.new_empty(rows * x.shape[1])
    return Buffers(place, again, z, a, x.new_empty(rows * min(block, widest)), block)
