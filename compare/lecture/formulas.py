"""The lecture's formulas, one function each, as printed and as they must read.

Vectors are columns, as in the lecture: x (d, 1), W (n_out, n_in), z, a and delta (n, 1). `slope` is sigma'(z), `*` the
element-wise product and `@` the matrix product, so every formula takes torch tensors, to be sampled, and NumPy arrays
of symbols, to be proved. A formula belongs to one statement of the table and calls no other: where one is broken, one
row turns red.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Array = Any  # a tensor, or an array of symbols

# --------------------------------------------------------------------------------------------- eq. (1) to (5)


def weight_update(W: Array, dW: Array, lr: Any) -> Array:
    """Eq. (1): W <- W - lr dJ/dW."""
    return W - lr * dW


def bias_update(b: Array, db: Array, lr: Any) -> Array:
    """Eq. (1): b <- b - lr dJ/db."""
    return b - lr * db


def delta_as_limit(J: Callable[[Any], Any], z: Any, step: float) -> Any:
    """Eq. (2): delta = dJ/dz, as the quotient (J(z + h) - J(z - h)) / 2h whose limit it is."""
    return (J(z + step) - J(z - step)) / (2 * step)


def output_delta(a: Array, y: Array) -> Array:
    """Eq. (3): delta[L] = a[L] - y."""
    return a - y


def hidden_delta_printed(W_next: Array, delta_next: Array, slope: Array) -> Array:
    """Eq. (4) as printed, all products element by element: (W[l+1] ∘ delta[l+1]) ∘ sigma'(z[l]), (n_next, n)."""
    return (W_next * delta_next) * slope.T


def hidden_delta_printed_times(W_next: Array, delta_next: Array, slope: Array) -> Array:
    """Eq. (4) as printed, the product without a sign read as a matrix product: (n_next, 1)."""
    return (W_next * delta_next) @ slope


def hidden_delta(W_next: Array, delta_next: Array, slope: Array) -> Array:
    """Eq. (4) corrected: delta[l] = (W[l+1]^T delta[l+1]) ∘ sigma'(z[l]), (n, 1)."""
    return (W_next.T @ delta_next) * slope


def weight_gradient(delta: Array, a_before: Array) -> Array:
    """Eq. (5): dJ/dW[l] = delta[l] a[l-1]^T."""
    return delta @ a_before.T


def bias_gradient(delta: Array) -> Array:
    """Eq. (5): dJ/db[l] = delta[l]."""
    return delta


# --------------------------------------------------------------------- eq. (6), (7), (8), (10): the chain rule
# A factor dp/dq is a Jacobian: a row an entry of p, a column an entry of q; the entries of a matrix W row by row.


def chain_to_weights(dJ_dz_next: Array, dz_next_da: Array, da_dz: Array, dz_dW: Array) -> Array:
    """Eq. (6): dJ/dW[l], a row of n_out n_in entries."""
    return dJ_dz_next @ dz_next_da @ da_dz @ dz_dW


def chain_to_biases(dJ_dz_next: Array, dz_next_da: Array, da_dz: Array, dz_db: Array) -> Array:
    """Eq. (7): dJ/db[l], a row."""
    return dJ_dz_next @ dz_next_da @ da_dz @ dz_db


def cost_by_next_z(delta_next: Array) -> Array:
    """Eq. (8): dJ/dz[l+1] = delta[l+1]."""
    return delta_next


def next_z_by_a(W_next: Array) -> Array:
    """Eq. (8): dz[l+1]/da[l] = W[l+1]."""
    return W_next


def a_by_z(slope: Array) -> Array:
    """Eq. (8): da[l]/dz[l] = sigma'(z[l]), the diagonal of the Jacobian."""
    return slope


def z_by_weights(a_before: Array) -> Array:
    """Eq. (8): dz[l]/dW[l] = a[l-1]^T, for each unit and its own row of W."""
    return a_before.T


def z_by_biases() -> int:
    """Eq. (8): dz[l]/db[l] = 1, for each unit and its own bias."""
    return 1


def chain_of_figure_1(dJ_da3: Array, da3_dz3: Array, dz3_da2: Array, da2_dz2: Array, dz2_dW2: Array) -> Array:
    """Eq. (10): dJ/dW[2] of Figure 1's network, a row of 9 entries."""
    return dJ_da3 @ da3_dz3 @ dz3_da2 @ da2_dz2 @ dz2_dW2


# -------------------------------------------------------------------- Figure 1, and eq. (9), (12), (13) and (14)


def figure_1_z2(W2: Array, x: Array, b2: Array) -> Array:
    """z[2] = W[2] x + b[2]."""
    return W2 @ x + b2


def figure_1_a2(sigma: Callable[[Array], Array], z2: Array) -> Array:
    """a[2] = sigma(z[2])."""
    return sigma(z2)


def figure_1_z3(W3: Array, a2: Array, b3: Array) -> Array:
    """z[3] = W[3] a[2] + b[3]."""
    return W3 @ a2 + b3


def figure_1_a3(sigma: Callable[[Array], Array], z3: Array) -> Array:
    """a[3] = sigma(z[3])."""
    return sigma(z3)


def eq_9_middle_printed(W3: Array, d3: Array, s2: Array) -> Array:
    """Eq. (9), middle member as printed: (W[3] ∘ delta[3]) sigma'(z[2]), element by element, (1, 3)."""
    return (W3 * d3) * s2.T


def eq_9_middle(W3: Array, d3: Array, s2: Array, x: Array) -> Array:
    """Eq. (9), middle member corrected: ((W[3]^T delta[3]) ∘ sigma'(z[2])) x^T."""
    return ((W3.T @ d3) * s2) @ x.T


def eq_9_last(W3: Array, s2: Array, a3: Array, y: Array, x: Array) -> Array:
    """Eq. (9), last member: (W[3]^T ∘ sigma'(z[2])) (a[3] - y) x^T."""
    return (W3.T * s2) @ (a3 - y) @ x.T


def eq_12_printed(a3: Array, y: Array, W3: Array, s2: Array, x: Array) -> Array:
    """Eq. (12) as printed: (a[3] - y) W[3]^T sigma'(z[2]) x^T, a number times matrix products."""
    return (a3 - y) * (W3.T @ s2 @ x.T)


def eq_12(a3: Array, y: Array, W3: Array, s2: Array, x: Array) -> Array:
    """Eq. (12) corrected: ((a[3] - y) W[3]^T ∘ sigma'(z[2])) x^T."""
    return (((a3 - y) * W3.T) * s2) @ x.T


def eq_13(a3: Array, y: Array, W3: Array, s2: Array, x: Array) -> Array:
    """Eq. (13): (a[3] - y) W[3]^T ∘ sigma'(z[2]) x^T, from left to right."""
    return (a3 - y) * W3.T * s2 @ x.T


def eq_14(W3: Array, s2: Array, a3: Array, y: Array, x: Array) -> Array:
    """Eq. (14): (W[3]^T ∘ sigma'(z[2])) (a[3] - y) x^T, every product as printed."""
    return (W3.T * s2) @ (a3 - y) @ x.T


def z3_by_a2(W3: Array) -> Array:
    """After eq. (11): dz[3]/da[2] = W[3]^T, the gradient as a column."""
    return W3.T


def a2_by_z2(s2: Array) -> Array:
    """After eq. (11): da[2]/dz[2] = sigma'(z[2])."""
    return s2


def z2_by_W2(x: Array) -> Array:
    """After eq. (11): dz[2]/dW[2] = x^T."""
    return x.T


# ------------------------------------------------------------------------------------------ eq. (11), line by line
# D(f) is the derivative of f at z[3].


def sigmoid_slope(s: Array) -> Array:
    """Before eq. (11): sigma'(z) = sigma(z) (1 - sigma(z))."""
    return s * (1 - s)


def eq_11_line_1(D: Callable[..., Array], J: Callable[[Array], Array]) -> Array:
    """delta[3] = dJ/dz[3]."""
    return D(J)


def eq_11_line_2(D: Callable[..., Array], y: Array, sigma: Any, log: Any) -> Array:
    """- d/dz [(1 - y) log(1 - y^) + y log y^]."""
    return -D(lambda z: (1 - y) * log(1 - sigma(z)) + y * log(sigma(z)))


def eq_11_line_3(D: Callable[..., Array], y: Array, sigma: Any, log: Any) -> Array:
    """- (1 - y) d/dz log(1 - sigma(z)) - y d/dz log sigma(z)."""
    return -(1 - y) * D(lambda z: log(1 - sigma(z))) - y * D(lambda z: log(sigma(z)))


def eq_11_line_4(s: Array, slope: Array, y: Array, g: Array, g_slope: Array) -> Array:
    """- (1 - y) / (1 - sigma(z)) (-1) sigma'(z) - y / g(z) g'(z)."""
    return -(1 - y) * (1 / (1 - s)) * (-1) * slope - y * (1 / g) * g_slope


def eq_11_line_5(a3: Array, y: Array) -> Array:
    """(1 - y) a[3] - y (1 - a[3])."""
    return (1 - y) * a3 - y * (1 - a3)


def eq_11_line_6(a3: Array, y: Array) -> Array:
    """a[3] - y."""
    return a3 - y


# ------------------------------------------------------------------------------------------------------ section 4


def l2_cost(J: Any, lam: Any, weights: Sequence[Array]) -> Any:
    """J_L2 = J + (lambda / 2) sum of W_i^2 over all weights."""
    return J + lam / 2 * sum((W * W).sum() for W in weights)


def l2_gradient(dW: Array, lam: Any, W: Array) -> Array:
    """dJ_L2/dW = dJ/dW + lambda W."""
    return dW + lam * W


def l2_update(W: Array, dW: Array, lr: Any, lam: Any) -> Array:
    """W <- W - lr dJ/dW - lr lambda W."""
    return W - lr * dW - lr * lam * W


def l2_update_shrunk(W: Array, dW: Array, lr: Any, lam: Any) -> Array:
    """W <- (1 - lr lambda) W - lr dJ/dW."""
    return (1 - lr * lam) * W - lr * dW


def shrunk(W: Array, lr: Any, lam: Any, steps: int) -> Array:
    """A weight without gradient after some steps: (1 - lr lambda)^steps W."""
    return (1 - lr * lam) ** steps * W
