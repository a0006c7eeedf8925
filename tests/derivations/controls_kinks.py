"""Exact zeros, ties and boundaries: every valid choice of a subgradient is right."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.derivations import control
from tests.derivations.controls_nets import normal


def small_integers(seed, **shapes):
    """Integers from -2 to 2 as float64: sums of them hit 0 exactly, maxima tie often."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(-2, 3, shape, generator=generator).double() for name, shape in shapes.items()}


def with_kinks(seed):
    return {**small_integers(seed, x=(8, 3), W=(4, 3), b=(4,)), **normal(seed, c=(8, 4))}


def unit(activation):
    def forward(x, W, b, c):
        z = x @ W.T + b
        a = activation(z)
        return (c * a).sum(), {"z": z, "a": a}

    return forward


def through(slope):
    def backward(x, W, c, z):
        dz = c * slope(z)
        return {"a": c, "z": dz, "W": dz.T @ x, "b": dz.sum(0), "x": dz @ W}

    return backward


CHOICES = {
    "relu_one_at_zero": (torch.relu, lambda z: (z >= 0).to(z.dtype)),
    "relu_half_at_zero": (torch.relu, lambda z: torch.heaviside(z, z.new_tensor(0.5))),
    "relu_zero_at_zero": (torch.relu, lambda z: (z > 0).to(z.dtype)),
    "relu_third_at_zero": (torch.relu, lambda z: torch.where(z == 0, 1 / 3, (z > 0).to(z.dtype))),
    "abs_one_at_zero": (torch.abs, lambda z: torch.where(z >= 0, 1.0, -1.0).to(z.dtype)),
    "abs_minus_one_at_zero": (torch.abs, lambda z: torch.where(z > 0, 1.0, -1.0).to(z.dtype)),
    "leaky_one_at_zero": (
        lambda z: F.leaky_relu(z, 0.1),
        lambda z: torch.where(z < 0, 0.1, torch.ones_like(z)),
    ),
    "hardtanh_open": (F.hardtanh, lambda z: ((z > -1) & (z < 1)).to(z.dtype)),
    "hardtanh_closed": (F.hardtanh, lambda z: ((z >= -1) & (z <= 1)).to(z.dtype)),
    "clamp_open": (lambda z: z.clamp(-1, 2), lambda z: ((z > -1) & (z < 2)).to(z.dtype)),
    "relu6_closed": (F.relu6, lambda z: ((z >= 0) & (z <= 6)).to(z.dtype)),
    "maximum_with_its_tenth": (lambda z: torch.maximum(z, z / 10), lambda z: torch.where(z > 0, 1.0, 0.1)),
    "softshrink_closed": (lambda z: F.softshrink(z, 1.0), lambda z: (z.abs() >= 1).to(z.dtype)),
    "positive_part_squared": (lambda z: torch.relu(z) ** 2, lambda z: 2 * z * (z > 0)),
}
for _name, (_activation, _slope) in CHOICES.items():
    control(unit(_activation), with_kinks, name=_name)(through(_slope))


def row_max(x, c):
    top = x.amax(1)
    return (c * top).sum(), {"top": top}


def ties(seed):
    return {**small_integers(seed, x=(6, 9)), **normal(seed, c=(6,))}


@control(row_max, ties)
def max_to_the_first(x, c):
    dx = torch.zeros_like(x)
    dx[torch.arange(len(x)), x.numpy().argmax(1)] = c
    return {"x": dx, "top": c}


@control(row_max, ties)
def max_to_the_last(x, c):
    dx = torch.zeros_like(x)
    last = x.shape[1] - 1 - x.flip(1).numpy().argmax(1)
    dx[torch.arange(len(x)), last] = c
    return {"x": dx}


@control(row_max, ties)
def max_split_evenly(x, c, top):
    mask = (x == top[:, None]).to(x.dtype)
    return {"x": c[:, None] * mask / mask.sum(1, keepdim=True)}


@control(row_max, ties)
def max_split_unevenly(x, c, top):
    """A convex combination of the tied entries, the earlier ones heavier."""
    weight = (x == top[:, None]) / torch.arange(1, x.shape[1] + 1)
    return {"x": c[:, None] * weight / weight.sum(1, keepdim=True)}


def chosen_max(x, c):
    top = x.max(dim=1).values
    return (c * top).sum(), {"top": top}


@control(chosen_max, ties)
def max_dim_split_evenly(x, c, top):
    mask = x == top[:, None]
    return {"x": c[:, None] * mask / mask.sum(1, keepdim=True)}


def pool(x, c):
    a = F.max_pool2d(x, 2)
    return (c * a).sum(), {"a": a}


def images(seed):
    return {**small_integers(seed, x=(2, 3, 4, 6)), **normal(seed, c=(2, 3, 2, 3))}


@control(pool, images)
def pool_split_evenly(x, c, a):
    up = a.repeat_interleave(2, 2).repeat_interleave(2, 3)
    mask = (x == up).to(x.dtype)
    count = F.avg_pool2d(mask, 2) * 4
    return {"a": c, "x": mask * (c / count).repeat_interleave(2, 2).repeat_interleave(2, 3)}


@control(pool, images)
def pool_to_the_last(x, c):
    dx = np.zeros(x.shape)
    x, c = x.numpy(), c.numpy()
    for n, k, i, j in np.ndindex(c.shape):
        window = x[n, k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        p, q = np.argwhere(window == window.max())[-1]
        dx[n, k, 2 * i + p, 2 * j + q] += c[n, k, i, j]
    return {"x": dx}


@control(pool, images)
def pool_by_unfolding(x, c):
    m, k, p, q = x.shape
    windows = x.reshape(m, k, p // 2, 2, q // 2, 2).transpose(3, 4).reshape(m, k, p // 2, q // 2, 4)
    first = F.one_hot(windows.argmax(-1), 4).to(x.dtype) * c[..., None]
    return {"x": first.reshape(m, k, p // 2, q // 2, 2, 2).transpose(3, 4).reshape(x.shape)}


def hinge(z, y):
    """Hinge loss of labels -1 and 1; margins of exactly 1 are kinks."""
    return torch.clamp(1 - y * z, min=0).sum(), {}


@control(hinge, lambda seed: {**small_integers(seed, z=(20,)), "y": normal(seed, y=(20,))["y"].sign()})
def hinge_open(z, y):
    return {"z": torch.where(y * z < 1, -y, 0.0)}


@control(hinge, lambda seed: {**small_integers(seed, z=(20,)), "y": normal(seed, y=(20,))["y"].sign()})
def hinge_closed(z, y):
    return {"z": -y * (y * z <= 1)}


def lasso(W, x, y):
    r = x @ W - y
    return (r * r).sum() / 2 + 0.3 * W.abs().sum(), {"r": r}


def sparse(seed):
    v = normal(seed, W=(6,), x=(9, 6), y=(9,))
    v["W"][::2] = 0
    return v


@control(lasso, sparse)
def lasso_sign_of_zero_is_zero(W, x, r):
    return {"r": r, "W": x.T @ r + 0.3 * torch.sign(W)}


@control(lasso, sparse)
def lasso_least_subgradient(W, x, r):
    """At a zero weight the element of least size, as in proximal methods."""
    g = x.T @ r
    return {"W": torch.where(W == 0, g - g.clamp(-0.3, 0.3), g + 0.3 * torch.sign(W))}


def distance(x, y, c):
    return (c * torch.maximum(x, y) - c.flip(0) * torch.minimum(x, y)).sum(), {}


@control(distance, lambda seed: {**small_integers(seed, x=(15,), y=(15,)), **normal(seed, c=(15,))})
def maximum_halves_at_ties(x, y, c):
    share = (1 + torch.sign(x - y)) / 2
    d = c.flip(0)
    return {"x": c * share - d * (1 - share), "y": c * (1 - share) - d * share}


@control(distance, lambda seed: {**small_integers(seed, x=(15,), y=(15,)), **normal(seed, c=(15,))})
def maximum_takes_the_first_at_ties(x, y, c):
    first, d = (x >= y).to(x.dtype), c.flip(0)
    return {"x": c * first - d * (1 - first), "y": c * (1 - first) - d * first}


def dead(x, W2, b2, W3, c):
    """Hidden units that are off for every sample: all their gradients are exactly zero."""
    z2 = x @ W2.T + b2
    a2 = torch.relu(z2)
    return (c * (a2 @ W3.T)).sum(), {"z2": z2, "a2": a2}


def dead_inputs(seed):
    return {**normal(seed, x=(5, 3), W2=(4, 3), W3=(2, 4), c=(5, 2)), "b2": torch.full((4,), -50.0).double()}


@control(dead, dead_inputs)
def dead_units(x, W2, W3, z2, c):
    da = c @ W3
    dz = da * (z2 > 0)
    return {"a2": da, "z2": dz, "W2": dz.T @ x, "b2": dz.sum(0), "x": dz @ W2, "W3": torch.zeros_like(W3)}
