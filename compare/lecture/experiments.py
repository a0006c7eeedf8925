"""The formulas of the lecture's sections and exercises; the same rules hold as in `formulas.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Array = Any

# ------------------------------------------------------------------------------------------------- section 2.1, 3


def log_loss(a: Array, y: Array, log: Any) -> Array:
    """Section 2.1: J = -[y log y^ + (1 - y) log(1 - y^)]."""
    return -(y * log(a) + (1 - y) * log(1 - a))


def batch_gradient(per_sample: Array) -> Array:
    """Section 3: the gradient of a batch is the mean of its samples' gradients, (samples, parameters)."""
    return per_sample.mean(0)


def variance_of_batch(variance: Any, B: int) -> Any:
    """Section 3: variance of the gradient of B samples drawn with replacement, from that of one sample."""
    return variance / B


def variance_of_epoch_batch(variance: Any, B: int, m: int) -> Any:
    """Section 3: the same where the B samples of m are all different, as within an epoch; 0 at B = m."""
    return variance / B * (m - B) / (m - 1)


# ------------------------------------------------------------------------------------------- Figure 2, exercise 4


def mean_log_loss(z: Array, y: Array, log1p: Any, exp: Any) -> Array:
    """Figure 2's vertical axis: the mean log-loss, -log sigma(z) = log(1 + e^-z) for y = 1, log(1 + e^z) for y = 0."""
    return (y * log1p(exp(-z)) + (1 - y) * log1p(exp(z))).mean()


def overfitting_since(training: Sequence[float], validation: Sequence[float]) -> int | None:
    """Exercise 4 (a): the first epoch k after the best such that k, k+1 and k+2 overfit; None if there is none.

    An epoch overfits where validation is above its minimum while training is below the epoch before.
    """
    best = validation.index(min(validation))
    overfit = [
        k > best and validation[k] > validation[best] and training[k] < training[k - 1] for k in range(len(training))
    ]
    return next((k for k in range(len(training) - 2) if all(overfit[k : k + 3])), None)


def l2_step_in_length(norm: float, along: float, lr: float, lam: float) -> float:
    """Exercise 4 (b): d||W||/dt of the gradient flow times lr: -lr (lambda ||W|| + (W . dJ/dW) / ||W||)."""
    return -lr * (lam * norm + along / norm)


# ------------------------------------------------------------------------------------------------- exercises 1 to 3


def gradient_of_equal_unit(v: Array, d3: Array, slope: Array, x: Array) -> Array:
    """Exercise 1: the row of dJ/dW[2] of every hidden unit, where all have slope s and output weight v: v d3 s x^T."""
    return v * d3 * slope * x.T


def entry_of_W3(j: int, a2: Array, a3: Array, y: Array) -> Any:
    """Exercise 2: dJ/dW[3]_1j = dJ/da3 da3/dz3 dz3/dW3_1j."""
    return ((a3 - y) / (a3 * (1 - a3)) * (a3 * (1 - a3)) * a2[j])[0, 0]


def entry_of_b3(a3: Array, y: Array) -> Any:
    """Exercise 2: dJ/db[3] = dJ/da3 da3/dz3 dz3/db3."""
    return ((a3 - y) / (a3 * (1 - a3)) * (a3 * (1 - a3)) * 1)[0, 0]


def entry_of_W2(i: int, j: int, x: Array, W3: Array, a2: Array, a3: Array, y: Array) -> Any:
    """Exercise 2: dJ/dW[2]_ij = dJ/da3 da3/dz3 dz3/da2_i da2_i/dz2_i dz2_i/dW2_ij."""
    return ((a3 - y) / (a3 * (1 - a3)) * (a3 * (1 - a3)) * W3[0, i] * (a2[i] * (1 - a2[i])) * x[j])[0, 0]


def entry_of_b2(i: int, W3: Array, a2: Array, a3: Array, y: Array) -> Any:
    """Exercise 2: dJ/db[2]_i = dJ/da3 da3/dz3 dz3/da2_i da2_i/dz2_i dz2_i/db2_i."""
    return ((a3 - y) / (a3 * (1 - a3)) * (a3 * (1 - a3)) * W3[0, i] * (a2[i] * (1 - a2[i])) * 1)[0, 0]


def delta_of_linear_output(a3: Array, y: Array) -> Array:
    """Exercise 3: dJ/dz[3] of the half square with y^ = z[3]."""
    return a3 - y


def delta_of_sigmoid_output(a3: Array, y: Array) -> Array:
    """Exercise 3: dJ/dz[3] of the half square with y^ = sigma(z[3])."""
    return (a3 - y) * (a3 * (1 - a3))
