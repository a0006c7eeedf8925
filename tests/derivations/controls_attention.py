"""Attention: masks, causal masks, temperatures, heads, and backwards that recompute or go block by block."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import binary, positive, real
from tests.derivations import control

HEADS = {
    "q": real("m", "s", "d"),
    "k": real("m", "t", "d"),
    "v": real("m", "t", "e"),
    "c": real("m", "s", "e"),
}


def attention(q, k, v, c):
    s = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    p = torch.softmax(s, -1)
    o = p @ v
    return (c * o).sum(), {"s": s, "p": p, "o": o}


@control(attention, HEADS)
def softmax_by_row_sums_of_the_output(q, k, v, c, p, o):
    """The row term sum_j dp_j p_j is do . o, as in flash attention."""
    dp = c @ v.transpose(-1, -2)
    ds = p * (dp - (c * o).sum(-1, keepdim=True))
    scale = q.shape[-1] ** -0.5
    return {
        "p": dp,
        "s": ds,
        "v": p.transpose(-1, -2) @ c,
        "q": ds @ k * scale,
        "k": ds.transpose(-1, -2) @ (q * scale),
    }


@control(attention, HEADS)
def key_blocks(q, k, v, c):
    """Two passes over blocks of two keys, nothing of the forward kept but its inputs."""
    scale = 1 / math.sqrt(q.shape[-1])
    top = torch.full_like(q[..., :1], -math.inf)
    total, o = torch.zeros_like(top), torch.zeros_like(c)
    for kb, vb in zip(k.split(2, 1), v.split(2, 1), strict=True):
        s = torch.einsum("msd,mtd->mst", q, kb) * scale
        new = torch.maximum(top, s.amax(-1, keepdim=True))
        e, shrink = torch.exp(s - new), torch.exp(top - new)
        total, o, top = total * shrink + e.sum(-1, keepdim=True), o * shrink + e @ vb, new
    o, lse = o / total, top + torch.log(total)
    rows = (c * o).sum(-1, keepdim=True)
    dq, dk, dv = torch.zeros_like(q), [], []
    for kb, vb in zip(k.split(2, 1), v.split(2, 1), strict=True):
        p = torch.exp(torch.einsum("msd,mtd->mst", q, kb) * scale - lse)
        ds = p * (torch.einsum("mse,mte->mst", c, vb) - rows) * scale
        dq += ds @ kb
        dk.append(torch.einsum("mst,msd->mtd", ds, q))
        dv.append(torch.einsum("mst,mse->mte", p, c))
    return {"q": dq, "k": torch.cat(dk, 1), "v": torch.cat(dv, 1)}


@control(attention, HEADS)
def softmax_jacobian_of_each_row(q, k, v, c, p):
    dp = torch.einsum("mse,mte->mst", c, v)
    jacobian = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
    ds = (jacobian @ dp[..., None])[..., 0]
    return {"s": ds, "q": torch.einsum("mst,mtd->msd", ds, k) / math.sqrt(k.shape[-1])}


@control(attention, HEADS)
def query_by_query(q, k, v, c, p):
    dk, dv, dq = torch.zeros_like(k), torch.zeros_like(v), torch.empty_like(q)
    for m in range(q.shape[0]):
        for i in range(q.shape[1]):
            dv[m] += torch.outer(p[m, i], c[m, i])
            g = v[m] @ c[m, i]
            ds = p[m, i] * (g - torch.dot(p[m, i], g)) / math.sqrt(q.shape[-1])
            dq[m, i] = ds @ k[m]
            dk[m] += torch.outer(ds, q[m, i])
    return {"q": dq, "k": dk, "v": dv}


@control(attention, HEADS)
def attention_in_numpy(q, k, v, c, p):
    q, k, v, c, p = (t.numpy() for t in (q, k, v, c, p))
    dp = np.einsum("mse,mte->mst", c, v)
    ds = p * (dp - np.einsum("mst,mst->ms", dp, p)[..., None]) / np.sqrt(q.shape[-1])
    return {"q": np.matmul(ds, k), "k": np.matmul(ds.swapaxes(1, 2), q), "v": np.matmul(p.swapaxes(1, 2), c)}


def causal(x, Wq, Wk, Wv, c):
    q, k, v = x @ Wq.T, x @ Wk.T, x @ Wv.T
    s = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    future = torch.ones(s.shape[-2:], dtype=torch.bool).triu(1)
    p = torch.softmax(s.masked_fill(future, -math.inf), -1)
    return (c * (p @ v)).sum(), {"q": q, "k": k, "v": v, "s": s, "p": p}


CAUSAL = {
    "x": real("m", "t", "d"),
    "Wq": real("h", "d", scale=0.5),
    "Wk": real("h", "d", scale=0.5),
    "Wv": real("e", "d"),
    "c": real("m", "t", "e"),
}


@control(causal, CAUSAL)
def causal_mask(x, Wq, Wk, Wv, q, k, v, p, c):
    dv = p.transpose(1, 2) @ c
    ds = torch._softmax_backward_data(c @ v.transpose(1, 2), p, -1, p.dtype)
    scale = math.sqrt(q.shape[-1])
    dq, dk = ds @ k / scale, ds.transpose(1, 2) @ q / scale
    return {
        "s": ds,
        "q": dq,
        "k": dk,
        "v": dv,
        "Wq": torch.einsum("mth,mtd->hd", dq, x),
        "Wk": dk.flatten(0, 1).T @ x.flatten(0, 1),
        "Wv": torch.tensordot(dv, x, dims=([0, 1], [0, 1])),
        "x": dq @ Wq + dk @ Wk + dv @ Wv,
    }


@control(causal, CAUSAL)
def causal_prefix_by_prefix(x, q, k, v, c):
    """Position i sees only the first i + 1: no mask at all."""
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    scale = q.shape[-1] ** -0.5
    for i in range(x.shape[1]):
        keys, values = k[:, : i + 1], v[:, : i + 1]
        p = torch.softmax((keys @ q[:, i, :, None])[..., 0] * scale, 1)
        dp = (values @ c[:, i, :, None])[..., 0]
        ds = scale * p * (dp - (p * dp).sum(1, keepdim=True))
        dq[:, i] = (ds[:, None] @ keys)[:, 0]
        dk[:, : i + 1] += ds[..., None] * q[:, i, None]
        dv[:, : i + 1] += p[..., None] * c[:, i, None]
    return {"q": dq, "k": dk, "v": dv}


def multi_head(x, W, Wo, c):
    """Two heads by one stacked projection and torch's fused attention."""
    m, t, _ = x.shape
    qkv = x @ W.T
    q, k, v = qkv.reshape(m, t, 3, 2, -1).permute(2, 0, 3, 1, 4)
    o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    u = o.transpose(1, 2).reshape(m, t, -1)
    return (c * (u @ Wo.T)).sum(), {"qkv": qkv, "u": u}


@control(
    multi_head,
    {
        "x": real("m", "t", "d"),
        "W": real("6*h", "d", scale=0.5),
        "Wo": real("d", "2*h"),
        "c": real("m", "t", "d"),
    },
)
def two_heads_stacked(x, W, Wo, c, qkv, u):
    m, t, _ = x.shape
    q, k, v = qkv.reshape(m, t, 3, 2, -1).permute(2, 0, 3, 1, 4)
    du = c @ Wo
    do = du.view(m, t, 2, -1).transpose(1, 2)
    s = q @ k.mT / math.sqrt(q.shape[-1]) + torch.full((t, t), -math.inf, dtype=x.dtype).triu(1)
    p = torch.exp(s - s.logsumexp(-1, keepdim=True))
    dp = do @ v.mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
    dqkv = torch.stack([ds @ k, ds.mT @ q, p.mT @ do]).permute(1, 3, 0, 2, 4).reshape(m, t, -1)
    return {
        "u": du,
        "qkv": dqkv,
        "W": torch.einsum("mth,mtd->hd", dqkv, x),
        "Wo": torch.einsum("mtd,mth->dh", c, u),
        "x": dqkv @ W,
    }


def padded(q, k, v, mask, c):
    """Keys behind a padding mask get -1e9; a query without any key attends to all evenly."""
    s = torch.einsum("mqd,mkd->mqk", q, k) + (1 - mask[:, None]) * -1e9
    p = torch.softmax(s, -1)
    return (c * (p @ v)).sum(), {"s": s, "p": p}


PADDED = {
    "q": real("m", "s", "d"),
    "k": real("m", "t", "d"),
    "v": real("m", "t", "e"),
    "mask": binary("m", "t"),
    "c": real("m", "s", "e"),
}


@control(padded, PADDED)
def padding_by_a_large_negative_number(q, k, v, p, c):
    dp = c @ v.mT
    ds = p * dp - p * torch.einsum("mqk,mqk->mq", p, dp).unsqueeze(-1)
    return {"s": ds, "q": ds.bmm(k), "k": ds.mT.bmm(q), "v": p.mT.bmm(c)}


def tempered(q, k, tau, c):
    p = torch.softmax(q @ k.T / tau, -1)
    return (c * p).sum(), {"p": p}


@control(tempered, {"q": real("s", "d"), "k": real("t", "d"), "tau": positive(), "c": real("s", "t")})
def temperature(q, k, tau, c, p):
    ds = p * (c - (p * c).sum(-1, keepdim=True))
    return {"p": c, "q": ds @ k / tau, "k": ds.T @ q / tau, "tau": -(ds * (q @ k.T)).sum() / tau**2}


def linear_attention(q, k, v, c):
    """Kernel attention with phi = elu + 1, summed causally."""
    a, b = F.elu(q) + 1, F.elu(k) + 1
    state = torch.einsum("mtd,mte->mtde", b, v).cumsum(1)
    o = torch.einsum("mtd,mtde->mte", a, state)
    return (c * o).sum(), {"a": a, "b": b}


LINEAR = {
    "q": real("m", "t", "d"),
    "k": real("m", "t", "d"),
    "v": real("m", "t", "e"),
    "c": real("m", "t", "e"),
}


@control(linear_attention, LINEAR)
def linear_attention_as_a_matrix(q, k, v, c, a, b):
    """The quadratic form of the same layer: a lower triangle of a b'."""
    dA = torch.tril(c @ v.mT)
    da, db = dA @ b, dA.mT @ a
    return {
        "a": da,
        "b": db,
        "q": da * torch.exp(q.clamp(max=0)),
        "k": db * torch.where(k > 0, 1.0, b),
        "v": torch.tril(a @ b.mT).mT @ c,
    }


@control(linear_attention, LINEAR)
def linear_attention_by_reverse_cumsum(v, c, a, b):
    later = torch.einsum("mtd,mte->mtde", a, c).flip(1).cumsum(1).flip(1)
    return {"b": torch.einsum("mtde,mte->mtd", later, v), "v": torch.einsum("mtde,mtd->mte", later, b)}


def additive(q, k, w, v, c):
    """Bahdanau's scores w . tanh(q + k)."""
    u = torch.tanh(q[:, None] + k[None])
    p = torch.softmax(u @ w, 1)
    return (c * (p @ v)).sum(), {"u": u, "p": p}


@control(
    additive,
    {"q": real("s", "d"), "k": real("t", "d"), "w": real("d"), "v": real("t", "e"), "c": real("s", "e")},
)
def additive_scores(w, v, c, u, p):
    dp = c @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    du = ds[..., None] * w
    dsum = du * (1 - u * u)
    return {"p": dp, "u": du, "w": (ds[..., None] * u).sum((0, 1)), "q": dsum.sum(1), "k": dsum.sum(0), "v": p.T @ c}
