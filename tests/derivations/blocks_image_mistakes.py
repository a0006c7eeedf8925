"""Convolution and pooling gone wrong. The causes are listed in mlp_mistakes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import binary, real
from tests.derivations import wrong
from tests.derivations.blocks_image import (
    AVERAGE,
    CONV,
    CONV_NET,
    MAX,
    PADDED,
    STRIDED,
    average_forward,
    conv_forward,
    conv_net_forward,
    max_forward,
    padded_forward,
    strided_forward,
)


@wrong(conv_forward, CONV, steps=("x",), cause="wrong_index", source="Coursera: does dA_prev need rot180?")
def kernel_not_turned(x, W, dout):
    kh, kw = W.shape[2:]
    dW = F.conv2d(x.transpose(0, 1), dout.transpose(0, 1)).transpose(0, 1)
    dx = F.conv2d(F.pad(dout, (kw - 1, kw - 1, kh - 1, kh - 1)), W.transpose(0, 1))
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


@wrong(conv_forward, CONV, steps=("x",), cause="wrong_index")
def kernel_turned_along_one_axis(x, W, dout):
    kh, kw = W.shape[2:]
    dW = F.conv2d(x.transpose(0, 1), dout.transpose(0, 1)).transpose(0, 1)
    dx = F.conv2d(F.pad(dout, (kw - 1, kw - 1, kh - 1, kh - 1)), W.flip(2).transpose(0, 1))
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


@wrong(
    conv_forward,
    CONV,
    steps=("W",),
    cause="wrong_index",
    source="an online course: correlation arguments in the wrong order",
)
def weight_gradient_turned(x, W, dout):
    dW = F.conv2d(x.transpose(0, 1), dout.flip(2, 3).transpose(0, 1)).transpose(0, 1)
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": F.conv_transpose2d(dout, W)}


@wrong(conv_forward, CONV, steps=("b",), cause="mean_twice")
def bias_over_positions_only(x, W, dout):
    dx, dW = F.conv_transpose2d(dout, W), torch.zeros_like(W)
    for i in range(W.shape[2]):
        for j in range(W.shape[3]):
            window = x[:, :, i : i + dout.shape[2], j : j + dout.shape[3]]
            dW[:, :, i, j] = torch.einsum("nfhw,nchw->fc", dout, window)
    return {"out": dout, "W": dW, "b": dout.mean(0).sum((1, 2)), "x": dx}


@wrong(conv_forward, CONV, steps=("x",), cause="overwritten")
def overlaps_overwritten(x, W, dout):
    dx, dW = torch.zeros_like(x), torch.zeros_like(W)
    kh, kw = W.shape[2:]
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            window = x[:, :, i : i + kh, j : j + kw]
            dW += torch.einsum("nf,nchw->fchw", dout[:, :, i, j], window)
            dx[:, :, i : i + kh, j : j + kw] = torch.einsum("nf,fchw->nchw", dout[:, :, i, j], W)
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


@wrong(conv_forward, CONV, steps=("W",), cause="some_samples")
def last_image_only(x, W, dout):
    dx = torch.zeros_like(x)
    kh, kw = W.shape[2:]
    for n in range(len(x)):
        dW = torch.zeros_like(W)
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                window = x[n, :, i : i + kh, j : j + kw]
                dW += dout[n, :, i, j, None, None, None] * window
                dx[n, :, i : i + kh, j : j + kw] += (dout[n, :, i, j, None, None, None] * W).sum(0)
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


@wrong(strided_forward, STRIDED, steps=("W", "x"), cause="wrong_index")
def stride_forgotten(x, W, dout):
    pad = 1
    xp = F.pad(x, (pad, pad, pad, pad))
    dxp, dW = torch.zeros_like(xp), torch.zeros_like(W)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dW += torch.einsum("nf,nchw->fchw", dout[:, :, i, j], xp[:, :, i : i + 3, j : j + 3])
            dxp[:, :, i : i + 3, j : j + 3] += torch.einsum("nf,fchw->nchw", dout[:, :, i, j], W)
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dxp[:, :, pad:-pad, pad:-pad]}


@wrong(strided_forward, STRIDED, steps=("x",), cause="wrong_index")
def padding_cut_on_one_side(x, W, dout):
    x, W, dout = x.numpy(), W.numpy(), dout.numpy()
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    dxp, dW = np.zeros_like(xp), np.zeros_like(W)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(2 * i, 2 * i + 3), slice(2 * j, 2 * j + 3)
            dW += np.einsum("nf,nchw->fchw", dout[:, :, i, j], xp[:, :, rows, columns])
            dxp[:, :, rows, columns] += np.einsum("nf,fchw->nchw", dout[:, :, i, j], W)
    return {"out": dout, "W": dW, "b": dout.sum(axis=(0, 2, 3)), "x": dxp[:, :, :-2, :-2]}


@wrong(padded_forward, PADDED, steps=("W",), cause="missing_transpose")
def columns_of_another_order(x, W, dout, cols):
    """The reshape puts kernel positions before channels; the forward has channels first."""
    n, _, p = cols.shape
    c = x.shape[1]
    mixed = cols.view(n, c, 9, p).transpose(1, 2).reshape(n, 9 * c, p)
    dW = torch.einsum("nfp,ncp->fc", dout, mixed)
    dcols = W.T @ dout
    dx = F.fold(dcols, x.shape[2:], (3, 3), padding=1, stride=2)
    return {"z": dout, "W": dW, "b": dout.sum((0, 2)), "cols": dcols, "x": dx}


@wrong(padded_forward, PADDED, steps=("W", "b"), cause="mean_twice")
def averaged_over_images(x, W, dout, cols):
    dW = (dout @ cols.transpose(1, 2)).mean(0)
    dcols = W.T @ dout
    dx = F.fold(dcols, x.shape[2:], (3, 3), padding=1, stride=2)
    return {"z": dout, "W": dW, "b": dout.sum(2).mean(0), "cols": dcols, "x": dx}


@wrong(average_forward, AVERAGE, steps=("x",), cause="missing_mean")
def average_not_divided(dout):
    return {"out": dout, "x": dout.repeat_interleave(2, 2).repeat_interleave(3, 3)}


@wrong(average_forward, AVERAGE, steps=("x",), cause="wrong_axis")
def tiled_for_repeated(dout):
    """repeat() tiles the whole map; each entry has to be repeated in place."""
    return {"out": dout, "x": dout.repeat(1, 1, 2, 3) / 6}


@wrong(max_forward, MAX, steps=("x",), cause="overwritten", source="Flux 1197, CS231n assignment 2")
def overlapping_windows_overwritten(x, dout):
    dx = torch.zeros_like(x)
    N, C, height, width = dout.shape
    for n in range(N):
        for c in range(C):
            for i in range(height):
                for j in range(width):
                    window = x[n, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                    r, s = divmod(int(window.argmax()), 3)
                    dx[n, c, 2 * i + r, 2 * j + s] = dout[n, c, i, j]
    return {"out": dout, "x": dx}


@wrong(max_forward, MAX, steps=("x",), cause="wrong_mask")
def whole_window_gets_the_gradient(x, dout):
    dx = torch.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dx[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += dout[:, :, i, j, None, None]
    return {"out": dout, "x": dx}


@wrong(max_forward, MAX, steps=("x",), cause="wrong_index")
def row_and_column_of_the_maximum_exchanged(x, dout):
    dx = torch.zeros_like(x)
    N, C, height, width = dout.shape
    for n in range(N):
        for c in range(C):
            for i in range(height):
                for j in range(width):
                    window = x[n, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                    s, r = divmod(int(window.argmax()), 3)
                    dx[n, c, 2 * i + r, 2 * j + s] += dout[n, c, i, j]
    return {"out": dout, "x": dx}


def pooled_forward(x, dout):
    """2 x 2 maxima of a picture of zeros and ones: nearly every window ties."""
    out = F.max_pool2d(x, 2)
    return (out * dout).sum(), {"out": out}


TIES = {"x": binary("n", "c", 4, 6), "dout": real("n", "c", 2, 3)}


@wrong(pooled_forward, TIES, steps=("x",), cause="wrong_mask", options={"ties": True})
def every_tie_gets_the_gradient(x, out, dout):
    up = out.repeat_interleave(2, 2).repeat_interleave(2, 3)
    dup = dout.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return {"out": dout, "x": dup * (x == up)}


@wrong(
    conv_net_forward, CONV_NET, steps=("z",), cause="missing_activation_derivative", options={"rare": "closed units"}
)
def relu_before_pooling_forgotten(x, W1, W2, dout, a, p, flat):
    dflat = dout @ W2
    dp = dflat.view_as(p)
    top = a.reshape(*a.shape[:2], 2, 2, 2, 2) == p[:, :, :, None, :, None]
    share = top / top.sum((3, 5), keepdim=True)
    da = (dp[:, :, :, None, :, None] * share).reshape(a.shape)
    dz = da
    dx = F.conv_transpose2d(dz, W1)
    return {"W2": dout.T @ flat, "b2": dout.sum(0), "flat": dflat, "p": dp, "a": da, "z": dz, "x": dx}


@wrong(conv_net_forward, CONV_NET, steps=("p",), cause="missing_transpose")
def unflattened_in_another_order(x, W1, W2, dout, z, a, p, flat):
    dflat = dout @ W2
    n, f = p.shape[:2]
    dp = dflat.view(n, 2, 2, f).permute(0, 3, 1, 2)
    top = a.reshape(n, f, 2, 2, 2, 2) == p[:, :, :, None, :, None]
    share = top / top.sum((3, 5), keepdim=True)
    da = (dp[:, :, :, None, :, None] * share).reshape(a.shape)
    dz = da * (z > 0)
    dx = F.conv_transpose2d(dz, W1)
    return {"W2": dout.T @ flat, "b2": dout.sum(0), "flat": dflat, "p": dp, "a": da, "z": dz, "x": dx}
