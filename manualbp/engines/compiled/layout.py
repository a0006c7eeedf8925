"""Where everything lies in two flat arrays, parameters and values, each allocated once.

Exploits that all sizes are known before the first step: nothing is allocated during one, and what is used together
lies together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp.activation import ELU, Identity, LeakyReLU, ReLU, Sigmoid, Tanh
from manualbp.engines.plan import ACTIVATIONS, LOSSES, Stage, nested_like, weights_of
from manualbp.layer import Params
from manualbp.loss import Loss

LANES = 8  # columns come in multiples of this: a vector register of float32, two of float64
IN_PLACE = (Identity, Sigmoid, Tanh, ReLU)  # a may overwrite z: the derivative is a formula of a


class Layout:
    """Offsets of a network's parameters, and of the values of a batch of up to `rows` samples."""

    def __init__(self, plan: tuple[Stage, ...], loss: Loss, rows: int, dtype: torch.dtype) -> None:
        self.plan, self.rows = plan, rows
        self.columns = rows if rows == 1 else -(-rows // LANES) * LANES
        self.width = _whole([plan[0].linear.n_in, *(stage.linear.n_out for stage in plan)])
        self.kinds = _whole([ACTIVATIONS.index(type(stage.activation)) for stage in plan])
        self.biased = _whole([stage.linear.bias for stage in plan])
        self.loss = LOSSES.index(type(loss))
        numpy_type = torch.empty(0, dtype=dtype).numpy().dtype
        self.c = np.array([_constant(stage.activation) for stage in plan], numpy_type)
        w, b, self.parameters = [], [], 0
        for stage in plan:
            w.append(self._parameter(stage.linear.n_out * stage.linear.n_in))
            b.append(self._parameter(stage.linear.n_out))
        self.w, self.b = _whole(w), _whole(b)
        self.values = 0
        # a[l] and z[l] share their place where the derivative asks for a alone
        z = [self._value(stage.linear.n_out) for stage in plan]
        a = [
            at if isinstance(stage.activation, IN_PLACE) else self._value(stage.linear.n_out)
            for at, stage in zip(z, plan, strict=True)
        ]
        self.z, self.a = _whole(z), _whole([self._value(plan[0].linear.n_in), *a])
        self.delta = _whole([self._value(stage.linear.n_out) for stage in plan])
        self.target, self.scratch = self._value(plan[-1].linear.n_out), self._value(4)
        self.theta = np.zeros(self.parameters, numpy_type)
        self.v = _aligned(self.values, numpy_type)

    def _parameter(self, count: int) -> int:
        at, self.parameters = self.parameters, self.parameters + count
        return at

    def _value(self, units: int) -> int:
        at, self.values = self.values, self.values + units * self.columns
        return at

    def take(self, params: Params) -> None:
        """Copy the parameters in; where there is no bias it is 0."""
        flat = torch.from_numpy(self.theta)
        for (W, b), at_W, at_b in zip(weights_of(self.plan, params), self.w, self.b, strict=True):
            flat[at_W : at_W + W.numel()].view_as(W).copy_(W)
            if b is not None:
                flat[at_b : at_b + b.numel()].copy_(b)

    def give(self, params: Params) -> None:
        """Copy them back."""
        for (W, b), (new_W, new_b) in zip(weights_of(self.plan, params), self.pieces(self.theta), strict=True):
            W.copy_(new_W)
            if b is not None:
                b.copy_(new_b)

    def nested(self, params: Params, values: np.ndarray[Any, Any]) -> Params:
        """Numbers that lie as the parameters do, in the nest of `params`."""
        both = zip(weights_of(self.plan, params), self.pieces(values), strict=True)
        return nested_like(self.plan, params, [(W, None if b is None else new_b) for (_, b), (W, new_b) in both])

    def pieces(self, values: np.ndarray[Any, Any]) -> list[tuple[Tensor, Tensor]]:
        """W and b of every stage, of numbers that lie as the parameters do."""
        flat = torch.from_numpy(values)
        found = []
        for stage, at_W, at_b in zip(self.plan, self.w, self.b, strict=True):
            n_out, n_in = stage.linear.n_out, stage.linear.n_in
            found.append((flat[at_W : at_W + n_out * n_in].view(n_out, n_in), flat[at_b : at_b + n_out]))
        return found


def _whole(values: list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


def _constant(activation: object) -> float:
    if isinstance(activation, LeakyReLU):
        return activation.slope
    return activation.alpha if isinstance(activation, ELU) else 0.0


def _aligned(count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Zeros that begin at a cache line."""
    spare = np.zeros(count + 64 // dtype.itemsize, dtype)
    start = -spare.ctypes.data % 64 // dtype.itemsize
    return spare[start : start + count]
