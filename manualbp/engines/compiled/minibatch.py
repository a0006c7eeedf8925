"""Mini-batches: an epoch as one compiled loop, the samples of a batch in columns as the lecture writes them.

Exploits that between two products a small batch never leaves the caches; that in columns every loop runs over the
samples, on whole vector registers; and that one BLAS call is a weight gradient, its L2 part and its update. Products
too small to be worth a call are loops.

Numbers lie as in stochastic.py, but each value has `cols` columns, samples first: a multiple of 8, so that no loop
has a rest. What stands in the others is finite, and their deltas are 0.
"""

from __future__ import annotations

from numba import njit

from manualbp.engines.compiled.blas import PLAIN, TRANSPOSED, gemm
from manualbp.engines.compiled.memory import address, pointer
from manualbp.engines.compiled.pointwise import IDENTITY, ZERO, activate, cost, times_slope
from manualbp.engines.compiled.stochastic import FAST


@njit(**FAST)
def forward_loops(theta, v, W, bias, below, z, n, units, cols):
    """z = W a + b."""
    for unit in range(units):
        out = z + unit * cols
        for s in range(cols):
            v[out + s] = theta[bias + unit]
        for i in range(n):
            weight, a = theta[W + unit * n + i], below + i * cols
            for s in range(cols):
                v[out + s] += weight * v[a + s]


@njit(**FAST)
def passed_loops(theta, v, W, delta, passed, n, units, cols):
    """dJ/da = W^T delta."""
    for i in range(n):
        out = passed + i * cols
        for s in range(cols):
            v[out + s] = ZERO
        for unit in range(units):
            weight, d = theta[W + unit * n + i], delta + unit * cols
            for s in range(cols):
                v[out + s] += weight * v[d + s]


@njit(**FAST)
def weight_loops(to, v, W, delta, below, n, units, cols, alpha, beta):
    """To W = beta (to W) + alpha delta a^T."""
    for unit in range(units):
        d = delta + unit * cols
        for i in range(n):
            a = below + i * cols
            total = ZERO
            for s in range(cols):
                total += v[d + s] * v[a + s]
            at = W + unit * n + i
            to[at] = beta * to[at] + alpha * total


@njit(**FAST)
def bias_loops(to, v, bias, delta, units, cols, alpha, beta_b):
    """To b = beta_b (to b) + alpha delta, summed over the samples."""
    for unit in range(units):
        d = delta + unit * cols
        total = ZERO
        for s in range(cols):
            total += v[d + s]
        to[bias + unit] = beta_b * to[bias + unit] + alpha * total


@njit(**FAST)
def gather(values, rows, first, m, d, v, at, cols, columns):
    """m rows of `values` (.., d) into v: as columns, padded with 0, or as they are."""
    if not columns:
        for s in range(m):
            start, out = rows[first + s] * d, at + s * d
            for i in range(d):
                v[out + i] = values[start + i]
        return
    for i in range(d):
        out = at + i * cols
        for s in range(m):
            v[out + s] = values[rows[first + s] * d + i]
        for s in range(m, cols):
            v[out + s] = ZERO


@njit(**FAST)
def epoch(
    theta, to, v, width, w, b, z, a, delta, kinds, c, biased, loss, x, y, order, size, factors, target, scratch, losses,
    function, loops,
):  # fmt: skip
    """One step for each `size` rows of `order`, the last one for what is left.

    to W = beta (to W) + alpha dJ/dW, to b = beta_b (to b) + alpha dJ/db, with `factors` alpha, beta, beta_b: an update
    where `to` is `theta` itself, else a gradient. Where a product has fewer than `loops` multiplications it is loops,
    else the BLAS at `function`.
    """
    x, y, rows, n_rows = pointer(x), pointer(y), pointer(order), order.size
    theta, to, v, last = pointer(theta), pointer(to), pointer(v), kinds.size - 1
    alpha, beta, beta_b = factors
    one, none = losses.dtype.type(1), losses.dtype.type(0)
    k = width[last + 1]
    in_columns = width[0] * width[1] * size < loops
    for step in range(losses.size):
        first = step * size
        m = min(size, n_rows - first)
        cols = (m + 7) // 8 * 8
        gather(x, rows, first, m, width[0], v, a[0], cols, in_columns)
        gather(y, rows, first, m, k, v, target, cols, True)
        # forward: z[l] = W[l] a[l-1] + b[l], a[l] = f(z[l])
        for l in range(last + 1):
            n, units = width[l], width[l + 1]
            if n * units * size < loops:
                forward_loops(theta, v, w[l], b[l], a[l], z[l], n, units, cols)
            else:
                for unit in range(units):
                    for s in range(cols):
                        v[z[l] + unit * cols + s] = theta[b[l] + unit]
                W, below, out = address(theta, w[l]), address(v, a[l]), address(v, z[l])
                if l == 0:
                    gemm(function, TRANSPOSED, PLAIN, m, units, n, one, below, n, W, n, one, out, cols)
                else:
                    gemm(function, PLAIN, PLAIN, m, units, n, one, below, cols, W, n, one, out, cols)
            if kinds[l] != IDENTITY:
                activate(kinds[l], c[l], v, z[l], a[l + 1], units * cols)
        # J and delta[L]
        losses[step] = cost(loss, v, a[last + 1], target, delta[last], scratch, k, one / losses.dtype.type(m), m, cols)
        if kinds[last] != IDENTITY:
            times_slope(kinds[last], c[last], v, z[last], a[last + 1], delta[last], k * cols)
        for l in range(last, -1, -1):
            n, units = width[l], width[l + 1]
            W, D, below = address(theta, w[l]), address(v, delta[l]), address(v, a[l])
            small = n * units * size < loops
            # dJ/da[l-1] = W[l]^T delta[l], of eq. (4), with W before its update
            if l > 0 and small:
                passed_loops(theta, v, w[l], delta[l], delta[l - 1], n, units, cols)
            elif l > 0:
                passed = address(v, delta[l - 1])
                gemm(function, PLAIN, TRANSPOSED, cols, n, units, one, D, cols, W, n, none, passed, cols)
            # dJ/dW[l] = delta[l] a[l-1]^T and dJ/db[l] = delta[l], summed over the samples, eq. (5)
            if small:
                weight_loops(to, v, w[l], delta[l], a[l], n, units, cols, alpha, beta)
            elif l == 0:
                gemm(function, PLAIN, PLAIN, n, units, m, alpha, below, n, D, cols, beta, address(to, w[l]), n)
            else:
                gemm(function, TRANSPOSED, PLAIN, n, units, m, alpha, below, cols, D, cols, beta, address(to, w[l]), n)
            if biased[l]:
                bias_loops(to, v, b[l], delta[l], units, cols, alpha, beta_b)
            if l > 0 and kinds[l - 1] != IDENTITY:
                times_slope(kinds[l - 1], c[l - 1], v, z[l - 1], a[l], delta[l - 1], n * cols)
