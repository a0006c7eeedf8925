"""Gates, experts, hypernetworks and factorised weights, each derived in its own way."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from compare.check.inputs import constant, positive, real
from tests.derivations import control


def gated(x, W, V, c):
    a, g = x @ W.T, torch.sigmoid(x @ V.T)
    return (c * a * g).sum(), {"a": a, "g": g}


GATED = {"x": real("m", "d"), "W": real("h", "d"), "V": real("h", "d"), "c": real("m", "h")}


@control(gated, GATED)
def gated_linear_unit_stacked(x, W, V, c, a, g):
    both = torch.cat([c * g, c * a * g * (1 - g)], 1)
    dWV = both.T @ x
    dW, dV = dWV.chunk(2)
    return {"a": c * g, "g": c * a, "W": dW, "V": dV, "x": both @ torch.cat([W, V])}


def swiglu(x, W, V, U, c):
    s = x @ W.T
    h = F.silu(s) * (x @ V.T)
    return (c * (h @ U.T)).sum(), {"s": s, "h": h}


@control(
    swiglu,
    {"x": real("m", "d"), "W": real("h", "d"), "V": real("h", "d"), "U": real("d", "h"), "c": real("m", "d")},
)
def swiglu_recomputed(x, W, V, U, c, s):
    sig, v = torch.sigmoid(s), x @ V.T
    dh = c @ U
    ds = dh * v * sig * (1 + s * torch.sigmoid(-s))
    dv = dh * s * sig
    return {
        "h": dh,
        "s": ds,
        "U": c.T @ (s * sig * v),
        "W": ds.T @ x,
        "V": dv.T @ x,
        "x": torch.addmm(ds @ W, dv, V),
    }


def hypernetwork(x, e, H, c):
    """A layer whose weights are an embedding times a tensor."""
    W = torch.einsum("e,ekd->kd", e, H)
    return (c * torch.tanh(x @ W.T)).sum(), {"W": W}


@control(hypernetwork, {"x": real("m", "d"), "e": real("e"), "H": real("e", "k", "d"), "c": real("m", "k")})
def weights_of_weights(x, e, H, W, c):
    dz = c / torch.cosh(x @ W.T) ** 2
    dW = dz.T @ x
    return {"W": dW, "e": H.flatten(1) @ dW.flatten(), "H": torch.outer(e, dW.flatten()).view_as(H)}


def experts(x, G, W, c):
    """Soft mixture of linear experts."""
    g = torch.softmax(x @ G.T, 1)
    y = torch.einsum("mi,ikd,md->mik", g, W, x).sum(1)
    return (c * y).sum(), {"g": g, "y": y}


@control(experts, {"x": real("m", "d"), "G": real("e", "d"), "W": real("e", "k", "d"), "c": real("m", "k")})
def mixture_of_experts(x, G, W, c, g):
    outputs = torch.stack([x @ w.T for w in W], 1)
    dg = (outputs * c[:, None]).sum(-1)
    ds = g * (dg - (g * dg).sum(1, keepdim=True))
    dW = torch.stack([(g[:, i, None] * c).T @ x for i in range(len(W))])
    dx = ds @ G + sum(g[:, i, None] * (c @ W[i]) for i in range(len(W)))
    return {"y": c, "g": dg, "G": ds.T @ x, "W": dW, "x": dx}


def routed(x, G, W, c):
    """Each sample goes to its best expert, scaled by the softmax weight of that expert."""
    p = torch.softmax(x @ G.T, 1)
    weight, best = p.max(1)
    y = torch.einsum("mkd,md->mk", W[best], x)
    return (c * weight[:, None] * y).sum(), {"p": p, "y": y}


@control(
    routed,
    {
        "x": real("m", "d", low=0.5, high=2),
        "G": real("e", "d"),
        "W": real("e", "k", "d"),
        "c": real("m", "k"),
    },
)
def experts_dispatched(x, G, W, c, p, y):
    best = p.argmax(1)
    dp = torch.zeros_like(p)
    dp[torch.arange(len(x)), best] = (c * y).sum(1)
    ds = p * (dp - (p * dp).sum(1, keepdim=True))
    dy = c * p.amax(1, keepdim=True)
    dW = torch.zeros_like(W)
    for i in range(len(W)):
        dW[i] = dy[best == i].T @ x[best == i]
    return {"y": dy, "p": dp, "W": dW, "G": ds.T @ x}


def layer_scale(x, W, gamma, c):
    y = x + gamma * torch.relu(x @ W.T)
    return (c * y).sum(), {"y": y}


@control(
    layer_scale,
    {"x": real("m", "d"), "W": real("d", "d"), "gamma": real("d", scale=1e-4), "c": real("m", "d")},
)
def residual_with_a_small_scale(x, W, gamma, c):
    r = torch.relu(x @ W.T)
    dr = c * gamma * torch.sign(r)
    return {"gamma": torch.einsum("md,md->d", c, r), "W": dr.T @ x, "x": c + dr @ W}


def highway(x, W, V, b, c):
    t = torch.sigmoid(x @ V.T + b)
    h = torch.tanh(x @ W.T)
    y = t * h + (1 - t) * x
    return (c * y).sum(), {"t": t, "h": h, "y": y}


@control(
    highway,
    {"x": real("m", "d"), "W": real("d", "d"), "V": real("d", "d"), "b": real("d"), "c": real("m", "d")},
)
def carry_gate(x, W, V, c, t, h):
    pt = c * (h - x) * t * (1 - t)
    ph = c * t * (1 - h * h)
    return {
        "t": c * (h - x),
        "h": c * t,
        "b": pt.sum(0),
        "V": pt.T @ x,
        "W": ph.T @ x,
        "x": c - c * t + pt @ V + ph @ W,
    }


def squeeze(x, W1, W2, c):
    """Squeeze and excitation: channels scaled by a net of their own means."""
    s = x.mean(2)
    g = torch.sigmoid(torch.relu(s @ W1.T) @ W2.T)
    return (c * x * g[..., None]).sum(), {"s": s, "g": g}


@control(
    squeeze,
    {"x": real("m", "d", "t"), "W1": real("h", "d"), "W2": real("d", "h"), "c": real("m", "d", "t")},
)
def squeeze_and_excitation(x, W1, W2, c, s, g):
    h = torch.relu(s @ W1.T)
    dg = torch.einsum("mdt,mdt->md", c, x)
    p2 = dg * g * (1 - g)
    p1 = (p2 @ W2) * (h > 0)
    ds = p1 @ W1
    return {"g": dg, "s": ds, "W2": p2.T @ h, "W1": p1.T @ s, "x": c * g[..., None] + ds[..., None] / x.shape[2]}


def maxout(x, W, c):
    z = torch.einsum("md,phd->mph", x, W)
    return (c * z.amax(1)).sum(), {"z": z}


@control(maxout, {"x": real("m", "d"), "W": real("p", "h", "d"), "c": real("m", "h")})
def maxout_pieces(x, W, c, z):
    best = F.one_hot(z.argmax(1), z.shape[1]).transpose(1, 2).to(x.dtype)
    dz = c[:, None] * best
    return {"z": dz, "W": torch.einsum("mph,md->phd", dz, x), "x": torch.einsum("mph,phd->md", dz, W)}


def low_rank(x, W, A, B, c, alpha):
    z = x @ W.T + alpha * (x @ A.T) @ B.T
    return (c * z).sum(), {"z": z}


LORA = {
    "x": real("m", "d"),
    "W": real("k", "d"),
    "A": real("r", "d"),
    "B": real("k", "r"),
    "c": real("m", "k"),
    "alpha": constant(0.5),
}


@control(low_rank, LORA)
def low_rank_through_the_full_matrix(x, W, A, B, c, alpha):
    dW = c.T @ x
    return {"W": dW, "B": alpha * dW @ A.T, "A": alpha * B.T @ dW, "x": c @ (W + alpha * B @ A)}


def factorised(u, v, bias, row, column, rating):
    """Matrix factorisation on observed entries."""
    e = (u[row] * v[column]).sum(1) + bias[column] - rating
    return (e**2).sum() / 2 + 0.05 * (u**2).sum(), {"e": e}


def _observed(seed):
    g = torch.Generator().manual_seed(seed)
    shapes = {"u": (5, 3), "v": (4, 3), "bias": (4,), "rating": (20,)}
    values = {k: torch.randn(s, generator=g, dtype=torch.float64) for k, s in shapes.items()}
    values["row"] = torch.randint(5, (20,), generator=g)
    values["column"] = torch.randint(4, (20,), generator=g)
    return values


@control(factorised, _observed)
def ratings_as_a_matrix(u, v, row, column, e):
    E = torch.zeros(len(u), len(v), dtype=e.dtype).index_put_((row, column), e, accumulate=True)
    return {"u": E @ v + 0.1 * u, "v": E.T @ u, "bias": E.sum(0), "rating": -e}


def prelu(x, slope, c):
    a = F.prelu(x, slope)
    return (c * a**2).sum(), {"a": a}


@control(prelu, {"x": real("m", "k"), "slope": positive("k"), "c": real("m", "k")})
def learned_slopes(x, slope, c, a):
    da = 2 * c * a
    return {"a": da, "x": da * torch.where(x > 0, 1.0, slope), "slope": (da * x.clamp(max=0)).sum(0)}


def gumbel(z, noise, c, tau):
    p = torch.softmax((z - torch.log(-torch.log(noise))) / tau, 1)
    return (c * p).sum(), {"p": p}


@control(
    gumbel,
    {
        "z": real("m", "k"),
        "noise": real("m", "k", low=0.1, high=0.9),
        "c": real("m", "k"),
        "tau": constant(0.5),
    },
)
def relaxed_categorical(z, noise, c, p, tau):
    ds = p * (c - (p * c).sum(1, keepdim=True)) / tau
    return {"p": c, "z": ds, "noise": -ds / (noise * torch.log(noise))}
