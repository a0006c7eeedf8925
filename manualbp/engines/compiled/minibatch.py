"""Mini-batches: an epoch as one compiled loop, the samples of a batch in columns as the lecture writes them.

Exploits that between two products a small batch never leaves the caches; that in columns every loop runs over the
samples, on whole vector registers; and that one BLAS call is a weight gradient, its L2 part and its update. Products
too small to be worth a call, or of too few samples for BLAS to be good at them, are loops (loops.py).

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
from manualbp.engines.compiled.loops import (
    bias_loops,
    forward_loops,
    forward_rows,
    gather,
    one_hot,
    passed_loops,
    weight_loops,
    weight_rows,
)
from manualbp.engines.compiled.meeting import meet, share
from manualbp.engines.compiled.memory import FLOATS, address, pointer
from manualbp.engines.compiled.pointwise import activate, cost, times_slope
from manualbp.engines.compiled.stochastic import FAST

UNITS = 4  # a thread's share of a layer comes in multiples of this: forward_rows takes so many at a time
FEW = 32  # samples up to which forward_rows is faster than BLAS


@njit(**FAST)
def epoch(
    theta, to, v, width, w, b, z, a, da, block, again, kinds, c, biased, loss, x, y, classes, order, size, factors,
    target, scratch, losses, function, loops, thread, threads, counter, let_run,
):  # fmt: skip
    """One step for each `size` rows of `order`, the last one for what is left.

    to W = beta (to W) + alpha dJ/dW, to b = beta_b (to b) + alpha dJ/db, with `factors` alpha, beta, beta_b: an update
    where `to` is `theta` itself, else a gradient. Where a product has fewer than `loops` multiplications it is loops,
    else the BLAS at `function`. `classes`: y holds their numbers, one a sample. There is room at `da` for `block`
    units. `again`: the place of x is overwritten on the way, and it is gathered once more. This is `thread` of
    `threads`, which meet at `counter`: see together.py.
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
    cols = 0
    for step in range(losses.size):
        first, before = step * size, cols
        m = min(size, n_rows - first)
        cols = (m + LANES - 1) // LANES * LANES
        if cols < before:  # a thread's share then begins where another may still read the deltas of the step before
            turn = meet(counter, threads, turn, let_run)
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
