"""Energies, forces, rotations and residuals of differential equations inside the cost."""

from __future__ import annotations

import torch

from compare.check.inputs import positive, real
from tests.derivations import control
from tests.derivations.controls_nets import normal


def pendulum(theta, omega, length, energy):
    """The energy of a pendulum against what was measured."""
    E = omega**2 * length**2 / 2 - 9.81 * length * torch.cos(theta)
    return ((E - energy) ** 2).mean(), {"E": E}


@control(
    pendulum,
    {"theta": real("m"), "omega": real("m"), "length": positive("m", low=0.5), "energy": real("m")},
)
def energy_of_a_pendulum(theta, omega, length, energy, E):
    g = 2 * (E - energy) / E.numel()
    return {
        "E": g,
        "theta": g * 9.81 * length * torch.sin(theta),
        "omega": g * omega * length**2,
        "length": g * (omega**2 * length - 9.81 * torch.cos(theta)),
        "energy": -g,
    }


def residual_of_an_equation(t, w, b, v):
    """u(t) = v . tanh(w t + b) against u' = -u with a difference quotient, and u(0) = 1."""

    def u(s):
        return torch.tanh(s[:, None] * w + b) @ v

    h = 0.125
    r = (u(t + h) - u(t - h)) / (2 * h) + u(t)
    start = u(torch.zeros_like(t[:1])) - 1
    return (r**2).mean() + start.square().sum(), {"r": r, "start": start}


@control(
    residual_of_an_equation,
    {"t": real("m", low=0, high=2), "w": real("h"), "b": real("h"), "v": real("h")},
)
def collocation_points_stacked(t, w, b, v, r, start):
    """One batch of all evaluation points, each with the weight that it has in the residual."""
    h, m = 0.125, len(t)
    dr = 2 * r / m
    s = torch.cat([t + h, t - h, t, torch.zeros_like(t[:1])])
    du = torch.cat([dr / (2 * h), -dr / (2 * h), dr, 2 * start])
    a = torch.tanh(torch.addcmul(b, s[:, None], w))
    dz = du[:, None] * v * (1 - a * a)
    return {"r": dr, "start": 2 * start, "v": a.T @ du, "w": s @ dz, "b": dz.sum(0)}


def springs(p, rest, k):
    """Point masses in a chain: elastic energy."""
    d = p[1:] - p[:-1]
    length = torch.sqrt((d * d).sum(1) + 1e-3)
    return (k * (length - rest) ** 2).sum() / 2, {"length": length}


@control(springs, {"p": real("n+1", 2), "rest": positive("n"), "k": positive("n")})
def forces_between_neighbours(p, rest, k, length):
    tension = k * (length - rest)
    force = (tension / length)[:, None] * torch.diff(p, dim=0)
    zero = torch.zeros_like(p[:1])
    return {"length": tension, "p": torch.cat([zero, force]) - torch.cat([force, zero]), "rest": -tension}


def potential(p, q):
    """Softened charges: the energy of all pairs."""
    d = p[:, None] - p[None]
    inverse = torch.rsqrt((d * d).sum(-1) + 0.1)
    return (q[:, None] * q[None] * inverse).sum() / 2, {"inverse": inverse}


@control(potential, {"p": real("n", 3), "q": real("n")})
def coulomb_forces(p, q, inverse):
    pair = torch.outer(q, q)
    pull = (pair * inverse**3).fill_diagonal_(0)
    return {"inverse": pair / 2, "q": inverse @ q, "p": pull @ p - pull.sum(1, keepdim=True) * p}


def frames(seed):
    return normal(seed, w=(3,), p=(6, 3), q=(6, 3))


def rotation(w, p, q):
    """Points turned by Rodrigues' formula against their images."""
    angle = torch.sqrt(w @ w)
    k = w / angle
    cross = torch.linalg.cross(k.expand_as(p), p)
    r = p * torch.cos(angle) + cross * torch.sin(angle) + torch.outer(p @ k, k) * (1 - torch.cos(angle))
    return ((r - q) ** 2).sum() / 2, {"r": r}


@control(rotation, frames)
def rotation_by_the_matrix_exponential(w, p, q, r):
    """dp = R' dr with R = exp([w]x)."""
    K = torch.tensor([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]], dtype=w.dtype)
    return {"r": r - q, "p": (r - q) @ torch.linalg.matrix_exp(K), "q": q - r}
