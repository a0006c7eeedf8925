"""Costs other than the log-loss: margins, divergences, mixtures, contrasts and robust losses."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import binary, index, one_hot, permutation, positive, probability, real
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
        {"y": real("m", "k", low=50, high=60)},
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


def gaussian(x, y, Wm, Ws):
    """The negative log-likelihood of a normal distribution, mean and log variance both linear."""
    mu, s = x @ Wm.T, torch.tanh(x @ Ws.T)
    return (s + (y - mu) ** 2 * torch.exp(-s)).sum() / (2 * len(x)), {"mu": mu, "s": s}


@control(gaussian, {"x": real("m", "d"), "y": real("m", "k"), "Wm": real("k", "d"), "Ws": real("k", "d")})
def precision_weighted_errors(x, y, Wm, Ws, mu, s):
    m, precision = len(x), torch.exp(-s)
    e = mu - y
    dmu = e * precision / m
    ds = (1 - e * e * precision) / (2 * m)
    dzs = ds * (1 - s * s)
    return {"mu": dmu, "s": ds, "Wm": dmu.T @ x, "Ws": dzs.T @ x, "y": -dmu, "x": dmu @ Wm + dzs @ Ws}


def mixture(y, w, mu, s):
    """A mixture density: log-weights w, means mu, log standard deviations s."""
    log_w = torch.log_softmax(w, 0)
    log_n = -(((y[:, None] - mu) * torch.exp(-s)) ** 2) / 2 - s - math.log(2 * math.pi) / 2
    return -torch.logsumexp(log_w + log_n, 1).mean(), {"log_n": log_n}


@control(mixture, {"y": real("m"), "w": real("k"), "mu": real("k"), "s": real("k", low=-0.5, high=1)})
def responsibilities(y, w, mu, s, log_n):
    r = torch.softmax(w + log_n, 1) / len(y)
    u = (y[:, None] - mu) * torch.exp(-s)
    return {
        "log_n": -r,
        "w": torch.softmax(w, 0) - r.sum(0),
        "mu": -(r * u * torch.exp(-s)).sum(0),
        "s": (r * (1 - u * u)).sum(0),
        "y": (r * u * torch.exp(-s)).sum(1),
    }


def variational(x, Wm, Ws, V, noise):
    """A variational autoencoder of one layer: reparameterised sample and closed KL."""
    mu, s = x @ Wm.T, torch.tanh(x @ Ws.T)
    h = mu + torch.exp(s / 2) * noise
    kl = (mu**2 + torch.exp(s) - s - 1).sum() / 2
    return ((h @ V.T - x) ** 2).sum() / 2 + kl, {"mu": mu, "s": s, "h": h}


@control(
    variational,
    {
        "x": real("m", "d"),
        "Wm": real("h", "d"),
        "Ws": real("h", "d"),
        "V": real("d", "h"),
        "noise": real("m", "h"),
    },
)
def reparameterised(x, Wm, Ws, V, noise, mu, s, h):
    e = h @ V.T - x
    dh = e @ V
    dmu = dh + mu
    ds = (dh * (h - mu) + torch.expm1(s)) / 2
    dz = ds * (1 - s) * (1 + s)
    return {"h": dh, "mu": dmu, "s": ds, "V": e.T @ h, "Wm": dmu.T @ x, "Ws": dz.T @ x, "noise": dh * torch.exp(s / 2)}


def ranking(z, order):
    """Plackett-Luce: the log-likelihood of an order."""
    s = z[order]
    return (s.flip(0).logcumsumexp(0).flip(0) - s).sum(), {"s": s}


@control(ranking, {"z": real("k"), "order": permutation("k")})
def plackett_luce(z, order, s):
    """Place i is in the running for the first i + 1 draws: its share of each of them, minus 1."""
    remaining = torch.stack([torch.logsumexp(s[i:], 0) for i in range(len(s))])
    share = torch.tril(torch.exp(s[:, None] - remaining[None]))
    ds = share.sum(1) - 1
    return {"s": ds, "z": torch.zeros_like(z).index_copy_(0, order, ds)}


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


def policy(z, action, advantage, old):
    """PPO's clipped surrogate with an entropy bonus."""
    log_p = torch.log_softmax(z, 1)
    ratio = torch.exp(log_p.gather(1, action[:, None])[:, 0] - old)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    bonus = -(log_p.exp() * log_p).sum(1)
    return -(surrogate + 0.01 * bonus).mean(), {"ratio": ratio}


@control(
    policy,
    {
        "z": real("m", "k", low=-2, high=2),
        "action": index("m", classes="k"),
        "advantage": real("m"),
        "old": real("m", low=-3, high=-0.1),
    },
)
def clipped_surrogate(z, action, advantage, ratio):
    p = torch.softmax(z, 1)
    log_p = torch.log_softmax(z, 1)
    active = torch.where(advantage > 0, ratio < 1.2, ratio > 0.8)
    g = (active * advantage * ratio)[:, None] * (F.one_hot(action, z.shape[1]) - p)
    h = -p * (log_p - (p * log_p).sum(1, keepdim=True))
    return {"z": -(g + 0.01 * h) / len(z), "ratio": -(active * advantage) / len(z)}
