"""Batch 1: an epoch of stochastic updates as one compiled loop.

Exploits that with one sample a product is a vector's: the whole network stays in the first caches, the weights are
read once forward and once to be updated, and nothing is called. Sums may be taken in another order.

`w`, `b`, `z`, `a` say where a layer's numbers begin, parameters in `theta` and values in `v`; delta[l] takes the place
of a[l], and dJ/da that of `da`. `width[l]` is a layer's number of units, width[0] that of the inputs.
"""

from __future__ import annotations

from numba import njit

from manualbp.engines.compiled.memory import pointer, prefetch
from manualbp.engines.compiled.pointwise import ONE, ZERO, activate, cost, times_slope
from manualbp.engines.compiled.together import FLOATS

AHEAD = 2  # steps
FAST = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}, "cache": True, "nogil": True}


@njit(**FAST)
def epoch(
    theta, to, v, width, w, b, z, a, da, kinds, c, biased, loss, x, y, classes, order, factors, target,
    scratch, losses,
):  # fmt: skip
    """One step a row of `order`.

    to W = beta (to W) + alpha dJ/dW, to b = beta_b (to b) + alpha dJ/db, with `factors` alpha, beta, beta_b: an update
    where `to` is `theta` itself, else a gradient. `classes`: y holds their numbers, one a sample.
    """
    theta, to, v, x, y = pointer(theta), pointer(to), pointer(v), pointer(x), pointer(y)
    width, w, b, z, a = pointer(width), pointer(w), pointer(b), pointer(z), pointer(a)
    alpha, beta, beta_b = factors
    last = kinds.size - 1
    inputs, k = width[0], width[last + 1]
    for step in range(order.size):
        row, ahead = order[step], order[min(step + AHEAD, order.size - 1)]
        for i in range(0, inputs, FLOATS):  # rows lie anywhere: have some on their way
            prefetch(x, ahead * inputs + i)
        for i in range(inputs):
            v[a[0] + i] = x[row * inputs + i]
        # forward: z[l] = W[l] a[l-1] + b[l], a[l] = f(z[l])
        for l in range(last + 1):
            n, units, below, start, bias, out = width[l], width[l + 1], a[l], w[l], b[l], z[l]
            for unit in range(units):
                total = ZERO
                for i in range(n):
                    total += theta[start + i] * v[below + i]
                v[out + unit] = total + theta[bias + unit]
                start += n
            activate(kinds[l], c[l], v, out, a[l + 1], units)
        # J and delta[L]
        if classes:
            for i in range(k):
                v[target + i] = ZERO
            v[target + int(y[row])] = ONE
        else:
            for i in range(k):
                v[target + i] = y[row * k + i]
        losses[step] = cost(loss, v, a[last + 1], target, da, scratch, k, ONE, 1, 1)
        times_slope(kinds[last], c[last], v, z[last], a[last + 1], da, k)
        for l in range(last, -1, -1):
            n, units, below, own, bias = width[l], width[l + 1], a[l], a[l + 1], b[l]
            # delta[l-1] = (W[l]^T delta[l]) * f'(z[l-1]), eq. (4), with W before its update
            if l > 0:
                for i in range(n):
                    v[da + i] = ZERO
                start = w[l]
                for unit in range(units):
                    d = v[own + unit]
                    for i in range(n):
                        v[da + i] += theta[start + i] * d
                    start += n
            # dJ/dW[l] = delta[l] a[l-1]^T and dJ/db[l] = delta[l], eq. (5)
            start = w[l]
            for unit in range(units):
                d = alpha * v[own + unit]
                for i in range(n):
                    to[start + i] = beta * to[start + i] + d * v[below + i]
                start += n
            if biased[l]:
                for unit in range(units):
                    to[bias + unit] = beta_b * to[bias + unit] + alpha * v[own + unit]
            if l > 0:
                times_slope(kinds[l - 1], c[l - 1], v, z[l - 1], a[l], da, n)
