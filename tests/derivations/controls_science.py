"""Implicit functions, differential equations, inner optimisation: gradients by other theorems than the chain rule."""

from __future__ import annotations

import math

import numpy as np
import torch

from compare.check.inputs import constant, positive, real
from tests.derivations import control


def equilibrium(x, W, U, c):
    """h = tanh(x W' + h U') solved to convergence; U is scaled to be a contraction."""
    V = 0.5 * U / (U.abs().sum(1).max() + 1)
    h = torch.zeros(len(x), len(W), dtype=x.dtype)
    for _ in range(80):
        h = torch.tanh(x @ W.T + h @ V.T)
    return (c * h).sum(), {"h": h, "V": V}


EQUILIBRIUM = {"x": real("m", "d"), "W": real("h", "d"), "U": real("h", "h"), "c": real("m", "h")}


def equilibrium_system(h, V):
    """I - D V for each sample, with D the slopes."""
    D = 1 - h * h
    return D, torch.eye(len(V), dtype=V.dtype) - D[:, :, None] * V


@control(equilibrium, EQUILIBRIUM)
def implicit_function_by_solving(x, W, c, h, V):
    D, A = equilibrium_system(h, V)
    dz = torch.linalg.solve(A.mT, c[:, :, None])[..., 0] * D
    return {"W": dz.T @ x, "x": dz @ W, "V": dz.T @ h}


@control(equilibrium, EQUILIBRIUM)
def implicit_function_by_iteration(x, W, c, h, V):
    """The adjoint fixed point g = c + (g D) V."""
    D, g = 1 - h.square(), c.clone()
    for _ in range(120):
        g = c + (g * D) @ V
    return {"W": (g * D).T @ x, "x": (g * D) @ W}


@control(equilibrium, EQUILIBRIUM)
def implicit_function_by_forward_sensitivities(x, W, c, h, V):
    D, A = equilibrium_system(h, V)
    J = torch.linalg.solve(A, D[:, :, None] * W)
    return {"x": (c[:, None] @ J)[:, 0]}


def root(a, b, c):
    """The root of y^3 + a y = b for a > 0, by Newton's method."""
    y = b / (1 + a)
    for _ in range(60):
        y = y - (y**3 + a * y - b) / (3 * y * y + a)
    return (c * y).sum(), {"y": y}


@control(root, {"a": positive("m", low=0.5), "b": real("m", low=-3, high=3), "c": real("m")})
def root_by_the_implicit_function_theorem(a, c, y):
    slope = c / (3 * y**2 + a)
    return {"a": -slope * y, "b": slope}


@control(root, {"a": positive("m", low=0.5), "b": real("m", low=-3, high=3), "c": real("m")})
def root_by_cardano(a, b, c):
    """y = 2 sqrt(a/3) sinh(asinh(3 b / (2 a) sqrt(3/a)) / 3), differentiated by b."""
    u = 1.5 * b / a * torch.sqrt(3 / a)
    t = torch.asinh(u) / 3
    dy = 2 * torch.sqrt(a / 3) * torch.cosh(t) / 3 * torch.rsqrt(1 + u * u) * 1.5 / a * torch.sqrt(3 / a)
    return {"b": c * dy, "c": 2 * torch.sqrt(a / 3) * torch.sinh(t)}


def square_root_iteration(a, c):
    """Heron's iteration, unrolled in the forward."""
    y = (1 + a) / 2
    for _ in range(12):
        y = (y + a / y) / 2
    return (c * y).sum(), {"y": y}


@control(square_root_iteration, {"a": positive("m", low=0.3, high=4), "c": real("m")})
def unrolled_iteration_in_closed_form(a, c, y):
    return {"a": c / (2 * torch.sqrt(a)), "y": c}


def heat(u0, kappa, target, steps):
    """Explicit steps of the heat equation on a ring."""
    u = u0
    for _ in range(steps):
        u = u + kappa * (u.roll(1) - 2 * u + u.roll(-1))
    return ((u - target) ** 2).sum() / 2, {"u": u}


HEAT = {
    "u0": real("n"),
    "kappa": real(low=0.05, high=0.3),
    "target": real("n"),
    "steps": constant(5),
}


@control(heat, HEAT)
def heat_adjoint_states(u0, kappa, target, steps):
    def laplace(u):
        return u.roll(1) - 2 * u + u.roll(-1)

    states = [u0]
    for _ in range(steps):
        states.append(states[-1] + kappa * laplace(states[-1]))
    g, dkappa = states[-1] - target, 0.0
    for u in reversed(states[:-1]):
        dkappa = dkappa + g @ laplace(u)
        g = g + kappa * laplace(g)
    return {"u": states[-1] - target, "u0": g, "kappa": dkappa, "target": target - states[-1]}


@control(heat, HEAT)
def heat_by_a_matrix_power(u0, kappa, u, target, steps):
    n = len(u0)
    eye = torch.eye(n, dtype=u0.dtype)
    L = eye.roll(1, 0) - 2 * eye + eye.roll(-1, 0)
    step = eye + kappa * L
    g = u - target
    before = torch.linalg.matrix_power(step, steps - 1)
    return {"u0": (before @ step).T @ g, "kappa": steps * g @ (before @ (L @ u0))}


def runge_kutta(y0, w, c):
    """One classical Runge-Kutta step of y' = sin(w y), h = 0.1."""

    def f(y):
        return torch.sin(w * y)

    h = 0.1
    k1 = f(y0)
    k2 = f(y0 + h / 2 * k1)
    k3 = f(y0 + h / 2 * k2)
    k4 = f(y0 + h * k3)
    y1 = y0 + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return (c * y1).sum(), {"k1": k1, "k2": k2, "k3": k3, "k4": k4, "y1": y1}


@control(runge_kutta, {"y0": real("m"), "w": real("m"), "c": real("m")})
def runge_kutta_stages_backwards(y0, w, c, k1, k2, k3):
    h = 0.1
    stages = [y0, y0 + h / 2 * k1, y0 + h / 2 * k2, y0 + h * k3]
    share = [h / 6, h / 3, h / 3, h / 6]
    reach = [h / 2, h / 2, h]
    dy, dw, g, dk = c.clone(), torch.zeros_like(w), torch.zeros_like(c), {}
    for i in (3, 2, 1, 0):
        gk = share[i] * c + (reach[i] * g if i < 3 else 0)
        dk[f"k{i + 1}"] = gk
        g = gk * w * torch.cos(w * stages[i])
        dw += gk * stages[i] * torch.cos(w * stages[i])
        dy += g
    return {**dk, "y1": c, "y0": dy, "w": dw}


@control(runge_kutta, {"y0": real("m"), "w": real("m"), "c": real("m")})
def runge_kutta_tangents_forwards(y0, w, c):
    h, k, dk = 0.1, torch.zeros_like(y0), torch.zeros_like(y0)
    total = torch.ones_like(y0)
    for reach, share in ((0, h / 6), (h / 2, h / 3), (h / 2, h / 3), (h, h / 6)):
        y, dy = y0 + reach * k, 1 + reach * dk
        k, dk = torch.sin(w * y), torch.cos(w * y) * w * dy
        total = total + share * dk
    return {"y0": c * total}


def inner_steps(w, x, y, lr):
    """The cost after three steps of gradient descent on a least-squares problem: a meta-gradient."""
    v = w
    for _ in range(3):
        v = v - lr * x.T @ (x @ v - y)
    return ((x @ v - y) ** 2).sum() / 2, {"v": v}


META = {
    "w": real("d"),
    "x": real("m", "d", low=-0.5, high=0.5),
    "y": real("m"),
    "lr": real(low=0.05, high=0.2),
}


@control(inner_steps, META)
def meta_gradient_by_products_with_the_hessian(w, x, y, v, lr):
    def gradient(u):
        return x.T @ (x @ u - y)

    path = [w]
    for _ in range(2):
        path.append(path[-1] - lr * gradient(path[-1]))
    g = last = gradient(v)
    dlr = 0.0
    for u in reversed(path):
        dlr = dlr - g @ gradient(u)
        g = g - lr * x.T @ (x @ g)
    return {"v": last, "w": g, "lr": dlr}


@control(inner_steps, META)
def meta_gradient_by_the_spectrum(w, x, v, y, lr):
    """(I - lr H)^3 through the eigenvalues of H = x'x."""
    values, Q = torch.linalg.eigh(x.T @ x)
    return {"w": Q @ ((1 - lr * values) ** 3 * (Q.T @ (x.T @ (x @ v - y))))}


def integral(a, c):
    """The area under exp(-a t^2) on [0, 1] by Simpson's rule, then a cost on it."""
    t = torch.linspace(0, 1, 65, dtype=a.dtype)
    weight = torch.full_like(t, 2.0)
    weight[1::2] = 4
    weight[0] = weight[-1] = 1
    I = torch.exp(-a[:, None] * t * t) @ weight / 192  # noqa: E741
    return (c * I**2).sum(), {"I": I}


@control(integral, {"a": positive("m"), "c": real("m")})
def differentiated_under_the_integral(a, c, I):  # noqa: E741
    t = np.linspace(0, 1, 65)
    weight = np.where(np.arange(65) % 2, 4.0, 2.0)
    weight[[0, -1]] = 1
    slope = -(np.exp(-a.numpy()[:, None] * t**2) * t**2) @ weight / 192
    return {"I": 2 * c * I, "a": 2 * c.numpy() * I.numpy() * slope}


def sinkhorn(cost, steps):
    """Entropic transport between uniform distributions: potentials after some iterations in the log domain."""
    f, g = torch.zeros_like(cost[:, 0]), torch.zeros_like(cost[0])
    for _ in range(steps):
        f = -torch.logsumexp(g - cost, 1) - math.log(len(f))
        g = -torch.logsumexp(f[:, None] - cost, 0) - math.log(len(g))
    return f.mean() + g.mean(), {"f": f, "g": g}


@control(sinkhorn, {"cost": real("p", "q", low=0, high=2), "steps": constant(200)})
def transport_plan_by_the_envelope_theorem(cost, f, g):
    """At convergence the cost's gradient is the plan itself."""
    return {"cost": torch.exp(f[:, None] + g - cost)}
