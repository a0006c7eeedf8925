"""The engine `compiled`: a whole span of steps as one call into compiled code, on the CPU.

Exploits that a derivation done by hand is a fixed list of operations: the loop over the steps can be compiled with
them (by numba, once, and kept on disk). Between two steps no Python runs. See stochastic.py for batch 1 and
minibatch.py for more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp.engines.compiled.blas import ALONE, addresses, alone
from manualbp.engines.compiled.layout import Layout, Where, stochastic
from manualbp.engines.compiled.minibatch import epoch as minibatch_epoch
from manualbp.engines.compiled.stochastic import epoch as stochastic_epoch
from manualbp.engines.compiled.together import let_run, run
from manualbp.engines.engine import spans
from manualbp.engines.plan import require_batches, stages
from manualbp.layer import Grads, Layer, Params
from manualbp.loss import Loss

LOOPS = 4096  # multiplications of a product below which loops are faster than a call
NEVER_CALL = 2**62


class Compiled:
    """Trains by compiled loops; products by BLAS where they are large enough.

    `product` is "mkl" or "openblas", which torch's number of threads work with together, "mkl-1" or "openblas-1" for
    one of several threads, or "loops"; "auto" is the first in reach, on one thread: `auto` (auto.py) finds the fastest.
    """

    name = "compiled"

    def __init__(self, net: Layer, loss: Loss, *, product: str = "auto") -> None:
        """Raises ValueError for a network that is no plan (see plan.py)."""
        self.plan, self.loss = stages(net, loss), loss
        self.product = product
        self.widths = [self.plan[0].linear.n_in, *(stage.linear.n_out for stage in self.plan)]
        self.loops = LOOPS
        self._function = 0
        self._layout: Layout | None = None
        self._kept: tuple[int, torch.dtype, int] | None = None  # what it was made for

    @torch.no_grad()
    def train(self, params: Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float) -> Tensor:
        """One step for each `size` rows of `order`, in one call."""
        spans(len(order), size)  # tells of a size that is none
        rows = order.numpy()
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(x)):
            raise ValueError(f"order must hold rows from 0 to {len(x) - 1}, got {rows.min()} to {rows.max()}")
        size = min(size, max(len(order), 1))
        layout = self._ready(params, x, y, size)
        if layout.stochastic:
            theta = layout.copied(params)
            where = Where(theta, layout.w, layout.b)
            losses = self._run(layout, where, theta, x, y, order, size, (-lr, 1 - lr * l2, 1.0))
            layout.copy_back(params, theta)
            return losses
        tidy = _contiguous(params)
        where = layout.where(tidy)
        losses = self._run(layout, where, where.base, x, y, order, size, (-lr, 1 - lr * l2, 1.0))
        _copy_back(params, tidy)
        return losses

    @torch.no_grad()
    def gradients(self, params: Params, x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, Grads]:
        """The same call with other factors: gradient = l2 W + dJ/dW, where the update is (1 - lr l2) W - lr dJ/dW."""
        layout = self._ready(params, x, y, len(x))
        where = Where(layout.copied(params), layout.w, layout.b)
        gradient = where.base.copy()
        losses = self._run(layout, where, gradient, x, y, torch.arange(len(x)), len(x), (1.0, l2, 0.0))
        return losses[0], layout.nested(params, gradient)

    def _ready(self, params: Params, x: Tensor, y: Tensor, rows: int) -> Layout:
        require_batches(self.plan, params, x, y)
        if x.device.type != "cpu":
            raise ValueError(f"the compiled engine runs on the CPU, got tensors on {x.device}; use fused or graph")
        layout, threads = self._layout, torch.get_num_threads()
        kept = (rows, x.dtype, threads)
        if layout is None or self._kept != kept:
            self._choose(rows, x.numpy().dtype)
            together = threads if self._function and not self.product.endswith(ALONE) else 1
            layout, self._kept = Layout(self.plan, self.loss, rows, x.dtype, together), kept
            self._layout = layout
        return layout

    def _choose(self, rows: int, dtype: np.dtype[Any]) -> None:
        """The BLAS of the name asked for, or the first in reach.

        Raises ValueError for one that is not.
        """
        if self.product == "loops" or stochastic(self.widths, rows):
            self._function = 0
            return
        found = addresses(dtype)
        if self.product == "auto":
            largest = max(stage.linear.n_in * stage.linear.n_out for stage in self.plan)
            names = [name for name in found if name.endswith(ALONE)]
            self.product = names[-1] if names and largest * rows >= self.loops else "loops"
        if self.product not in ("loops", *found):
            there = ", ".join(("auto", "loops", *found))
            raise ValueError(f"product {self.product!r} is not in reach of the compiled engine; choose of {there}")
        self._function = found.get(self.product, 0)

    def _run(
        self,
        layout: Layout,
        where: Where,
        to: np.ndarray[Any, Any],
        x: Tensor,
        y: Tensor,
        order: Tensor,
        size: int,
        factors: tuple[float, float, float],
    ) -> Tensor:
        kind = layout.v.dtype.type
        steps = -(-len(order) // size)
        losses = np.zeros(steps, kind)
        if not steps:
            return torch.from_numpy(losses)
        data = x.contiguous().numpy(), self._targets(y, kind), not y.is_floating_point()
        places = where.base, to, layout.v, layout.width, where.w, where.b, layout.z, layout.a
        task = layout.kinds, layout.c, layout.biased, layout.loss, *data, order.contiguous().numpy()
        typed = (kind(factors[0]), kind(factors[1]), kind(factors[2]))
        room = layout.target, layout.scratch
        if layout.stochastic:
            stochastic_epoch(*places, layout.each_da, *task, typed, *room, losses)
            return torch.from_numpy(losses)
        function, loops = self._function, self.loops if self._function else NEVER_CALL
        counter = np.zeros(1, np.int64)

        def job(thread: int) -> None:
            minibatch_epoch(
                *places, layout.da, layout.block, layout.again, *task, size, typed, *room, losses, function, loops,
                thread, layout.threads, counter, let_run(),
            )  # fmt: skip

        with alone(self.product):
            run(job, layout.threads)
        return torch.from_numpy(losses)

    def _targets(self, y: Tensor, kind: type) -> np.ndarray[Any, Any]:
        """y as numbers of x's type, class indices among them.

        By numpy: an operation of torch may leave threads of its own waiting at full speed, in the way of ours.
        """
        values = y.contiguous().numpy()
        if not y.is_floating_point():
            classes = self.plan[-1].linear.n_out
            if len(y) and not (values.min() >= 0 and values.max() < classes):
                raise ValueError(f"class indices must be from 0 to {classes - 1}, got {values.min()} to {values.max()}")
        return values.astype(kind, copy=False)


def _contiguous(params: Params) -> Params:
    """The parameters with rows end to end: themselves, but for those that lie otherwise."""
    return tuple({name: tensor.contiguous() for name, tensor in own.items()} for own in params)


def _copy_back(params: Params, tidy: Params) -> None:
    for own, trained in zip(params, tidy, strict=True):
        for name, tensor in own.items():
            if tensor is not trained[name]:
                tensor.copy_(trained[name])
