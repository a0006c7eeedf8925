"""Two independent mistakes in different steps of a block, the one nearest to J first.

`cause` joins the two in the order of `steps`; the causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import math

import torch

from tests.derivations import wrong
from tests.derivations.blocks import (
    BATCH_NORM,
    DROPOUT,
    LAYER_NORM,
    RESIDUAL,
    TIED,
    batch_norm_forward,
    dropout_forward,
    layer_norm_forward,
    residual_forward,
    tied_forward,
)
from tests.derivations.blocks_image import CONV, conv_forward
from tests.derivations.blocks_recurrent import GRU, LSTM, UNROLLED, gru_forward, lstm_forward, unrolled_forward
from tests.derivations.blocks_transformer import ATTENTION, EMBEDDING, attention_forward, embedding_forward


@wrong(residual_forward, RESIDUAL, steps=("z2", "x"), cause="missing_activation_derivative + missing_path")
def slope_and_skip(x, W2, W3, y, h, z3):
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    dz2 = dh
    return {"z3": dz3, "W3": dz3.T @ h, "h": dh, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0), "x": dz2 @ W2}


@wrong(residual_forward, RESIDUAL, steps=("W3", "x"), cause="wrong_operand + missing_transpose")
def branch_and_transpose(x, W2, W3, y, a2, h, z3):
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    dz2 = dh * (1 - a2**2)
    return {"z3": dz3, "W3": dz3.T @ x, "h": dh, "z2": dz2, "W2": dz2.T @ x, "x": dh + dz2 @ W2.T}


@wrong(tied_forward, TIED, steps=("z3", "W2"), cause="wrong_factor + missing_path")
def factor_and_tied_path(x, W2, a2, z3):
    dz3 = 2 * (z3 - x) / len(x)
    dz2 = (dz3 @ W2.T) * a2 * (1 - a2)
    return {"z3": dz3, "b3": dz3.sum(0), "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0)}


@wrong(layer_norm_forward, LAYER_NORM, steps=("beta", "x"), cause="mean_twice + missing_path")
def beta_mean_and_variance_path(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.mean(1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.mean(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("xhat", "var"), cause="missing_factor + sign")
def gamma_and_sign_of_the_variance(dout, xc, var, rstd, xhat):
    d = xc.shape[1]
    dxhat = dout
    drstd = (dxhat * xc).sum(1, keepdim=True)
    dvar = drstd * 0.5 * (var + 1e-5) ** -1.5
    dxc = dxhat * rstd + dvar * 2 * xc / d
    dmu = -dxc.sum(1, keepdim=True)
    return {"xhat": dxhat, "rstd": drstd, "var": dvar, "xc": dxc, "mu": dmu, "x": dxc + dmu / d}


@wrong(
    batch_norm_forward,
    BATCH_NORM,
    steps=("gamma", "x"),
    cause="wrong_operand + wrong_count",
    options={"whole_batch": True},
)
def gamma_of_x_and_n_minus_one(x, gamma, dout, std, xhat):
    m = len(dout)
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(0) - xhat * (dxhat * xhat).sum(0) / (m - 1)) / std
    return {"gamma": (dout * x).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(attention_forward, ATTENTION, steps=("s", "k"), cause="diagonal_jacobian + wrong_factor")
def softmax_and_scale(x, dout, q, k, v, p):
    dv, dp = p.T @ dout, dout @ v.T
    ds = p * (1 - p) * dp
    dq, dk = ds @ k / math.sqrt(q.shape[1]), ds.T @ q
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "Wk": dk.T @ x, "Wv": dv.T @ x}


@wrong(attention_forward, ATTENTION, steps=("v", "x"), cause="missing_transpose + missing_path")
def values_and_one_path(x, Wq, Wv, dout, q, k, v, p):
    scale = 1 / math.sqrt(q.shape[1])
    dv, dp = p @ dout, dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdim=True))
    dq, dk = ds @ k * scale, ds.T @ q * scale
    return {"p": dp, "s": ds, "v": dv, "q": dq, "k": dk, "Wq": dq.T @ x, "x": dq @ Wq + dv @ Wv}


@wrong(embedding_forward, EMBEDDING, steps=("z", "E"), cause="sign + overwritten")
def sign_and_repeated_tokens(tokens, E, W, y, h, z):
    dz = (y - z) / len(y)
    dh = dz @ W
    n = tokens.shape[1]
    de = dh.unsqueeze(1).expand(-1, n, -1) / n
    dE = torch.zeros_like(E)
    dE[tokens] = de
    return {"z": dz, "W": dz.T @ h, "h": dh, "e": de, "E": dE}


@wrong(dropout_forward, DROPOUT, steps=("a2", "z2"), cause="wrong_factor + wrong_mask")
def scale_and_relu_mask(x, W3, mask, y, a2, h2, z3):
    d3 = (z3 - y) / len(x)
    dh2 = d3 @ W3
    da2 = dh2 * mask
    d2 = da2 * (da2 > 0)
    return {"z3": d3, "W3": d3.T @ h2, "h2": dh2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(unrolled_forward, UNROLLED, steps=("h2", "Wh"), cause="missing_activation_derivative + wrong_index")
def one_slope_and_one_state(x1, x2, x3, h0, Wx, Wh, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    m = len(x1)
    do1, do2, do3 = (o1 - y1) / m, (o2 - y2) / m, (o3 - y3) / m
    dh3 = do3 @ Wy
    dz3 = dh3 * (1 - h3**2)
    dh2 = do2 @ Wy + dh3 @ Wh
    dz2 = dh2 * (1 - h2**2)
    dh1 = do1 @ Wy + dz2 @ Wh
    dz1 = dh1 * (1 - h1**2)
    dWx = dz3.T @ x3 + dz2.T @ x2 + dz1.T @ x1
    dWh = dz3.T @ h2 + dz2.T @ h1 + dz1.T @ h1
    grads = {"o1": do1, "o2": do2, "o3": do3, "h3": dh3, "h2": dh2, "h1": dh1}
    return grads | {"Wx": dWx, "Wh": dWh, "Wy": do3.T @ h3 + do2.T @ h2 + do1.T @ h1, "h0": dz1 @ Wh}


@wrong(lstm_forward, LSTM, steps=("c", "c0"), cause="missing_path + missing_factor")
def cell_path_and_forget_gate(x, h0, c0, dh, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "c0": dct, "W": dz.T @ x}


@wrong(lstm_forward, LSTM, steps=("f", "z"), cause="wrong_index + missing_activation_derivative")
def forget_gate_and_output_slope(x, h0, c0, dh, dc, i, f, g, o, c, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(gru_forward, GRU, steps=("z", "h0"), cause="sign + missing_path")
def gate_sign_and_carried_state(x, h0, Ur, Uz, Un, dh, r, z, u, n):
    dn, dz = dh * (1 - z), dh * (n - h0)
    dan = dn * (1 - n**2)
    dr, du = dan * u, dan * r
    dar, daz = dr * r * (1 - r), dz * z * (1 - z)
    dh0 = du @ Un + dar @ Ur + daz @ Uz
    return {"n": dn, "z": dz, "r": dr, "u": du, "Wr": dar.T @ x, "Uz": daz.T @ h0, "h0": dh0}


@wrong(conv_forward, CONV, steps=("b", "x"), cause="wrong_axis + wrong_index")
def bias_axis_and_kernel(x, W, dout):
    kh, kw = W.shape[2:]
    padded = torch.nn.functional.pad(dout, (kw - 1, kw - 1, kh - 1, kh - 1))
    dx = torch.nn.functional.conv2d(padded, W.transpose(0, 1))
    dW = torch.nn.functional.conv2d(x.transpose(0, 1), dout.transpose(0, 1)).transpose(0, 1)
    return {"out": dout, "W": dW, "b": dout.sum((2, 3)).mean(0), "x": dx}
