"""Batch 1: an epoch of stochastic updates as one compiled loop.

Exploits that with one sample a product is a vector's: a small network stays in the first caches, the weights are read
once forward and once to be passed back and updated, and nothing is called. Units fill vector registers (lanes.py).

`w`, `b`, `z`, `a` say where a layer's numbers begin, parameters in `theta`, W by columns, and values in `v`; `da` where
each dJ/da does, while delta[l] takes the place of a[l]. `width[l]` is a layer's number of units, width[0] that of the
inputs. There is room for a multiple of `LANES` units; what stands beyond a layer's own is finite in z and a, and 0 in
deltas and parameters.
"""

from __future__ import annotations

from numba import njit

from manualbp.engines.compiled.lanes import LANES, back, forward
from manualbp.engines.compiled.memory import FLOATS, pointer, prefetch
from manualbp.engines.compiled.pointwise import CROSS_ENTROPY, IDENTITY, ONE, ZERO, activate, cost, times_slope

AHEAD = 2  # steps
FAST = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}, "cache": True, "nogil": True}


@njit(**FAST)
def epoch(
    theta, to, v, width, w, b, z, a, da, kinds, c, biased, loss, x, y, classes, order, factors, target, scratch, losses
):
    """One step a row of `order`.

    `factors` as in lanes.py: an update where `to` is `theta` itself, else a gradient. `classes`: y holds their numbers,
    one a sample.
    """
    theta, to, v, x, y = pointer(theta), pointer(to), pointer(v), pointer(x), pointer(y)
    width, w, b = pointer(width), pointer(w), pointer(b)
    z, a, da = pointer(z), pointer(a), pointer(da)
    last = kinds.size - 1
    inputs, k = width[0], width[last + 1]
    for step in range(order.size):
        row, ahead = order[step], order[min(step + AHEAD, order.size - 1)]
        for i in range(0, inputs, FLOATS):  # rows lie anywhere: have some on their way
            prefetch(x, ahead * inputs + i)
        # forward: z[l] = W[l] a[l-1] + b[l], a[l] = f(z[l])
        for l in range(last + 1):
            padded = (width[l + 1] + LANES - 1) // LANES * LANES
            if l == 0:
                forward(theta, v, w[0], b[0], x, row * inputs, z[0], inputs, padded)
            else:
                forward(theta, v, w[l], b[l], v, a[l], z[l], width[l], padded)
            activate(kinds[l], c[l], v, z[l], a[l + 1], padded)
        # J and delta[L]
        if classes:
            for i in range(k):
                v[target + i] = ZERO
            v[target + int(y[row])] = ONE
        else:
            for i in range(k):
                v[target + i] = y[row * k + i]
        # delta[L] is where it belongs at once, where that is dJ/da[L] and needs no z any more
        at_once = kinds[last] == IDENTITY and loss != CROSS_ENTROPY
        losses[step] = cost(loss, v, a[last + 1], target, a[last + 1] if at_once else da[last], scratch, k, ONE, 1, 1)
        for l in range(last, -1, -1):
            padded = (width[l + 1] + LANES - 1) // LANES * LANES
            # delta[l] = dJ/da[l] * f'(z[l]), eq. (4), in place of a[l]
            if l < last or not at_once:
                times_slope(kinds[l], c[l], v, z[l], a[l + 1], da[l], padded)
            # dJ/da[l-1] = W[l]^T delta[l], with W before its update, and dJ/dW[l] = delta[l] a[l-1]^T, eq. (5)
            own, bias = a[l + 1], biased[l] != 0
            if l == 0:
                back(theta, to, v, w[0], b[0], own, x, row * inputs, 0, inputs, padded, factors, False, bias)
            else:
                back(theta, to, v, w[l], b[l], own, v, a[l], da[l - 1], width[l], padded, factors, True, bias)
