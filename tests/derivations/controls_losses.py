"""Costs other than the log-loss: margins, divergences, contrasts and robust losses."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import binary, index, one_hot, positive, probability, real
from tests.derivations import control

LINEAR = {"x": real("m", "d"), "W": real("k", "d"), "b": real("k")}


def under(loss):
    """A cost J(z, y) on a linear layer z."""

    def forward(x, W, b, y):
        z = x @ W.T + b
        return loss(z, y), {"z": z}

    return forward


def above(delta):
    """The backward of `under` by a formula for dJ/dz."""

    def backward(x, W, z, y):
        dz = delta(z, y)
        return {"z": dz, "W": dz.T @ x, "b": dz.sum(0), "x": dz @ W}

    return backward


def binary_focal(z, y):
    p = torch.sigmoid(z)
    return (y * (1 - p) ** 2 * F.softplus(-z) + (1 - y) * p**2 * F.softplus(z)).mean()


def focal_delta(z, y):
    """With u the margin s z: d/dz = s (2 q^2 p log p - q^3) where p = sigmoid(u), q = 1 - p."""
    s = 2 * y - 1
    p, q = torch.sigmoid(s * z), torch.sigmoid(-s * z)
    return s * q**2 * (2 * p * F.logsigmoid(s * z) - q) / z.numel()


def smooth_l1_delta(z, y):
    return ((z - y) / 0.5).clamp(-1, 1) / z.numel()


REAL, BINARY, SIMPLEX = {"y": real("m", "k")}, {"y": binary("m", "k")}, {"y": probability("m", "k")}

LOSSES = {
    "huber_by_clamp": (
        lambda z, y: F.huber_loss(z, y, delta=0.7),
        lambda z, y: (z - y).clamp(-0.7, 0.7) / z.numel(),
        REAL,
    ),
    "huber_by_cases": (
        lambda z, y: F.huber_loss(z, y, reduction="sum"),
        lambda z, y: torch.where((z - y).abs() < 1, z - y, torch.sign(z - y)),
        REAL,
    ),
    "smooth_l1": (lambda z, y: F.smooth_l1_loss(z, y, beta=0.5), smooth_l1_delta, REAL),
    "mean_absolute_error": (F.l1_loss, lambda z, y: torch.sign(z - y) / z.numel(), REAL),
    "pinball": (
        lambda z, y: torch.maximum(0.9 * (y - z), -0.1 * (y - z)).sum(),
        lambda z, y: torch.where(z < y, -0.9, 0.1).to(z.dtype),
        REAL,
    ),
    "log_cosh": (
        lambda z, y: (F.softplus(2 * (z - y)) - (z - y) - math.log(2)).sum(),
        lambda z, y: torch.tanh(z - y),
        REAL,
    ),
    "cauchy": (
        lambda z, y: torch.log1p((z - y) ** 2).sum() / 2,
        lambda z, y: 1 / ((z - y) + torch.reciprocal(z - y)),
        REAL,
    ),
    "poisson": (
        lambda z, y: (F.softplus(z) - y * torch.log(F.softplus(z) + 0.1)).sum(),
        lambda z, y: torch.sigmoid(z) * (1 - y / (F.softplus(z) + 0.1)),
        {"y": positive("m", "k")},
    ),
    "binary_focal": (binary_focal, focal_delta, BINARY),
    "squared_hinge": (
        lambda z, y: (torch.relu(1 - (2 * y - 1) * z) ** 2).sum(),
        lambda z, y: -2 * (2 * y - 1) * (1 - (2 * y - 1) * z).clamp(min=0),
        BINARY,
    ),
    "soft_margin": (
        lambda z, y: F.soft_margin_loss(z, 2 * y - 1),
        lambda z, y: (torch.sigmoid(z) - y) / z.numel(),
        BINARY,
    ),
    "brier": (
        lambda z, y: ((torch.sigmoid(z) - y) ** 2).mean(),
        lambda z, y: 2 * (torch.sigmoid(z) - y) * torch.sigmoid(z) * torch.sigmoid(-z) / z.numel(),
        BINARY,
    ),
    "kl_from_targets": (
        lambda z, y: F.kl_div(torch.log_softmax(z, 1), y, reduction="batchmean"),
        lambda z, y: (torch.softmax(z, 1) - y) / len(z),
        SIMPLEX,
    ),
    "kl_to_targets": (
        lambda z, y: (torch.softmax(z, 1) * (torch.log_softmax(z, 1) - torch.log(y))).sum() / len(z),
        lambda z, y: _reverse_kl(z, y),
        SIMPLEX,
    ),
    "distillation": (
        lambda z, y: -9 * (torch.softmax(y / 3, 1) * torch.log_softmax(z / 3, 1)).sum() / len(z),
        lambda z, y: 3 * (torch.softmax(z / 3, 1) - torch.softmax(y / 3, 1)) / len(z),
        REAL,
    ),
    "one_against_all": (
        lambda z, y: F.multilabel_soft_margin_loss(z, y),
        lambda z, y: (torch.sigmoid(z) - y) / (len(z) * z.shape[1]),
        BINARY,
    ),
    "logits_with_mean_square_of_softmax": (
        lambda z, y: ((torch.softmax(z, 1) - y) ** 2).sum() / 2,
        lambda z, y: _softmax_square(z, y),
        {"y": one_hot("m", "k")},
    ),
    "z_loss": (
        lambda z, y: (torch.logsumexp(z, 1) ** 2).mean() + (z * y).sum(),
        lambda z, y: y + 2 * torch.logsumexp(z, 1, keepdim=True) * torch.softmax(z, 1) / len(z),
        REAL,
    ),
}


def _reverse_kl(z, y):
    p = torch.softmax(z, 1)
    g = torch.log_softmax(z, 1) - torch.log(y)
    return p * (g - (p * g).sum(1, keepdim=True)) / len(z)


def _softmax_square(z, y):
    p = torch.softmax(z, 1)
    return p * (p - y) - p * ((p - y) * p).sum(1, keepdim=True)


for _name, (_loss, _delta, _targets) in LOSSES.items():
    control(under(_loss), {**LINEAR, **_targets}, name=_name)(above(_delta))


def crammer_singer(z, y):
    """Multiclass hinge over all classes but the right one, as in CS231n."""
    right = z.gather(1, y[:, None])
    margins = torch.relu(z - right + 1)
    return (margins.sum(1) - 1).mean(), {}


@control(crammer_singer, {"z": real("m", "k"), "y": index("m", classes="k")})
def multiclass_hinge_counts(z, y):
    rows = np.arange(len(y))
    scores, labels = z.numpy(), y.numpy()
    mask = (scores - scores[rows, labels][:, None] + 1 > 0).astype(float)
    mask[rows, labels] = 0
    mask[rows, labels] = -mask.sum(axis=1)
    return {"z": mask / len(y)}


def triplet(a, p, n):
    dp, dn = ((a - p) ** 2).sum(1), ((a - n) ** 2).sum(1)
    return torch.relu(dp - dn + 1).mean(), {"dp": dp, "dn": dn}


@control(triplet, {"a": real("m", "d"), "p": real("m", "d"), "n": real("m", "d")})
def triplet_difference_of_ends(a, p, n, dp, dn):
    """The anchor drops out of its own derivative: 2 (n - p) for active triplets."""
    on = (dp - dn > -1).to(a.dtype) / len(a)
    return {
        "dp": on,
        "dn": -on,
        "a": 2 * on[:, None] * (n - p),
        "p": 2 * on[:, None] * (p - a),
        "n": 2 * on[:, None] * (a - n),
    }


def info_nce(u, v):
    """Both directions of the contrast, as in CLIP, at temperature 1/2."""
    s = 2 * u @ v.T
    own = torch.arange(len(u))
    return (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2, {"s": s}


@control(info_nce, {"u": real("m", "d"), "v": real("m", "d")})
def contrast_rows_and_columns(u, v, s):
    ds = (torch.softmax(s, 1) + torch.softmax(s, 0)) / 2
    ds.diagonal().sub_(1)
    ds /= len(u)
    return {"s": ds, "u": 2 * ds @ v, "v": 2 * ds.T @ u}


def dice(z, y):
    p = torch.sigmoid(z)
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1), {"p": p}


@control(dice, {"z": real("m", "k"), "y": binary("m", "k")})
def dice_quotient_rule(z, y, p):
    top, bottom = 2 * (p * y).sum() + 1, p.sum() + y.sum() + 1
    dp = (top - 2 * y * bottom) / bottom**2
    return {"p": dp, "z": dp * p * (1 - p)}


def cosine(u, v):
    return (1 - F.cosine_similarity(u, v, dim=1)).sum(), {}


@control(cosine, {"u": positive("m", "d"), "v": real("m", "d", low=1, high=2)})
def cosine_by_unit_vectors(u, v):
    nu, nv = u.norm(dim=1, keepdim=True), v.norm(dim=1, keepdim=True)
    a, b = u / nu, v / nv
    s = (a * b).sum(1, keepdim=True)
    return {"u": (s * a - b) / nu, "v": (s * b - a) / nv}
