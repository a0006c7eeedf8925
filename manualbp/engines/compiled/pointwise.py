"""Activations and costs, each next to its derivative, on numbers that lie end to end in one array v.

Exploits that all that stands between two matrix products is done in one pass over numbers that are still in cache,
a vector register at a time. The formulas are those of manualbp/activation.py and manualbp/loss.py.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from manualbp.engines.compiled.exponential import EXACT, exp, expm1, log1p

# positions in ACTIVATIONS and LOSSES of manualbp/engines/plan.py
IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SILU, SOFTPLUS, GELU = range(9)
LOG_LOSS, CROSS_ENTROPY, SQUARED_ERROR = range(3)

# float32, exact in both formats: an int, or a float64, would make float64 of everything that it meets
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
ROOT_HALF, ROOT_2PI = math.sqrt(0.5), math.sqrt(2 * math.pi)


@njit(**EXACT)
def sigmoid(z, c):
    """1 / (1 + exp(-z)); c, here and below, is the activation's slope or alpha where it has one."""
    t = exp(-abs(z))
    return (ONE if z >= ZERO else t) / (ONE + t)


@njit(**EXACT)
def sigmoid_slope(a, c):
    """a (1 - a)."""
    return a * (ONE - a)


@njit(**EXACT)
def tanh(z, c):
    """-u / (2 + u) with u = exp(-2 |z|) - 1, and the sign of z."""
    u = expm1(-TWO * abs(z))
    a = u / (TWO + u)
    return -a if z >= ZERO else a


@njit(**EXACT)
def tanh_slope(a, c):
    """1 - a^2."""
    return ONE - a * a


@njit(**EXACT)
def relu(z, c):
    """max(z, 0); NaN stays NaN."""
    return ZERO if z < ZERO else z


@njit(**EXACT)
def relu_slope(a, c):
    """1 for z > 0, else 0."""
    return ONE if a > ZERO else ZERO


@njit(**EXACT)
def leaky_relu(z, c):
    """z, or c z below 0."""
    return z if z > ZERO else c * z


@njit(**EXACT)
def leaky_relu_slope(z, c):
    """1, or c below 0."""
    return ONE if z > ZERO else c


@njit(**EXACT)
def elu(z, c):
    """z, or c (exp(z) - 1) below 0."""
    below = c * expm1(ZERO if z > ZERO else z)
    return z if z > ZERO else below


@njit(**EXACT)
def elu_slope(z, c):
    """1, or c exp(z) below 0."""
    below = c * exp(ZERO if z > ZERO else z)
    return ONE if z > ZERO else below


@njit(**EXACT)
def silu(z, c):
    """z sigma(z)."""
    return z * sigmoid(z, c)


@njit(**EXACT)
def silu_slope(z, c):
    """s (1 + z (1 - s)) with s = sigma(z)."""
    s = sigmoid(z, c)
    return s * (ONE + z * (ONE - s))


@njit(**EXACT)
def softplus(z, c):
    """max(z, 0) + log(1 + exp(-|z|))."""
    return (ZERO if z < ZERO else z) + log1p(exp(-abs(z)))


@njit(**EXACT)
def softplus_slope(z, c):
    """sigma(z)."""
    return sigmoid(z, c)


@njit(**EXACT)
def gelu(z, c):
    """z Phi(z), in float64: erfc is libm's."""
    return z * (0.5 * math.erfc(-ROOT_HALF * z))


@njit(**EXACT)
def gelu_slope(z, c):
    """Phi(z) + z phi(z)."""
    return 0.5 * math.erfc(-ROOT_HALF * z) + z * math.exp(-0.5 * z * z) / ROOT_2PI


@njit(**EXACT)
def activate(kind, c, v, z, a, n):
    """a = f(z), for n numbers of v that begin at a and z, which may be the same place.

    Always from a to a: of two places that could overlap a compiler runs no loop on vector registers.
    """
    if a != z:
        for i in range(n):
            v[a + i] = v[z + i]
    if kind == SIGMOID:
        for i in range(n):
            v[a + i] = sigmoid(v[a + i], c)
    elif kind == TANH:
        for i in range(n):
            v[a + i] = tanh(v[a + i], c)
    elif kind == RELU:
        for i in range(n):
            v[a + i] = relu(v[a + i], c)
    elif kind == LEAKY_RELU:
        for i in range(n):
            v[a + i] = leaky_relu(v[a + i], c)
    elif kind == ELU:
        for i in range(n):
            v[a + i] = elu(v[a + i], c)
    elif kind == SILU:
        for i in range(n):
            v[a + i] = silu(v[a + i], c)
    elif kind == SOFTPLUS:
        for i in range(n):
            v[a + i] = softplus(v[a + i], c)
    elif kind == GELU:
        for i in range(n):
            v[a + i] = gelu(v[a + i], c)


@njit(**EXACT)
def times_slope(kind, c, v, z, a, da, n):
    """delta = da * f'(z), the factor of eq. (4), in place of a."""
    if kind == SIGMOID:
        for i in range(n):
            v[a + i] = v[da + i] * sigmoid_slope(v[a + i], c)
    elif kind == TANH:
        for i in range(n):
            v[a + i] = v[da + i] * tanh_slope(v[a + i], c)
    elif kind == RELU:
        for i in range(n):
            v[a + i] = v[da + i] * relu_slope(v[a + i], c)
    elif kind == LEAKY_RELU:
        for i in range(n):
            v[a + i] = v[da + i] * leaky_relu_slope(v[z + i], c)
    elif kind == ELU:
        for i in range(n):
            v[a + i] = v[da + i] * elu_slope(v[z + i], c)
    elif kind == SILU:
        for i in range(n):
            v[a + i] = v[da + i] * silu_slope(v[z + i], c)
    elif kind == SOFTPLUS:
        for i in range(n):
            v[a + i] = v[da + i] * softplus_slope(v[z + i], c)
    elif kind == GELU:
        for i in range(n):
            v[a + i] = v[da + i] * gelu_slope(v[z + i], c)
    else:
        for i in range(n):
            v[a + i] = v[da + i]


@njit(**EXACT)
def cost(kind, v, z, y, delta, scratch, k, share, m, cols):
    """J, and delta[L] = dJ/dz[L] of eq. (3), with the one 1/m of the derivation.

    z, y and delta are where (k, cols) numbers of v begin, of which m columns are samples; the deltas of the others
    become 0. At `scratch` there is room for 4 cols.
    """
    for s in range(cols):
        v[scratch + s] = ZERO
    if kind == CROSS_ENTROPY:
        _cross_entropy(v, z, y, delta, scratch, k, cols, share)
    for unit in range(0 if kind == CROSS_ENTROPY else k):
        row = unit * cols
        if kind == LOG_LOSS:
            for s in range(cols):
                value, target = v[z + row + s], v[y + row + s]
                t = exp(-abs(value))
                v[delta + row + s] = ((ONE if value >= ZERO else t) / (ONE + t) - target) * share
                v[scratch + s] += (ZERO if value < ZERO else value) - value * target + log1p(t)
        else:
            for s in range(cols):
                error = v[z + row + s] - v[y + row + s]
                v[delta + row + s] = error * share
                v[scratch + s] += HALF * error * error
    J = 0.0
    for s in range(m):
        J += v[scratch + s]
    for unit in range(k):
        for s in range(m, cols):
            v[delta + unit * cols + s] = ZERO
    return J / m


@njit(**EXACT)
def _cross_entropy(v, z, y, delta, each, k, cols, share):
    """delta = (a sum y - y) / m with a = exp(z - largest) / sum; J = sum y (largest + log sum - z)."""
    largest, total, mass = each + cols, each + 2 * cols, each + 3 * cols
    for s in range(cols):
        v[largest + s], v[total + s], v[mass + s] = v[z + s], ZERO, ZERO
    for i in range(cols, k * cols, cols):
        for s in range(cols):
            v[largest + s] = v[z + i + s] if v[z + i + s] > v[largest + s] else v[largest + s]
    for i in range(0, k * cols, cols):
        for s in range(cols):
            power = exp(v[z + i + s] - v[largest + s])
            v[delta + i + s] = power
            v[total + s] += power
            v[mass + s] += v[y + i + s]
    for s in range(cols):
        v[mass + s] = v[mass + s] / v[total + s] * share
        v[total + s] = math.log(v[total + s])
    for i in range(0, k * cols, cols):
        for s in range(cols):
            target = v[y + i + s]
            v[each + s] += target * (v[largest + s] + v[total + s] - v[z + i + s])
            v[delta + i + s] = v[delta + i + s] * v[mass + s] - target * share
