"""Inverses, solutions, determinants and eigenvalues: other algebra, well and moderately ill conditioned."""

from __future__ import annotations

import numpy as np
import torch

from compare.check.inputs import positive, real
from tests.derivations import control
from tests.derivations.controls_nets import normal

UNIT = {"low": -1.0, "high": 1.0}


def spd(A):
    """A symmetric matrix with eigenvalues of at least 1."""
    return A @ A.T + torch.eye(len(A), dtype=A.dtype)


def solve(A, B, c):
    S = spd(A)
    X = torch.linalg.solve(S, B)
    return (c * X).sum(), {"S": S, "X": X}


SOLVE = {"A": real("n", "r", **UNIT), "B": real("n", "k"), "c": real("n", "k")}


@control(solve, SOLVE)
def solve_by_the_inverse(A, S, X, c):
    dB = torch.linalg.inv(S).T @ c
    dS = -dB @ X.T
    return {"X": c, "B": dB, "S": dS, "A": (dS + dS.T) @ A}


@control(solve, SOLVE)
def solve_by_cholesky(A, S, X, c):
    L = torch.linalg.cholesky(S)
    u = torch.linalg.solve_triangular(L, c, upper=False)
    dB = torch.linalg.solve_triangular(L.T, u, upper=True)
    dS = -torch.einsum("ik,jk->ij", dB, X)
    return {"B": dB, "S": dS, "A": dS @ A + dS.T @ A}


@control(solve, SOLVE)
def solve_by_eigenvectors(A, S, X, c):
    values, Q = torch.linalg.eigh(S)
    dB = Q @ ((Q.T @ c) / values[:, None])
    return {"B": dB, "S": -dB @ X.T, "X": c}


@control(solve, SOLVE)
def solve_by_woodbury(A, B, c):
    """(I + A A')^-1 = I - A (I + A' A)^-1 A'."""
    small = torch.eye(A.shape[1], dtype=A.dtype) + A.T @ A
    dB = c - A @ torch.linalg.solve(small, A.T @ c)
    X = B - A @ torch.linalg.solve(small, A.T @ B)
    return {"B": dB, "S": -dB @ X.T, "A": -(dB @ (X.T @ A) + X @ (dB.T @ A))}


@control(solve, SOLVE)
def solve_by_lu_in_numpy(S, X, c):
    dB = np.linalg.solve(S.numpy().T, c.numpy())
    return {"B": dB, "S": -dB @ X.numpy().T}


@control(solve, SOLVE)
def solve_by_conjugate_gradients(S, c):
    columns = []
    for b in c.T.unbind():
        u, r = torch.zeros_like(b), b.clone()
        p, rr = r.clone(), r @ r
        for _ in range(10 * len(b)):
            if rr <= 1e-40 * (b @ b):
                break
            Sp = S @ p
            step = rr / (p @ Sp)
            u, r = u + step * p, r - step * Sp
            rr, before = r @ r, rr
            p = r + rr / before * p
        columns.append(u)
    return {"B": torch.stack(columns, 1)}


def ill_conditioned(condition):
    """B, c and an n x n matrix A such that A A' + I has about this condition number."""

    def draw(seed):
        v = normal(seed, Q=(6, 6), B=(6, 2), c=(6, 2))
        Q = torch.linalg.qr(v["Q"]).Q
        values = torch.logspace(0, np.log10(condition) / 2, 6, dtype=torch.float64)
        return {"A": Q * values, "B": v["B"], "c": v["c"]}

    return draw


for _condition in (1e2, 1e4, 1e6):

    @control(solve, ill_conditioned(_condition), name=f"condition_{_condition:g}_by_the_inverse")
    def _by_inverse(A, S, X, c):
        dB = torch.linalg.inv(S) @ c
        return {"B": dB, "X": c, "S": -dB @ X.T}

    @control(solve, ill_conditioned(_condition), name=f"condition_{_condition:g}_by_cholesky")
    def _by_cholesky(A, S, X, c):
        dB = torch.cholesky_solve(c, torch.linalg.cholesky(S))
        return {"B": dB, "S": -dB @ X.T}


def log_det(A, c):
    S = spd(A)
    return c[0] * torch.logdet(S), {"S": S}


LOG_DET = {"A": real("n", "r", **UNIT), "c": real(1)}


@control(log_det, LOG_DET)
def log_det_inverse_transposed(A, S, c):
    dS = c * torch.linalg.inv(S).T
    return {"S": dS, "A": 2 * dS @ A, "c": torch.linalg.slogdet(S).logabsdet[None]}


@control(log_det, LOG_DET)
def log_det_cofactors(A, S, c):
    """The adjugate by minors: the derivative of a determinant by one entry is its cofactor."""
    n = len(S)
    cofactor = torch.empty_like(S)
    for i in range(n):
        for j in range(n):
            minor = S[[r for r in range(n) if r != i]][:, [s for s in range(n) if s != j]]
            cofactor[i, j] = (-1) ** (i + j) * (torch.linalg.det(minor) if n > 1 else 1.0)
    return {"S": c * cofactor / torch.linalg.det(S)}


@control(log_det, LOG_DET)
def log_det_by_the_smaller_side(A, c):
    """d log det(I + A A') = 2 A (I + A' A)^-1."""
    small = A.T @ A + torch.eye(A.shape[1], dtype=A.dtype)
    return {"A": 2 * c * torch.linalg.solve(small, A.T).T}


def inverse(A, c):
    S = spd(A)
    V = torch.linalg.inv(S)
    return (c * V).sum(), {"S": S, "V": V}


INVERSE = {"A": real("n", "r", **UNIT), "c": real("n", "n")}


@control(inverse, INVERSE)
def inverse_by_two_solutions(S, c):
    left = torch.linalg.solve(S.T, c)
    return {"V": c, "S": -torch.linalg.solve(S, left.T).T}


@control(inverse, INVERSE)
def inverse_kronecker(S, V, c):
    n = len(S)
    dS = -(torch.kron(V.contiguous(), V.T.contiguous()).T @ c.reshape(-1)).reshape(n, n)
    return {"S": dS}


def eigenvalues(A, c):
    S = spd(A)
    lam = torch.linalg.eigvalsh(S)
    return (torch.arange(1, len(S) + 1, dtype=A.dtype) * torch.sin(c * lam)).sum(), {"S": S, "lam": lam}


@control(eigenvalues, {"A": real("n", "n", **UNIT), "c": real(1)})
def eigenvalues_by_outer_products(A, S, lam, c):
    dlam = torch.arange(1, len(S) + 1, dtype=S.dtype) * c * torch.cos(c * lam)
    Q = torch.linalg.eigh(S).eigenvectors
    dS = sum(d * torch.outer(q, q) for d, q in zip(dlam, Q.T, strict=True))
    return {"lam": dlam, "S": dS, "A": 2 * dS @ A}


def trace_of_exponential(A):
    S = 0.3 * (A + A.T)
    return torch.matrix_exp(S).diagonal().sum(), {"S": S}


@control(trace_of_exponential, {"A": real("n", "n", **UNIT)})
def exponential_by_eigenvectors(S):
    values, Q = torch.linalg.eigh(S)
    dS = Q @ torch.diag(values.exp()) @ Q.T
    return {"S": dS, "A": 0.6 * dS}


@control(trace_of_exponential, {"A": real("n", "n", **UNIT)})
def exponential_by_its_series(S):
    term = total = torch.eye(len(S), dtype=S.dtype)
    for n in range(1, 60):
        term = term @ S / n
        total = total + term
    return {"S": total.T}


def gaussian_process(x, y, log_noise):
    """The negative log marginal likelihood of a squared-exponential Gaussian process."""
    K = torch.exp(-((x[:, None] - x[None]) ** 2) / 2)
    S = K + log_noise.exp() * torch.eye(len(x), dtype=x.dtype)
    alpha = torch.linalg.solve(S, y)
    return (y @ alpha + torch.logdet(S)) / 2, {"K": K, "S": S}


@control(gaussian_process, {"x": real("n"), "y": real("n"), "log_noise": real(low=-1, high=1)})
def marginal_likelihood(x, y, log_noise, K, S):
    precision = torch.cholesky_inverse(torch.linalg.cholesky(S))
    alpha = precision @ y
    dS = (precision - torch.outer(alpha, alpha)) / 2
    pull = dS * K * (x[:, None] - x[None])
    return {
        "S": dS,
        "K": dS,
        "y": alpha,
        "x": pull.sum(0) - pull.sum(1),
        "log_noise": log_noise.exp() * dS.trace(),
    }


def mahalanobis(x, mu, L_free, c):
    """Distances under a precision matrix given by its Cholesky factor, exp on the diagonal."""
    L = torch.tril(L_free, -1) + torch.diag(L_free.diagonal().exp())
    u = (x - mu) @ L
    return (c * (u * u).sum(1)).sum() - L_free.diagonal().sum(), {"L": L, "u": u}


@control(mahalanobis, {"x": real("m", "d"), "mu": real("d"), "L_free": real("d", "d", **UNIT), "c": real("m")})
def factor_of_a_precision(x, mu, c, L, u):
    du = 2 * c[:, None] * u
    dL = torch.tril((x - mu).T @ du)
    dx = du @ L.T
    free = torch.tril(dL, -1) + torch.diag(dL.diagonal() * L.diagonal() - 1)
    return {"u": du, "x": dx, "mu": -dx.sum(0), "L_free": free}


def quadratic(x, A):
    S = (A + A.T) / 2
    return (x @ S * x).sum(), {"S": S}


@control(quadratic, {"x": real("m", "d"), "A": real("d", "d")})
def symmetric_quadratic_form(x, A, S):
    dS = x.T @ x
    return {"x": x @ (A + A.T), "S": dS, "A": dS}


def ridge(X, y, log_l2, c):
    """Fitted weights of a ridge regression inside a cost: a solved inner problem."""
    H = X.T @ X + log_l2.exp() * torch.eye(X.shape[1], dtype=X.dtype)
    w = torch.linalg.solve(H, X.T @ y)
    return (c * w).sum(), {"w": w}


@control(ridge, {"X": real("m", "d", **UNIT), "y": real("m"), "log_l2": real(low=-1, high=1), "c": real("d")})
def ridge_by_the_dual(X, y, log_l2, w, c):
    """v = H^-1 c through the m x m side: H^-1 = (I - X' (l2 I + X X')^-1 X) / l2."""
    X, y, w, c, l2 = X.double(), y.double(), w.double(), c.double(), log_l2.double().exp()
    v = (c - X.T @ torch.linalg.solve(X @ X.T + l2 * torch.eye(len(X), dtype=X.dtype), X @ c)) / l2
    residual = y - X @ w
    return {
        "w": c,
        "y": X @ v,
        "X": torch.outer(residual, v) - torch.outer(X @ v, w),
        "log_l2": -l2 * (v @ w),
    }


def whitened(B, log_d, c):
    """A product of a triangular solution and a diagonal scale."""
    L = torch.tril(B, -1) + torch.eye(len(B), dtype=B.dtype)
    v = torch.linalg.solve_triangular(L, c * log_d.exp()[:, None], upper=False)
    return (v**2).sum() / 2, {"v": v}


@control(whitened, {"B": real("n", "n", **UNIT), "log_d": real("n", **UNIT), "c": positive("n", "k")})
def forward_substitution(B, log_d, c, v):
    """Back substitution written out, last row first."""
    n = len(B)
    g = v.clone()
    for i in reversed(range(n)):
        g[:i] -= torch.outer(B[i, :i], g[i])
    d = log_d.exp()[:, None]
    return {"v": v, "B": -torch.tril(g @ v.T, -1), "log_d": (g * c * d).sum(1), "c": g * d}
