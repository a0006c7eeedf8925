"""Likelihoods: normal, mixtures, a variational bound, orders and policies."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from compare.check.inputs import index, permutation, real
from tests.derivations import control


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
