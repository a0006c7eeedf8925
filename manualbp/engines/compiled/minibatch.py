"""Mini-batches: an epoch as one compiled loop, the samples of a batch in columns as the lecture writes them.

Exploits that between two products a small batch never leaves the caches; that in columns every loop runs over the
samples, on whole vector registers; and that one BLAS call is a weight gradient, its L2 part and its update. Products
too small to be worth a call, or of too few samples for BLAS to be good at them, are loops.

And that W[l] is done with column by column: once the block of it that leads to some units of layer l-1 has passed
their dJ/da on and is updated, their a is needed no more, and their delta takes its place. So there is one array a
layer, and a block of W is updated while it is still in cache.

Numbers lie as in stochastic.py, but W by rows, where its tensor is, and each value has `cols` columns, samples first:
a multiple of 8, so that no loop has a rest. What stands in the others is finite, and their deltas are 0.
"""

from __future__ import annotations

from numba import njit

from manualbp.engines.compiled.blas import PLAIN, TRANSPOSED, gemm
from manualbp.engines.compiled.lanes import LANES
from manualbp.engines.compiled.memory import FLOATS, address, pointer, prefetch
from manualbp.engines.compiled.pointwise import ONE, ZERO, activate, cost, times_slope
from manualbp.engines.compiled.stochastic import FAST
from manualbp.engines.compiled.together import meet, share

UNITS = 4  # a thread's share of a layer comes in multiples of this: forward_rows takes so many at a time
FEW = 32  # samples up to which forward_rows is faster than BLAS


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


@njit(**FAST)
def epoch(
    theta, to, v, width, w, b, z, a, da, block, again, kinds, c, biased, loss, x, y, classes, order, size, factors,
    target, scratch, losses, function, loops, thread, threads, counter, let_run,
):  # fmt: skip
    """One step for each `size` rows of `order`, the last one for what is left.

    to W = beta (to W) + alpha dJ/dW, to b = beta_b (to b) + alpha dJ/db, with `factors` alpha, beta, beta_b: an update
    where `to` is `theta` itself, else a gradient. Where a product has fewer than `loops` multiplications it is loops,
    else the BLAS at `function`. `classes`: y holds
    their numbers, one a sample. There is room at `da` for `block` units; `again`: the place of x is overwritten
    on the way, so that it is gathered once more. This is `thread` of `threads`, which meet at `counter`:
    see together.py.
    """
    x, y, rows, n_rows = pointer(x), pointer(y), pointer(order), order.size
    theta, to, v, last = pointer(theta), pointer(to), pointer(v), kinds.size - 1
    counter, turn = pointer(counter), 0
    alpha, beta, beta_b = factors
    one, none = losses.dtype.type(1), losses.dtype.type(0)
    k = width[last + 1]
    in_columns = width[0] * width[1] * size < loops
    room = block // threads
    inputs = a[0] + (0 if again else thread * width[0] * ((size + LANES - 1) // LANES * LANES))  # of this thread
    for step in range(losses.size):
        first = step * size
        m = min(size, n_rows - first)
        cols = (m + LANES - 1) // LANES * LANES
        if again:
            start, stop = share(m, thread, threads, 1)
            gather(x, rows, first, start, stop, m, width[0], v, inputs, cols, in_columns)
            turn = meet(counter, threads, turn, let_run)
        else:
            gather(x, rows, first, 0, max(m, width[0]), m, width[0], v, inputs, cols, in_columns)
        if thread == 0 and classes:
            one_hot(y, rows, first, m, v, target, cols, k)
        elif thread == 0:
            gather(y, rows, first, 0, k, m, k, v, target, cols, True)
        # forward: z[l] = W[l] a[l-1] + b[l], a[l] = f(z[l]), for this thread's units
        for l in range(last + 1):
            n = width[l]
            start, stop = share(width[l + 1], thread, threads, UNITS)
            units, W, bias, out = stop - start, w[l] + start * n, b[l] + start, z[l] + start * cols
            below = a[l] if l > 0 else inputs
            if n * width[l + 1] * size < loops:
                forward_loops(theta, v, W, bias, below, out, n, units, cols)
            elif l == 0 and m <= FEW:
                forward_rows(theta, v, W, bias, below, out, n, units, m, cols)
            elif units:
                for unit in range(units):
                    for s in range(cols):
                        v[out + unit * cols + s] = theta[bias + unit]
                A, B, C = address(v, below), address(theta, W), address(v, out)
                if l == 0:
                    gemm(function, TRANSPOSED, PLAIN, m, units, n, one, A, n, B, n, one, C, cols)
                else:
                    gemm(function, PLAIN, PLAIN, m, units, n, one, A, cols, B, n, one, C, cols)
            activate(kinds[l], c[l], v, out, a[l + 1] + start * cols, units * cols)
            turn = meet(counter, threads, turn, let_run)
        # J and delta[L], in place of a[L]
        if thread == 0:
            losses[step] = cost(loss, v, a[last + 1], target, da, scratch, k, one / losses.dtype.type(m), m, cols)
            times_slope(kinds[last], c[last], v, z[last], a[last + 1], da, k * cols)
        turn = meet(counter, threads, turn, let_run)
        for l in range(last, -1, -1):
            n, units, own = width[l], width[l + 1], a[l + 1]
            small = n * units * size < loops
            if l == 0:  # dJ/dW = delta x^T, eq. (5), for this thread's units
                if again:
                    start, stop = share(m, thread, threads, 1)
                    gather(x, rows, first, start, stop, m, n, v, inputs, cols, in_columns)
                    turn = meet(counter, threads, turn, let_run)
                start, stop = share(units, thread, threads, UNITS)
                units, W, D = stop - start, w[0] + start * n, own + start * cols
                if small:
                    weight_loops(to, v, W, D, inputs, n, units, cols, n, alpha, beta)
                elif m <= FEW:
                    weight_rows(to, v, W, D, inputs, n, units, m, cols, alpha, beta)
                elif units:
                    A, B, C = address(v, inputs), address(v, D), address(to, W)
                    gemm(function, PLAIN, PLAIN, n, units, m, alpha, A, n, B, cols, beta, C, n)
            else:
                start, stop = share(n, thread, threads, FLOATS)
                part = da + thread * room * cols
                for j in range(start, stop, room):  # of the units of the layer below
                    count, W, below = min(room, stop - j), w[l] + j, a[l] + j * cols
                    if small:
                        passed_loops(theta, v, W, own, part, n, units, cols, count)
                        weight_loops(to, v, W, own, below, n, units, cols, count, alpha, beta)
                    else:
                        # dJ/da[l-1] = W[l]^T delta[l], of eq. (4), with W before its update
                        D, A, out = address(v, own), address(v, below), address(v, part)
                        old, new = address(theta, W), address(to, W)
                        gemm(function, PLAIN, TRANSPOSED, cols, count, units, one, D, cols, old, n, none, out, cols)
                        # dJ/dW[l] = delta[l] a[l-1]^T, eq. (5)
                        gemm(function, TRANSPOSED, PLAIN, count, units, m, alpha, A, cols, D, cols, beta, new, n)
                    # delta[l-1] = dJ/da[l-1] * f'(z[l-1])
                    times_slope(kinds[l - 1], c[l - 1], v, z[l - 1] + j * cols, below, part, count * cols)
            if biased[l]:  # dJ/db[l] = delta[l], summed over the samples
                start, stop = share(width[l + 1], thread, threads, UNITS)
                bias_loops(to, v, b[l] + start, own + start * cols, stop - start, cols, alpha, beta_b)
            if l > 0 or again:
                turn = meet(counter, threads, turn, let_run)
