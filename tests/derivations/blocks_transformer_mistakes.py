"""Parts of language models gone wrong: attention, embeddings, gates. The causes are listed in mlp_mistakes."""

from __future__ import annotations

import math

import torch

from tests.derivations import wrong
from tests.derivations.blocks_transformer import (
    ATTENTION,
    EMBEDDING,
    GATED,
    MULTI_HEAD,
    attention_forward,
    embedding_forward,
    gated_forward,
    multi_head_forward,
)


@wrong(attention_forward, ATTENTION, steps=("q", "k"), cause="wrong_factor")
def attention_scale_missing(x, Wq, Wk, Wv, dout, q, k, v, p):
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k, ds.T @ q
    dx = dq @ Wq + dk @ Wk + dv @ Wv
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x, "x": dx}


@wrong(attention_forward, ATTENTION, steps=("k",), cause="wrong_factor")
def scale_in_the_query_only(x, Wq, Wk, dout, q, k, v, p):
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k / math.sqrt(q.shape[1]), ds.T @ q
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("s",), cause="wrong_factor")
def scale_in_the_scores(x, dout, q, k, v, p):
    """The scale joins ds, and dq and dk get it as well."""
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p.T @ dout, dout @ v.T
    ds = scale * p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k * scale, ds.T @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("v",), cause="missing_transpose")
def values_without_transpose(x, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k * scale, ds.T @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("k",), cause="missing_transpose")
def keys_without_transpose(x, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k * scale, ds @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("s",), cause="wrong_axis")
def softmax_backward_over_queries(x, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(0, keepdim=True))
    dq, dk = ds @ k * scale, ds.T @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("s",), cause="diagonal_jacobian")
def attention_softmax_diagonal(x, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (1 - p) * dp
    dq, dk = ds @ k * scale, ds.T @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("q", "k"), cause="wrong_operand")
def query_and_key_exchanged(x, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dk, dq = ds @ k * scale, ds.T @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("x",), cause="missing_path")
def input_through_values_only(x, Wq, Wv, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k * scale, ds.T @ q * scale
    return {"s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "x": dq @ Wq + dv @ Wv}


@wrong(multi_head_forward, MULTI_HEAD, steps=("q", "k"), cause="wrong_count")
def scale_of_the_full_width(x, heads, Wo, dout, q, k, v, p):
    """sqrt of the whole width, where each head has its own."""
    B, T, C = dout.shape
    do = (dout @ Wo).view(B, T, heads, C // heads).transpose(1, 2)
    dp = do @ v.transpose(2, 3)
    ds = p * (dp - (dp * p).sum(-1, keepdim=True)) / math.sqrt(C)
    dq, dk, dv = ds @ k, ds.transpose(2, 3) @ q, p.transpose(2, 3) @ do
    rows = x.reshape(-1, C)
    dWq, dWk, dWv = (d.transpose(1, 2).reshape(-1, C).T @ rows for d in (dq, dk, dv))
    return {"o": do, "p": dp, "v": dv, "q": dq, "k": dk, "Wq": dWq, "Wk": dWk, "Wv": dWv}


@wrong(multi_head_forward, MULTI_HEAD, steps=("o",), cause="missing_transpose")
def heads_split_without_transpose(heads, Wo, dout, q, k, v, p, joined):
    B, T, C = dout.shape
    dWo = dout.reshape(-1, C).T @ joined.reshape(-1, C)
    djoined = dout @ Wo
    do = djoined.view(B, heads, T, C // heads)
    dp = do @ v.transpose(2, 3)
    ds = p * (dp - (dp * p).sum(-1, keepdim=True)) / math.sqrt(C // heads)
    return {
        "Wo": dWo,
        "joined": djoined,
        "o": do,
        "v": p.transpose(2, 3) @ do,
        "q": ds @ k,
        "k": ds.transpose(2, 3) @ q,
    }


@wrong(embedding_forward, EMBEDDING, steps=("E",), cause="overwritten", source="pytorch 1528")
def repeated_tokens_overwritten(tokens, E, W, y, h, z):
    dz = (z - y) / len(y)
    dh = dz @ W
    n = tokens.shape[1]
    de = dh.unsqueeze(1).expand(-1, n, -1) / n
    dE = torch.zeros_like(E)
    dE[tokens] = de
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


@wrong(embedding_forward, EMBEDDING, steps=("E",), cause="overwritten")
def repeated_tokens_added_once(tokens, E, W, y, h, z):
    """dE[tokens] += de adds each row once, however often it occurs."""
    dz = (z - y) / len(y)
    dh = dz @ W
    n = tokens.shape[1]
    de = dh[:, None, :].repeat(1, n, 1) / n
    dE = torch.zeros_like(E)
    dE[tokens] += de
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


@wrong(embedding_forward, EMBEDDING, steps=("e",), cause="missing_mean")
def pooled_mean_forgotten(tokens, E, W, y, h, z):
    dz = (z - y) / len(y)
    dh = dz @ W
    de = dh.unsqueeze(1).expand(-1, tokens.shape[1], -1)
    dE = torch.zeros_like(E)
    dE.index_add_(0, tokens.reshape(-1), de.reshape(-1, E.shape[1]))
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


@wrong(embedding_forward, EMBEDDING, steps=("E",), cause="special_case")
def row_zero_taken_for_padding(tokens, E, W, y, h, z):
    dz = (z - y) / len(y)
    dh = dz @ W
    n = tokens.shape[1]
    de = dh.unsqueeze(1).expand(-1, n, -1) / n
    dE = torch.zeros_like(E)
    dE.index_add_(0, tokens.reshape(-1), de.reshape(-1, E.shape[1]))
    dE[0] = 0
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


@wrong(gated_forward, GATED, steps=("u",), cause="wrong_operand")
def gate_before_activation(x, Wd, dout, g, u, h):
    dh = dout @ Wd
    ds, du = dh * u, dh * g
    sig = torch.sigmoid(g)
    dg = ds * sig * (1 + g * (1 - sig))
    return {"Wd": dout.T @ h, "h": dh, "s": ds, "u": du, "g": dg, "Wu": du.T @ x, "Wg": dg.T @ x}


@wrong(gated_forward, GATED, steps=("g",), cause="wrong_activation_derivative")
def sigmoid_slope_for_the_gate(x, Wd, dout, g, u, s, h):
    dh = dout @ Wd
    ds, du = dh * u, dh * s
    sig = torch.sigmoid(g)
    dg = ds * sig * (1 - sig)
    return {"Wd": dout.T @ h, "h": dh, "s": ds, "u": du, "g": dg, "Wu": du.T @ x, "Wg": dg.T @ x}
