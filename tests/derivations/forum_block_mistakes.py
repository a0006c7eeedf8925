"""Mistakes that were really made and reported: norms, attention, language models, recurrent cells, images.

The code is written anew for the reported mistake; the causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.derivations import wrong
from tests.derivations.blocks import (
    BATCH_NORM,
    DROPOUT,
    LAYER_NORM,
    RMS_NORM,
    SOFTMAX,
    batch_norm_forward,
    dropout_forward,
    layer_norm_forward,
    rms_norm_forward,
    softmax_forward,
)
from tests.derivations.blocks_image import CONV, MAX, SPATIAL, conv_forward, max_forward, spatial_norm_forward
from tests.derivations.blocks_recurrent import LSTM, STEP, lstm_forward, step_forward
from tests.derivations.blocks_transformer import (
    PRENORM,
    ROTARY,
    TIED_LANGUAGE,
    prenorm_forward,
    rms_backward,
    rotary_forward,
    rotate_half,
    tied_language_forward,
)

WHOLE = {"whole_batch": True}  # statistics of a single sample are degenerate


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="path_twice", source="tt-metal 53204")
def mean_subtracted_twice(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    s1 = dxhat.mean(-1, keepdim=True)
    s2 = (dxhat * xhat).mean(-1, keepdim=True)
    dx = rstd * (dxhat - s1 - (s1 + xhat * s2))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("gamma", "beta"), cause="wrong_operand", source="oneflow 6149")
def gamma_and_beta_exchanged(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
    dgamma, dbeta = dout.sum(0), (dout * xhat).sum(0)
    return {"gamma": dgamma, "beta": dbeta, "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("gamma", "beta"), cause="overwritten", source="llm.c 408: += over rows")
def parameters_of_the_last_row(gamma, dout, rstd, xhat):
    dgamma, dbeta, dx = torch.zeros_like(gamma), torch.zeros_like(gamma), torch.zeros_like(dout)
    for row in range(len(dout)):
        dxhat = dout[row] * gamma
        dgamma = dout[row] * xhat[row]
        dbeta = dout[row]
        dx[row] = rstd[row] * (dxhat - dxhat.mean() - xhat[row] * (dxhat * xhat[row]).mean())
    return {"gamma": dgamma, "beta": dbeta, "x": dx}


@wrong(batch_norm_forward, BATCH_NORM, steps=("beta",), cause="wrong_operand", options=WHOLE, source="pytorch 2330")
def input_summed_for_beta(x, gamma, dout, std, xhat):
    m = len(dout)
    dgamma = (dout * xhat).sum(0)
    dx = gamma / std / m * (m * dout - dout.sum(0) - xhat * dgamma)
    return {"gamma": dgamma, "beta": x.sum(0), "x": dx}


@wrong(
    batch_norm_forward, BATCH_NORM, steps=("mu",), cause="path_twice", options=WHOLE, source="mxnet 1053: an extra term"
)
def extra_term_in_the_mean(x, gamma, dout, mu, xmu, std, xhat):
    """In the paper's formula the variance's part of the mean's gradient is zero; taken of x, it is not."""
    m = len(dout)
    dxhat = dout * gamma
    dvar = (dxhat * xmu).sum(0) * -0.5 * std**-3
    dmu = -(dxhat / std).sum(0) + dvar * (-2 * x).mean(0)
    dx = dxhat / std + dvar * 2 * xmu / m + dmu / m
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "var": dvar, "mu": dmu, "x": dx}


@wrong(
    rms_norm_forward, RMS_NORM, steps=("x",), cause="missing_factor", source="llm.c 763: the weight forgotten for days"
)
def weight_forgotten_in_the_reduction(x, gamma, dout, r, xhat):
    d = x.shape[1]
    o = (dout * x).sum(1, keepdim=True)
    dx = gamma * dout * r - o * r**3 * x / d
    return {"out": dout, "gamma": (dout * xhat).sum(0), "x": dx}


@wrong(prenorm_forward, PRENORM, steps=("stream",), cause="order_of_operations", source="quack 53")
def added_before_the_norm(gamma, dout, dres, stream):
    r = torch.rsqrt((stream**2).mean(1, keepdim=True) + 1e-6)
    dstream = rms_backward(dout + dres, stream, gamma)
    return {"gamma": (dout * stream * r).sum(0), "stream": dstream, "x": dstream, "residual": dstream}


@wrong(
    prenorm_forward, PRENORM, steps=("stream",), cause="overwritten", source="llm.c: = for += in the residual stream"
)
def stream_gradient_overwritten(gamma, dout, dres, stream):
    r = torch.rsqrt((stream**2).mean(1, keepdim=True) + 1e-6)
    dstream = dres.clone()
    dstream = rms_backward(dout, stream, gamma)
    return {"gamma": (dout * stream * r).sum(0), "stream": dstream, "x": dstream, "residual": dstream}


@wrong(rotary_forward, ROTARY, steps=("q",), cause="order_of_operations", source="Paddle 74716")
def rotated_before_the_sine(cos, sin, dout):
    return {"out": dout, "q": dout * cos - rotate_half(dout) * sin}


@wrong(rotary_forward, ROTARY, steps=("q",), cause="sign", source="candle 3612: the sine has to be negated")
def rotated_forward_again(cos, sin, dout):
    return {"out": dout, "q": dout * cos + rotate_half(dout) * sin}


@wrong(
    softmax_forward, SOFTMAX, steps=("x",), cause="wrong_factor", source="fromscratchtoml 65: off by a factor of two"
)
def softmax_twice_too_large(dout, p):
    s = (p * dout).sum(1, keepdim=True)
    return {"p": dout, "x": 2 * p * (dout - s)}


@wrong(softmax_forward, SOFTMAX, steps=("x",), cause="extra_derivative", source="cTensor 31: multiplied by dout again")
def product_multiplied_once_more(dout, p):
    s = (p * dout).sum(1, keepdim=True)
    return {"p": dout, "x": dout * (p * (dout - s))}


@wrong(tied_language_forward, TIED_LANGUAGE, steps=("E",), cause="missing_path", source="GPT-2 ports: wte from one end")
def classifier_share_only(tokens, targets, E, e, h, z):
    m, n = tokens.shape
    dz = (torch.softmax(z, 2) - F.one_hot(targets, len(E))) / (m * n)
    dh = dz @ E
    de = dh * (e > 0)
    return {"z": dz, "h": dh, "e": de, "E": torch.einsum("mtv,mtd->vd", dz, h), "P": de.sum(0)}


@wrong(
    tied_language_forward, TIED_LANGUAGE, steps=("E",), cause="overwritten", source="GPT-2 ports: wte zeroed between"
)
def embedding_share_replaces_the_classifier(tokens, targets, E, e, h, z):
    m, n = tokens.shape
    dz = (torch.softmax(z, 2) - F.one_hot(targets, len(E))) / (m * n)
    de = (dz @ E) * (e > 0)
    dE = torch.einsum("mtv,mtd->vd", dz, h)
    dE = torch.zeros_like(E).index_add_(0, tokens.flatten(), de.flatten(0, 1))
    return {"z": dz, "e": de, "E": dE, "P": de.sum(0)}


@wrong(tied_language_forward, TIED_LANGUAGE, steps=("P",), cause="some_samples", source="GPT-2 ports: wpe")
def positions_not_summed_over_the_batch(tokens, targets, E, e, h, z):
    m, n = tokens.shape
    dz = (torch.softmax(z, 2) - F.one_hot(targets, len(E))) / (m * n)
    de = (dz @ E) * (e > 0)
    return {"z": dz, "e": de, "P": de[0]}


@wrong(lstm_forward, LSTM, steps=("z",), cause="wrong_activation_derivative", source="RNN-LSTM-in-numpy 1")
def sigmoid_for_its_derivative(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), torch.sigmoid(f) * df, dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("c",), cause="derivative_at_wrong_place", source="rnn_lstm_from_scratch 1")
def slope_at_tanh_of_the_cell(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - torch.tanh(tc) ** 2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(step_forward, STEP, steps=("b",), cause="wrong_operand", source="RNN-from-scratch 2: dc += dc")
def bias_adds_itself(x, h0, Wx, Wh, b, dh, h):
    dz = dh * (1 - h**2)
    db = torch.zeros_like(b)
    for _ in range(len(x)):
        db += db
    return {"z": dz, "Wx": dz.T @ x, "Wh": dz.T @ h0, "b": db, "x": dz @ Wx, "h0": dz @ Wh}


@wrong(max_forward, MAX, steps=("x",), cause="some_samples", source="CNN-from-scratch 1: return inside the loop")
def returns_after_the_first_window(x, dout):
    dx = torch.zeros_like(x)

    def spread():
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                top = window == window.amax((2, 3), keepdim=True)
                dx[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += top * dout[:, :, i, j, None, None]
            return

    spread()
    return {"out": dout, "x": dx}


@wrong(conv_forward, CONV, steps=("x",), cause="wrong_index", source="neon 111: the wrong loop variable")
def channel_of_another_loop(x, W, dout):
    dx, dW = torch.zeros_like(x), torch.zeros_like(W)
    kh, kw = W.shape[2:]
    for f in range(len(W)):
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    window = x[:, c, i : i + dout.shape[2], j : j + dout.shape[3]]
                    dW[f, c, i, j] = (window * dout[:, f]).sum()
                    into = dx[:, f % x.shape[1], i : i + dout.shape[2], j : j + dout.shape[3]]
                    into += dout[:, f] * W[f, c, i, j]
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


@wrong(
    spatial_norm_forward, SPATIAL, steps=("x",), cause="wrong_axis", source="CS231n assignment 2, spatial batch norm"
)
def statistics_of_each_picture(gamma, dout, var, xhat):
    axes = (2, 3)
    dxhat = dout * gamma[:, None, None]
    dx = dxhat - dxhat.mean(axes, keepdim=True) - xhat * (dxhat * xhat).mean(axes, keepdim=True)
    dgamma, dbeta = (dout * xhat).sum((0, 2, 3)), dout.sum((0, 2, 3))
    return {"gamma": dgamma, "beta": dbeta, "xhat": dxhat, "x": dx / torch.sqrt(var + 1e-5)}


@wrong(
    spatial_norm_forward,
    SPATIAL,
    steps=("gamma", "beta"),
    cause="missing_transpose",
    source="CS231n: reshape, no transpose",
)
def reshaped_without_transpose(gamma, dout, var, xhat):
    c = len(gamma)
    flat, hats = dout.reshape(-1, c), xhat.reshape(-1, c)
    axes = (0, 2, 3)
    dxhat = dout * gamma[:, None, None]
    dx = dxhat - dxhat.mean(axes, keepdim=True) - xhat * (dxhat * xhat).mean(axes, keepdim=True)
    return {"gamma": (flat * hats).sum(0), "beta": flat.sum(0), "x": dx / torch.sqrt(var + 1e-5)}


@wrong(
    dropout_forward, DROPOUT, steps=("a2",), cause="wrong_mask", source="homework threads: the mask kept for dropping"
)
def mask_inverted(x, W3, mask, keep, y, z2, h2, z3):
    d3 = (z3 - y) / len(x)
    dh2 = d3 @ W3
    da2 = dh2 * (1 - mask) / keep
    d2 = da2 * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ h2, "h2": dh2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}
