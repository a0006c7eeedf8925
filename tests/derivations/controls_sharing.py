"""Weights used more than once: tied, in two towers, in every step; paths that meet again."""

from __future__ import annotations

import torch

from compare.check.inputs import real
from tests.derivations import control


def tied(x, W, b, d):
    """An autoencoder whose decoder is the encoder transposed."""
    a = torch.sigmoid(x @ W.T + b)
    e = a @ W + d - x
    return (e**2).sum() / (2 * len(x)), {"a": a, "e": e}


TIED = {"x": real("m", "d"), "W": real("h", "d"), "b": real("h"), "d": real("d")}


@control(tied, TIED)
def tied_weights_in_one_product(x, W, a, e):
    de = e / len(x)
    dz = de @ W.T * a * (1 - a)
    dW = torch.cat([dz, a]).T @ torch.cat([x, de])
    return {"e": de, "W": dW, "b": dz.sum(0), "d": de.sum(0), "x": dz @ W - de}


@control(tied, TIED)
def tied_weights_encoder_first(x, W, a, e):
    de = e / len(x)
    dz = torch.einsum("md,hd,mh,mh->mh", de, W, a, 1 - a)
    dW = torch.zeros_like(W)
    for i in range(len(x)):
        dW += dz[i, :, None] * x[i]
    for i in range(len(x)):
        dW += a[i, :, None] * de[i]
    return {"W": dW}


def siamese(x1, x2, same, W):
    """One tower for both inputs; contrastive loss with margin 1 on the squared distance."""
    a1, a2 = torch.tanh(x1 @ W.T), torch.tanh(x2 @ W.T)
    distance = ((a1 - a2) ** 2).sum(1)
    J = (same * distance + (1 - same) * torch.relu(1 - distance)).sum()
    return J, {"a1": a1, "a2": a2, "distance": distance}


@control(
    siamese,
    {"x1": real("m", "d"), "x2": real("m", "d"), "same": real("m", low=0, high=1), "W": real("h", "d")},
)
def siamese_towers_stacked(x1, x2, same, W, a1, a2, distance):
    dd = same - (1 - same) * (distance < 1)
    da = 2 * dd[:, None] * (a1 - a2)
    a, x = torch.stack([a1, a2]), torch.stack([x1, x2])
    dz = torch.stack([da, -da]) * (1 - a * a)
    dx = dz @ W
    return {"distance": dd, "a1": da, "a2": -da, "W": (dz.mT @ x).sum(0), "x1": dx[0], "x2": dx[1]}


def iterated(x, W, n=4):
    """One layer applied four times."""
    for _ in range(n):
        x = torch.tanh(x @ W.T)
    return x


def repeated(x, W, c):
    a = iterated(x, W)
    return (c * a).sum(), {"a": a}


@control(repeated, {"x": real("m", "d"), "W": real("d", "d"), "c": real("m", "d")})
def states_recomputed_for_each_step(x, W, c):
    """No state is kept: each is recomputed from the input when its step is reached."""
    dW, da = torch.zeros_like(W), c
    for step in reversed(range(4)):
        below = iterated(x, W, step)
        dz = da * (1 - torch.tanh(below @ W.T) ** 2)
        dW += dz.T @ below
        da = dz @ W
    return {"W": dW, "x": da}


def residual(x, W1, W2, c):
    h = x + torch.relu(x @ W1.T)
    y = h + torch.relu(h @ W2.T)
    return (c * y).sum(), {"h": h, "y": y}


@control(residual, {"x": real("m", "d"), "W1": real("d", "d"), "W2": real("d", "d"), "c": real("m", "d")})
def residual_paths_expanded(x, W1, W2, c, h):
    """The four paths of two residual blocks, each multiplied out."""
    m1, m2 = (x @ W1.T > 0).to(x.dtype), (h @ W2.T > 0).to(x.dtype)
    through2 = (c * m2) @ W2
    dx = c + through2 + (c * m1) @ W1 + (through2 * m1) @ W1
    return {"W2": (c * m2).T @ h, "W1": (c * m1).T @ x + (through2 * m1).T @ x, "x": dx, "h": c + through2}
