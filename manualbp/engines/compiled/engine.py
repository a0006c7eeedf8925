"""The engine `compiled`: a whole span of steps as one call into compiled code, on the CPU.

Exploits that a derivation done by hand is a fixed list of operations: the loop over the steps can be compiled with
them (by numba, once, and kept on disk). Between two steps no Python runs. See stochastic.py for batch 1 and
minibatch.py for more.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp.engines.compiled.blas import ALONE, addresses, forward_and_back, on_threads
from manualbp.engines.compiled.layout import Layout, Where
from manualbp.engines.compiled.minibatch import epoch as minibatch_epoch
from manualbp.engines.compiled.stochastic import epoch as stochastic_epoch
from manualbp.engines.engine import spans
from manualbp.engines.plan import require_batches, stages
from manualbp.layer import Grads, Layer, Params
from manualbp.loss import Loss

LOOPS = 4096  # multiplications of a product below which loops are faster than a call
NEVER_CALL = 2**62
TRIALS, ENOUGH = 7, 0.5  # seconds
CLEARLY = 0.8
WAKING = 2**26  # multiplications that take longer than waking threads


class Compiled:
    """Trains by compiled loops; products by BLAS where they are large enough."""

    name = "compiled"

    def __init__(self, net: Layer, loss: Loss, *, product: str = "auto") -> None:
        """Raises ValueError for a network that is no plan (see plan.py) or a product that is not in reach."""
        self.plan, self.loss = stages(net, loss), loss
        self.wanted = product
        self.loops = LOOPS
        self._chosen: tuple[str, int] | None = None
        self._layout: Layout | None = None

    @property
    def product(self) -> str:
        """The BLAS in use or asked for, or "loops" where none was needed."""
        if self._chosen:
            return self._chosen[0]
        return "loops" if self.wanted == "auto" else self.wanted

    @torch.no_grad()
    def train(self, params: Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float) -> Tensor:
        """One step for each `size` rows of `order`, in one call."""
        spans(len(order), size)  # tells of a size that is none
        if len(order) and not (int(order.min()) >= 0 and int(order.max()) < len(x)):
            raise ValueError(
                f"order must hold rows from 0 to {len(x) - 1}, got {int(order.min())} to {int(order.max())}"
            )
        size = min(size, max(len(order), 1))
        layout = self._ready(params, x, y, size)
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
        layout = self._layout
        if layout is None or layout.rows != rows or layout.v.dtype != x.numpy().dtype:
            layout = self._layout = Layout(self.plan, self.loss, rows, x.dtype)
        return layout

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
        both = x.contiguous().numpy(), self._targets(y, x.dtype).numpy()
        places = where.base, to, layout.v, layout.width, where.w, where.b, layout.z, layout.a, layout.da
        task = layout.kinds, layout.c, layout.biased, layout.loss, *both, order.contiguous().numpy()
        typed = (kind(factors[0]), kind(factors[1]), kind(factors[2]))
        if size == 1:
            stochastic_epoch(*places, *task, typed, layout.target, layout.scratch, losses)
            return torch.from_numpy(losses)
        name, function = self._function(layout, where, size)
        with on_threads(name):
            loops = self.loops if function else NEVER_CALL
            blocks = layout.block, layout.again
            minibatch_epoch(
                *places, *blocks, *task, size, typed, layout.target, layout.scratch, losses, function, loops
            )
        return torch.from_numpy(losses)

    def _targets(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """y as numbers: class indices become rows with a single one."""
        if y.is_floating_point():
            return y.contiguous()
        classes = self.plan[-1].linear.n_out
        if len(y) and not (int(y.min()) >= 0 and int(y.max()) < classes):
            raise ValueError(f"class indices must be from 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}")
        return torch.zeros(len(y), classes, dtype=dtype).scatter_(1, y[:, None], 1.0)

    def _function(self, layout: Layout, where: Where, size: int) -> tuple[str, int]:
        """The BLAS to use: the fastest of those in reach on the largest layer of this network, tried out once."""
        largest = max(stage.linear.n_in * stage.linear.n_out for stage in self.plan)
        if size == 1 or self.wanted == "loops" or (largest * size < self.loops and self.wanted == "auto"):
            return "loops", 0
        if self._chosen is None:
            found = addresses(layout.v.dtype)
            if self.wanted not in ("auto", *found):
                there = ", ".join(("auto", "loops", *found))
                raise ValueError(f"product {self.wanted!r} is not in reach of the compiled engine; choose of {there}")
            if self.wanted == "auto" and not found:
                return "loops", 0
            several = torch.get_num_threads() > 1
            tried = [name for name in found if several or not name.endswith(ALONE)]
            name = self._fastest(tried, found, layout, where, size) if self.wanted == "auto" else self.wanted
            self._chosen = name, found[name]
        return self._chosen

    def _fastest(self, names: list[str], found: dict[str, int], layout: Layout, where: Where, size: int) -> str:
        """On the very W and the buffers, which hold nothing yet: W is only read."""
        l = max(range(len(self.plan)), key=lambda l: self.plan[l].linear.n_in * self.plan[l].linear.n_out)
        n, units = int(layout.width[l]), int(layout.width[l + 1])
        count = min(layout.block, n) if l > 0 else 0
        places = where.base, where.w[l], layout.v, layout.a[l], layout.z[l], layout.da
        one, none = layout.v.dtype.type(1), layout.v.dtype.type(0)
        taken: dict[str, list[float]] = {name: [] for name in names}
        begun = time.perf_counter()
        for trial in range(TRIALS):
            for name in names:  # in turns
                with on_threads(name):
                    for _ in range(2 if trial == 0 or n * units * size < WAKING else 1):  # the first may wake threads
                        start = time.perf_counter()
                        forward_and_back(found[name], *places, size, n, units, count, one, none)
                        seconds = time.perf_counter() - start
                taken[name].append(seconds)
            if time.perf_counter() - begun > ENOUGH:
                break
        layout.v[:] = 0
        # threads have to pay clearly: beside other work they wait for each other, more so than a short trial tells
        several = torch.get_num_threads() > 1
        worth = {name: CLEARLY if several and not name.endswith(ALONE) else 1.0 for name in names}
        return min(names, key=lambda name: statistics.median(taken[name]) / worth[name])


def _contiguous(params: Params) -> Params:
    """The parameters with rows end to end: themselves, but for those that lie otherwise."""
    return tuple({name: tensor.contiguous() for name, tensor in own.items()} for own in params)


def _copy_back(params: Params, tidy: Params) -> None:
    for own, trained in zip(params, tidy, strict=True):
        for name, tensor in own.items():
            if tensor is not trained[name]:
                tensor.copy_(trained[name])
