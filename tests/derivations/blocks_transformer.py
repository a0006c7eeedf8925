"""Parts of language models, right: attention, embeddings, gates, the residual stream, rotations."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from compare.check.inputs import constant, index, real
from tests.derivations import correct
from tests.derivations.mlp import half_square


def attention_forward(x, Wq, Wk, Wv, dout):
    q, k, v = x @ Wq.T, x @ Wk.T, x @ Wv.T
    s = q @ k.T / math.sqrt(q.shape[1])
    p = torch.softmax(s, 1)
    out = p @ v
    return (out * dout).sum(), {"q": q, "k": k, "v": v, "s": s, "p": p, "out": out}


ATTENTION = {
    "x": real("t", "d"),
    "Wq": real("e", "d"),
    "Wk": real("e", "d"),
    "Wv": real("f", "d"),
    "dout": real("t", "f"),
}


@correct(attention_forward, ATTENTION)
def attention(x, Wq, Wk, Wv, dout, q, k, v, p):
    dv = p.T @ dout
    dp = dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    scale = 1 / math.sqrt(q.shape[1])
    dq = ds @ k * scale
    dk = ds.T @ q * scale
    dx = dq @ Wq + dk @ Wk + dv @ Wv
    return {
        "out": dout,
        "p": dp,
        "s": ds,
        "v": dv,
        "q": dq,
        "k": dk,
        "Wq": dq.T @ x,
        "Wk": dk.T @ x,
        "Wv": dv.T @ x,
        "x": dx,
    }


def multi_head_forward(x, Wq, Wk, Wv, Wo, heads, dout):
    """Causal attention; x is (batch, time, width)."""
    B, T, C = x.shape
    q = (x @ Wq.T).view(B, T, heads, C // heads).transpose(1, 2)
    k = (x @ Wk.T).view(B, T, heads, C // heads).transpose(1, 2)
    v = (x @ Wv.T).view(B, T, heads, C // heads).transpose(1, 2)
    mask = torch.tril(torch.ones(T, T, dtype=torch.bool))
    s = (q @ k.transpose(2, 3) / math.sqrt(C // heads)).masked_fill(~mask, -math.inf)
    p = torch.softmax(s, -1)
    o = p @ v
    joined = o.transpose(1, 2).reshape(B, T, C)
    out = joined @ Wo.T
    return (out * dout).sum(), {"q": q, "k": k, "v": v, "p": p, "o": o, "joined": joined, "out": out}


MULTI_HEAD = {
    "x": real("b", "t", "n*e"),
    "Wq": real("n*e", "n*e"),
    "Wk": real("n*e", "n*e"),
    "Wv": real("n*e", "n*e"),
    "Wo": real("n*e", "n*e"),
    "heads": constant("n"),
    "dout": real("b", "t", "n*e"),
}


@correct(multi_head_forward, MULTI_HEAD)
def multi_head_attention(x, Wq, Wk, Wv, Wo, heads, dout, q, k, v, p, joined):
    B, T, C = x.shape
    dWo = dout.reshape(-1, C).T @ joined.reshape(-1, C)
    djoined = dout @ Wo
    do = djoined.view(B, T, heads, C // heads).transpose(1, 2)
    dp = do @ v.transpose(2, 3)
    dv = p.transpose(2, 3) @ do
    ds = p * (dp - (dp * p).sum(-1, keepdim=True)) / math.sqrt(C // heads)
    dq = ds @ k
    dk = ds.transpose(2, 3) @ q
    flat = [d.transpose(1, 2).reshape(B * T, C) for d in (dq, dk, dv)]
    rows = x.reshape(-1, C)
    dWq, dWk, dWv = (d.T @ rows for d in flat)
    dx = (flat[0] @ Wq + flat[1] @ Wk + flat[2] @ Wv).view(B, T, C)
    return {
        "out": dout,
        "Wo": dWo,
        "joined": djoined,
        "o": do,
        "p": dp,
        "v": dv,
        "q": dq,
        "k": dk,
        "Wq": dWq,
        "Wk": dWk,
        "Wv": dWv,
        "x": dx,
    }


def embedding_forward(tokens, E, W, y):
    e = E[tokens]
    h = e.mean(1)
    z = h @ W.T
    return half_square(z, y), {"e": e, "h": h, "z": z}


EMBEDDING = {
    "tokens": index("m", 6, classes="v"),
    "E": real("v", "d"),
    "W": real("k", "d"),
    "y": real("m", "k"),
}


@correct(embedding_forward, EMBEDDING)
def embedding(tokens, E, W, y, h, z):
    dz = (z - y) / len(y)
    dh = dz @ W
    n = tokens.shape[1]
    de = dh.unsqueeze(1).expand(-1, n, -1) / n
    dE = torch.zeros_like(E)
    dE.index_add_(0, tokens.reshape(-1), de.reshape(-1, E.shape[1]))
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


@correct(embedding_forward, EMBEDDING)
def embedding_in_loops(tokens, E, W, y, e, h, z):
    dz = (z - y) / len(y)
    dh = dz @ W
    de, dE = torch.zeros_like(e), torch.zeros_like(E)
    m, n = tokens.shape
    for i in range(m):
        for j in range(n):
            de[i, j] = dh[i] / n
            dE[tokens[i, j]] += de[i, j]
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


def gated_forward(x, Wg, Wu, Wd, dout):
    """SwiGLU: the feed-forward block of current language models."""
    g = x @ Wg.T
    u = x @ Wu.T
    s = g * torch.sigmoid(g)
    h = s * u
    out = h @ Wd.T
    return (out * dout).sum(), {"g": g, "u": u, "s": s, "h": h, "out": out}


GATED = {
    "x": real("m", "d"),
    "Wg": real("h", "d"),
    "Wu": real("h", "d"),
    "Wd": real("k", "h"),
    "dout": real("m", "k"),
}


@correct(gated_forward, GATED)
def gated_unit(x, Wg, Wu, Wd, dout, g, u, s, h):
    dh = dout @ Wd
    ds = dh * u
    du = dh * s
    sig = torch.sigmoid(g)
    dg = ds * sig * (1 + g * (1 - sig))
    return {
        "out": dout,
        "Wd": dout.T @ h,
        "h": dh,
        "s": ds,
        "u": du,
        "g": dg,
        "Wu": du.T @ x,
        "Wg": dg.T @ x,
        "x": dg @ Wg + du @ Wu,
    }


def prenorm_forward(x, residual, gamma, dout, dres):
    """A residual stream that is normalised and handed on: both outputs reach the cost."""
    stream = residual + x
    r = torch.rsqrt((stream**2).mean(1, keepdim=True) + 1e-6)
    out = gamma * stream * r
    return (out * dout).sum() + (stream * dres).sum(), {"stream": stream, "out": out}


PRENORM = {
    "x": real("m", "d"),
    "residual": real("m", "d"),
    "gamma": real("d"),
    "dout": real("m", "d"),
    "dres": real("m", "d"),
}


def rms_backward(dy, stream, gamma):
    r = torch.rsqrt((stream**2).mean(1, keepdim=True) + 1e-6)
    dhat = dy * gamma
    return r * (dhat - stream * r * r * (dhat * stream).mean(1, keepdim=True))


@correct(prenorm_forward, PRENORM)
def residual_and_norm(gamma, dout, dres, stream):
    r = torch.rsqrt((stream**2).mean(1, keepdim=True) + 1e-6)
    dstream = dres + rms_backward(dout, stream, gamma)
    return {"gamma": (dout * stream * r).sum(0), "stream": dstream, "x": dstream, "residual": dstream}


def rotate_half(t):
    first, second = t.chunk(2, -1)
    return torch.cat([-second, first], -1)


def rotary_forward(q, cos, sin, dout):
    out = q * cos + rotate_half(q) * sin
    return (out * dout).sum(), {"out": out}


ROTARY = {
    "q": real("t", "2*e"),
    "cos": real("t", "2*e", low=-1.0, high=1.0),
    "sin": real("t", "2*e", low=-1.0, high=1.0),
    "dout": real("t", "2*e"),
}


@correct(rotary_forward, ROTARY)
def rotary_embedding(q, cos, sin, dout):
    dq = dout * cos - rotate_half(dout * sin)
    return {"out": dout, "q": dq, "cos": dout * q, "sin": dout * rotate_half(q)}


def tied_language_forward(tokens, targets, E, P):
    """Token and position embeddings, a ReLU, and the embedding again as classifier."""
    e = E[tokens] + P
    h = torch.relu(e)
    z = h @ E.T
    m, n = tokens.shape
    picked = torch.gather(z, 2, targets[:, :, None])[:, :, 0]
    return (torch.logsumexp(z, 2) - picked).sum() / (m * n), {"e": e, "h": h, "z": z}


TIED_LANGUAGE = {
    "tokens": index("m", "t", classes="v"),
    "targets": index("m", "t", classes="v"),
    "E": real("v", "d"),
    "P": real("t", "d"),
}


@correct(tied_language_forward, TIED_LANGUAGE)
def tied_language_model(tokens, targets, E, e, h, z):
    m, n = tokens.shape
    dz = (torch.softmax(z, 2) - F.one_hot(targets, len(E))) / (m * n)
    dh = dz @ E
    de = dh * (e > 0)
    dE = torch.einsum("mtv,mtd->vd", dz, h)
    dE.index_add_(0, tokens.flatten(), de.flatten(0, 1))
    return {"z": dz, "h": dh, "e": de, "E": dE, "P": de.sum(0)}
