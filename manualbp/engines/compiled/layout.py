"""Where everything lies: the values of a batch in one flat array, parameters where they are or in another.

Exploits that all sizes are known before the first step: nothing is allocated during one. And that compiled code can
be told where W is by its distance from the first W: parameters are trained where they lie, with no copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from manualbp.activation import ELU, Identity, LeakyReLU, ReLU, Sigmoid, Tanh
from manualbp.engines.compiled.lanes import LANES
from manualbp.engines.plan import ACTIVATIONS, LOSSES, Stage, nested_like, weights_of
from manualbp.layer import Params
from manualbp.loss import Loss

BLOCK, BLOCK_VALUES = 256, 2**21  # dJ/da is there for so many units, or so many numbers, at a time, all threads taken
LARGE = 2**18  # numbers of x
SMALL = 2**18  # parameters up to which W is copied, by columns, where batches are of one sample
IN_PLACE = (Identity, Sigmoid, Tanh, ReLU)  # a may overwrite z: the derivative is a formula of a


class Where(NamedTuple):
    """Parameters in place: an array, and the distances from it at which W and b of each layer begin."""

    base: np.ndarray[Any, Any]
    w: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]


class Layout:
    """Offsets of a network's parameters, and of the values of a batch of up to `rows` samples."""

    def __init__(self, plan: tuple[Stage, ...], loss: Loss, rows: int, dtype: torch.dtype, threads: int = 1) -> None:
        self.plan, self.rows, self.threads = plan, rows, threads
        self.stochastic = stochastic([plan[0].linear.n_in, *(stage.linear.n_out for stage in plan)], rows)
        self.columns = 1 if self.stochastic else _padded(rows)
        self.width = _whole([plan[0].linear.n_in, *(stage.linear.n_out for stage in plan)])
        self.kinds = _whole([ACTIVATIONS.index(type(stage.activation)) for stage in plan])
        self.biased = _whole([stage.linear.bias for stage in plan])
        self.loss = LOSSES.index(type(loss))
        numpy_type = torch.empty(0, dtype=dtype).numpy().dtype
        self.c = np.array([_constant(stage.activation) for stage in plan], numpy_type)
        w, b, self.parameters = [], [], 0
        for stage in plan:
            w.append(self._parameter(self._room(stage.linear.n_out) * stage.linear.n_in))
            b.append(self._parameter(self._room(stage.linear.n_out)))
        self.w, self.b = _whole(w), _whole(b)
        self.values = 0
        # a[l] and z[l] share their place where the derivative asks for a alone
        z = [self._value(stage.linear.n_out) for stage in plan]
        a = [
            at if isinstance(stage.activation, IN_PLACE) else self._value(stage.linear.n_out)
            for at, stage in zip(z, plan, strict=True)
        ]
        inputs, widest = plan[0].linear.n_in, max(int(n) for n in self.width[1:])
        # a large x stands where the last hidden a will, and is gathered again once that is done with
        self.again = len(plan) > 2 and rows * inputs >= LARGE and plan[-2].linear.n_out >= inputs
        self.z, self.a = _whole(z), _whole([a[-2] if self.again else self._value(inputs * threads), *a])
        shares = -(-widest // (LANES * 2 * threads)) * LANES * 2 * threads  # a cache line of float32 to begin with
        self.block = widest if self.stochastic else min(shares, max(BLOCK, BLOCK_VALUES // rows))
        self.da = 0 if self.stochastic else self._value(max(self.block, plan[-1].linear.n_out))
        # of one sample each layer has its own, where what is beyond its units stays 0
        self.each_da = _whole([self._value(stage.linear.n_out) for stage in plan if self.stochastic])
        self.target, self.scratch = self._value(plan[-1].linear.n_out), self._value(4)
        self.v = torch.zeros(self.values, dtype=dtype).numpy()  # torch begins it at a cache line
        self.nothing = np.zeros(widest, numpy_type)  # the bias where there is none

    def _parameter(self, count: int) -> int:
        at, self.parameters = self.parameters, self.parameters + count
        return at

    def _value(self, units: int) -> int:
        at, self.values = self.values, self.values + self._room(units) * self.columns
        return at

    def _room(self, units: int) -> int:
        return _padded(units) if self.stochastic else units

    def copied(self, params: Params) -> np.ndarray[Any, Any]:
        """The parameters end to end, at `w` and `b`; where there is no bias it is 0."""
        theta = np.zeros(self.parameters, self.v.dtype)
        for (W, b), (to_W, to_b) in zip(weights_of(self.plan, params), self.pieces(theta), strict=True):
            to_W.copy_(W)
            if b is not None:
                to_b.copy_(b)
        return theta

    def where(self, params: Params) -> Where:
        """The first W, and how far from it each W and b begins."""
        both = weights_of(self.plan, params)
        base = both[0][0].numpy().reshape(-1)
        start, size = base.ctypes.data, base.itemsize
        w = [W.data_ptr() - start for W, _ in both]
        b = [self.nothing.ctypes.data - start if b is None else b.data_ptr() - start for _, b in both]
        return Where(base, _whole(w) // size, _whole(b) // size)

    def nested(self, params: Params, values: np.ndarray[Any, Any]) -> Params:
        """Numbers that lie as the parameters do, in the nest of `params`."""
        both = zip(weights_of(self.plan, params), self.pieces(values), strict=True)
        own = [(W.contiguous(), None if b is None else new_b) for (_, b), (W, new_b) in both]
        return nested_like(self.plan, params, own)

    def copy_back(self, params: Params, values: np.ndarray[Any, Any]) -> None:
        """Such numbers into `params`."""
        for (W, b), (new_W, new_b) in zip(weights_of(self.plan, params), self.pieces(values), strict=True):
            W.copy_(new_W)
            if b is not None:
                b.copy_(new_b)

    def pieces(self, values: np.ndarray[Any, Any]) -> list[tuple[Tensor, Tensor]]:
        """W and b of every stage, of numbers that lie as the parameters do."""
        flat = torch.from_numpy(values)
        found = []
        for stage, at_W, at_b in zip(self.plan, self.w, self.b, strict=True):
            n_out, n_in = stage.linear.n_out, stage.linear.n_in
            room = self._room(n_out)
            W = flat[at_W : at_W + room * n_in]
            W = W.view(n_in, room)[:, :n_out].t() if self.stochastic else W.view(n_out, n_in)
            found.append((W, flat[at_b : at_b + n_out]))
        return found


def stochastic(widths: Sequence[int], rows: int) -> bool:
    """Whether batches of so many samples are for stochastic.py: one, of a small network."""
    return rows == 1 and sum((n + 1) * _padded(units) for n, units in itertools.pairwise(widths)) <= SMALL


def _padded(count: int) -> int:
    return -(-count // LANES) * LANES


def _whole(values: list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


def _constant(activation: object) -> float:
    if isinstance(activation, LeakyReLU):
        return activation.slope
    return activation.alpha if isinstance(activation, ELU) else 0.0
