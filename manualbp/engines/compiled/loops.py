"""The products and copies of minibatch.py that are loops: those too small to be worth a call, or of few samples.

Exploits that samples stand in columns, so that the innermost loop runs over them on whole vector registers; and, where
they stand in rows, that several units by several samples keep as many sums in registers as there are.
"""

from __future__ import annotations

from numba import njit

from manualbp.engines.compiled.memory import FLOATS, prefetch
from manualbp.engines.compiled.pointwise import ONE, ZERO
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
def forward_rows(theta, v, W, bias, x, z, n, units, m, cols):
    """The same for m samples in rows, four units by two samples at a time: eight sums in registers."""
    for unit in range(0, units - 3, 4):
        w0 = W + unit * n
        w1, w2, w3 = w0 + n, w0 + 2 * n, w0 + 3 * n
        b0, b1, b2, b3 = (
            theta[bias + unit], theta[bias + unit + 1], theta[bias + unit + 2], theta[bias + unit + 3],
        )  # fmt: skip
        out = z + unit * cols
        for s in range(0, m - 1, 2):
            first, second = x + s * n, x + s * n + n
            p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = ZERO
            for i in range(n):
                p, q = v[first + i], v[second + i]
                p0 += theta[w0 + i] * p
                p1 += theta[w1 + i] * p
                p2 += theta[w2 + i] * p
                p3 += theta[w3 + i] * p
                q0 += theta[w0 + i] * q
                q1 += theta[w1 + i] * q
                q2 += theta[w2 + i] * q
                q3 += theta[w3 + i] * q
            at = out + s
            v[at], v[at + cols], v[at + 2 * cols], v[at + 3 * cols] = b0 + p0, b1 + p1, b2 + p2, b3 + p3
            at += 1
            v[at], v[at + cols], v[at + 2 * cols], v[at + 3 * cols] = b0 + q0, b1 + q1, b2 + q2, b3 + q3
        if m % 2:
            _dots(theta, v, W, bias, x, z, n, unit, unit + 4, m - 1, m, cols)
    _dots(theta, v, W, bias, x, z, n, units // 4 * 4, units, 0, m, cols)


@njit(**FAST)
def _dots(theta, v, W, bias, x, z, n, unit, units, sample, samples, cols):
    """z of some units for some samples, one at a time."""
    for u in range(unit, units):
        for s in range(sample, samples):
            total = ZERO
            for i in range(n):
                total += theta[W + u * n + i] * v[x + s * n + i]
            v[z + u * cols + s] = total + theta[bias + u]


@njit(**FAST)
def passed_loops(theta, v, W, delta, da, n, units, cols, count):
    """dJ/da = W^T delta, for the `count` units whose weights begin at W."""
    for i in range(count):
        out = da + i * cols
        for s in range(cols):
            v[out + s] = ZERO
        for unit in range(units):
            weight, d = theta[W + unit * n + i], delta + unit * cols
            for s in range(cols):
                v[out + s] += weight * v[d + s]


@njit(**FAST)
def weight_loops(to, v, W, delta, below, n, units, cols, count, alpha, beta):
    """To W = beta (to W) + alpha delta a^T, for the same units."""
    for unit in range(units):
        d = delta + unit * cols
        for i in range(count):
            a = below + i * cols
            total = ZERO
            for s in range(cols):
                total += v[d + s] * v[a + s]
            at = W + unit * n + i
            to[at] = beta * to[at] + alpha * total


@njit(**FAST)
def weight_rows(to, v, W, delta, x, n, units, m, cols, alpha, beta):
    """To W = beta (to W) + alpha delta a^T for m samples in rows, two units by four samples at a time."""
    for unit in range(0, units, 2):
        w0, d0 = W + unit * n, delta + unit * cols
        both = unit + 1 < units
        w1, d1 = (w0 + n, d0 + cols) if both else (w0, d0)
        keep = beta
        for s in range(0, m, 4):  # columns from m on are there, and 0
            p0, p1, p2, p3 = alpha * v[d0 + s], alpha * v[d0 + s + 1], alpha * v[d0 + s + 2], alpha * v[d0 + s + 3]
            q0, q1, q2, q3 = alpha * v[d1 + s], alpha * v[d1 + s + 1], alpha * v[d1 + s + 2], alpha * v[d1 + s + 3]
            x0 = x + s * n
            x1, x2, x3 = x + min(s + 1, m - 1) * n, x + min(s + 2, m - 1) * n, x + min(s + 3, m - 1) * n
            if both:
                for i in range(n):
                    a0, a1, a2, a3 = v[x0 + i], v[x1 + i], v[x2 + i], v[x3 + i]
                    to[w0 + i] = keep * to[w0 + i] + ((p0 * a0 + p1 * a1) + (p2 * a2 + p3 * a3))
                    to[w1 + i] = keep * to[w1 + i] + ((q0 * a0 + q1 * a1) + (q2 * a2 + q3 * a3))
            else:
                for i in range(n):
                    a0, a1, a2, a3 = v[x0 + i], v[x1 + i], v[x2 + i], v[x3 + i]
                    to[w0 + i] = keep * to[w0 + i] + ((p0 * a0 + p1 * a1) + (p2 * a2 + p3 * a3))
            keep = ONE


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
def gather(values, rows, first, start, stop, m, d, v, at, cols, columns):
    """m rows of `values` (.., d) into v: as columns, padded with 0, or as they are; of those, `start` to `stop`."""
    if not columns:
        for s in range(start, min(stop, m)):
            row, out, ahead = rows[first + s] * d, at + s * d, rows[first + min(s + 2, m - 1)] * d
            for i in range(0, d, FLOATS):  # rows lie anywhere: have one on its way while another is copied
                prefetch(values, ahead + i)
            for i in range(d):
                v[out + i] = values[row + i]
        return
    for i in range(start, min(stop, d)):
        out = at + i * cols
        for s in range(m):
            v[out + s] = values[rows[first + s] * d + i]
        for s in range(m, cols):
            v[out + s] = ZERO


@njit(**FAST)
def one_hot(classes, rows, first, m, v, at, cols, k):
    """Columns with a one at the sample's class."""
    for i in range(k * cols):
        v[at + i] = ZERO
    for s in range(m):
        v[at + int(classes[rows[first + s]]) * cols + s] = ONE
