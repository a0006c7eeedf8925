"""exp, exp - 1 and log(1 + t) that a compiler can run on a whole vector register at once.

Exploits that hand-derived formulas ask for exp(x) at x <= 0 only and for log(1 + t) at 0 <= t <= 1 only: no branch,
no table, no overflow. libm's functions are calls, one number at a time, and cost about ten times as much.

    x = n log 2 + r, |r| <= log(2)/2       exp(x) = 2^n (1 + q),  q = r + r^2/2! + r^3/3! + ...
    s = t / (2 + t) <= 1/3                 log(1 + t) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...)

Cut where the next term is below the last digit. NaN stays NaN; below the least subnormal exp is 0.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit
from numba.extending import overload

# contract: a product and the sum that takes it may become one fused operation, which only rounds less often.
# No other liberty is taken here: (x - n HIGH) - n LOW has to stay in this order.
EXACT = {"error_model": "numpy", "fastmath": {"contract"}, "cache": True, "nogil": True}

# a number of this size has no fraction: adding it rounds to a whole number, which then stands in its last bits
ROUND32, ROUND64 = np.float32(1.5 * 2.0**23), np.float64(1.5 * 2.0**52)
ONE32, ONE64 = int(np.float32(1).view(np.int32)), int(np.float64(1).view(np.int64))
LOG2E32, LOG2E64 = np.float32(math.log2(math.e)), np.float64(math.log2(math.e))
HIGH32, LOW32 = np.float32(0.693359375), np.float32(-2.12194440e-4)  # log 2 in two parts: n HIGH is exact
HIGH64, LOW64 = np.float64(0.693147180369123816490), np.float64(1.90821492927058770002e-10)
LEAST32, LEAST64 = np.float32(-104.5), np.float64(-746.0)  # exp of this is 0
SMALL32, SMALL64 = np.float32(-80.0), np.float64(-680.0)  # exp of less may be subnormal: 2^64 larger on the way
UP32, DOWN32, SAME32, NONE32 = np.float32(64), np.float32(2.0**-64), np.float32(1), np.float32(0)
UP64, DOWN64, SAME64, NONE64 = np.float64(64), np.float64(2.0**-64), np.float64(1), np.float64(0)
E32 = tuple(np.float32(1 / math.factorial(k)) for k in range(9))
E64 = tuple(np.float64(1 / math.factorial(k)) for k in range(15))
L32 = tuple(np.float32(2 / (2 * k + 1)) for k in range(8))
L64 = tuple(np.float64(2 / (2 * k + 1)) for k in range(17))


@njit(**EXACT)
def _power32(n):
    """2^n, for n + ROUND32."""
    bits = np.float32(n).view(np.int32)
    return np.int32((bits << np.int32(23)) + np.int32(ONE32)).view(np.float32)


@njit(**EXACT)
def _power64(n):
    """2^n, for n + ROUND64."""
    bits = np.float64(n).view(np.int64)
    return np.int64((bits << np.int64(52)) + np.int64(ONE64)).view(np.float64)


@njit(**EXACT)
def _reduced32(x):
    """q, and n + ROUND32."""
    n = x * LOG2E32 + ROUND32
    whole = n - ROUND32
    r = (x - whole * HIGH32) - whole * LOW32
    r2 = r * r  # by pairs, so that no product waits for all those before it
    r4 = r2 * r2
    low = (E32[1] + E32[2] * r) + (E32[3] + E32[4] * r) * r2
    high = (E32[5] + E32[6] * r) + (E32[7] + E32[8] * r) * r2
    return (low + high * r4) * r, n


@njit(**EXACT)
def _reduced64(x):
    """q, and n + ROUND64."""
    n = x * LOG2E64 + ROUND64
    whole = n - ROUND64
    r = (x - whole * HIGH64) - whole * LOW64
    r2 = r * r
    r4 = r2 * r2
    first = (E64[1] + E64[2] * r) + (E64[3] + E64[4] * r) * r2
    second = (E64[5] + E64[6] * r) + (E64[7] + E64[8] * r) * r2
    third = (E64[9] + E64[10] * r) + (E64[11] + E64[12] * r) * r2
    fourth = E64[13] + E64[14] * r
    return (first + r4 * (second + r4 * (third + r4 * fourth))) * r, n


@njit(**EXACT)
def _exp32(x):
    x = LEAST32 if x < LEAST32 else x
    q, n = _reduced32(x)
    small = x < SMALL32
    power = _power32(n + (UP32 if small else NONE32))
    return (q * power + power) * (DOWN32 if small else SAME32)


@njit(**EXACT)
def _exp64(x):
    x = LEAST64 if x < LEAST64 else x
    q, n = _reduced64(x)
    small = x < SMALL64
    power = _power64(n + (UP64 if small else NONE64))
    return (q * power + power) * (DOWN64 if small else SAME64)


@njit(**EXACT)
def _expm1_32(x):
    x = SMALL32 if x < SMALL32 else x  # exp - 1 is -1 long before
    q, n = _reduced32(x)
    power = _power32(n)
    return q * power + (power - SAME32)


@njit(**EXACT)
def _expm1_64(x):
    x = SMALL64 if x < SMALL64 else x
    q, n = _reduced64(x)
    power = _power64(n)
    return q * power + (power - SAME64)


@njit(**EXACT)
def _log1p_32(t):
    s = t / (np.float32(2) + t)
    square = s * s
    p = L32[7] * square + L32[6]
    for k in (5, 4, 3, 2, 1, 0):
        p = p * square + L32[k]
    return p * s


@njit(**EXACT)
def _log1p_64(t):
    s = t / (np.float64(2) + t)
    square = s * s
    p = L64[16] * square + L64[15]
    for k in (14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0):
        p = p * square + L64[k]
    return p * s


def exp(x):
    """exp(x) for x <= 0."""


def expm1(x):
    """exp(x) - 1 for x <= 0, accurate near 0."""


def log1p(t):
    """log(1 + t) for 0 <= t <= 1."""


@overload(exp)
def _exp(x):
    return (lambda x: _exp32(x)) if x == float32 else (lambda x: _exp64(x))


@overload(expm1)
def _expm1(x):
    return (lambda x: _expm1_32(x)) if x == float32 else (lambda x: _expm1_64(x))


@overload(log1p)
def _log1p(t):
    return (lambda t: _log1p_32(t)) if t == float32 else (lambda t: _log1p_64(t))
