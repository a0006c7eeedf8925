"""Convolution and pooling, right: by loops, by unfolding, by library convolutions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import real
from tests.derivations import correct


def conv_forward(x, W, b, dout):
    """Stride 1, no padding."""
    out = F.conv2d(x, W, b)
    return (out * dout).sum(), {"out": out}


CONV = {"x": real("n", "c", 6, 5), "W": real("f", "c", 3, 2), "b": real("f"), "dout": real("n", "f", 4, 4)}


@correct(conv_forward, CONV)
def convolution_in_loops(x, W, dout):
    dx, dW = torch.zeros_like(x), torch.zeros_like(W)
    _, _, height, width = dout.shape
    _, _, kh, kw = W.shape
    for n in range(len(x)):
        for f in range(len(W)):
            for i in range(height):
                for j in range(width):
                    dW[f] += dout[n, f, i, j] * x[n, :, i : i + kh, j : j + kw]
                    dx[n, :, i : i + kh, j : j + kw] += dout[n, f, i, j] * W[f]
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


@correct(conv_forward, CONV)
def convolution_by_convolutions(x, W, dout):
    """dW correlates x with the delta; dx is a full convolution with the kernel turned by 180 degrees."""
    kh, kw = W.shape[2:]
    dW = F.conv2d(x.transpose(0, 1), dout.transpose(0, 1)).transpose(0, 1)
    turned = W.flip(2, 3).transpose(0, 1)
    dx = F.conv2d(F.pad(dout, (kw - 1, kw - 1, kh - 1, kh - 1)), turned)
    return {"out": dout, "W": dW, "b": dout.sum((0, 2, 3)), "x": dx}


def padded_forward(x, W, b, dout):
    """Stride 2 and padding 1, through unfold: cols is (n, c kh kw, positions)."""
    cols = F.unfold(x, (3, 3), padding=1, stride=2)
    z = W @ cols + b[:, None]
    return (z * dout).sum(), {"cols": cols, "z": z}


PADDED = {"x": real("n", "c", 7, 5), "W": real("f", "9*c"), "b": real("f"), "dout": real("n", "f", 12)}


@correct(padded_forward, PADDED)
def convolution_by_unfolding(x, W, dout, cols):
    dW = torch.einsum("nfp,ncp->fc", dout, cols)
    dcols = W.T @ dout
    dx = F.fold(dcols, x.shape[2:], (3, 3), padding=1, stride=2)
    return {"z": dout, "W": dW, "b": dout.sum((0, 2)), "cols": dcols, "x": dx}


def strided_forward(x, W, b, dout):
    out = F.conv2d(x, W, b, stride=2, padding=1)
    return (out * dout).sum(), {"out": out}


STRIDED = {"x": real("n", "c", 7, 5), "W": real("f", "c", 3, 3), "b": real("f"), "dout": real("n", "f", 4, 3)}


@correct(strided_forward, STRIDED)
def strided_convolution_in_numpy(x, W, dout):
    x, W, dout = x.numpy(), W.numpy(), dout.numpy()
    stride, pad = 2, 1
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp, dW = np.zeros_like(xp), np.zeros_like(W)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(i * stride, i * stride + 3), slice(j * stride, j * stride + 3)
            dW += np.einsum("nf,nchw->fchw", dout[:, :, i, j], xp[:, :, rows, columns])
            dxp[:, :, rows, columns] += np.einsum("nf,fchw->nchw", dout[:, :, i, j], W)
    return {"out": dout, "W": dW, "b": dout.sum(axis=(0, 2, 3)), "x": dxp[:, :, pad:-pad, pad:-pad]}


def average_forward(x, dout):
    out = F.avg_pool2d(x, (2, 3))
    return (out * dout).sum(), {"out": out}


AVERAGE = {"x": real("n", "c", 4, 6), "dout": real("n", "c", 2, 2)}


@correct(average_forward, AVERAGE)
def average_pooling(dout):
    dx = dout.repeat_interleave(2, 2).repeat_interleave(3, 3) / 6
    return {"out": dout, "x": dx}


def max_forward(x, dout):
    """Windows of 3 x 3 with stride 2: they overlap."""
    out = F.max_pool2d(x, 3, stride=2)
    return (out * dout).sum(), {"out": out}


MAX = {"x": real("n", "c", 7, 5), "dout": real("n", "c", 3, 2)}


@correct(max_forward, MAX)
def max_pooling_in_loops(x, dout):
    dx = torch.zeros_like(x)
    N, C, height, width = dout.shape
    for n in range(N):
        for c in range(C):
            for i in range(height):
                for j in range(width):
                    window = x[n, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                    r, s = divmod(int(window.argmax()), 3)
                    dx[n, c, 2 * i + r, 2 * j + s] += dout[n, c, i, j]
    return {"out": dout, "x": dx}


def conv_net_forward(x, W1, b1, W2, b2, dout):
    """Convolution, ReLU, 2 x 2 max pooling, a linear layer."""
    z = F.conv2d(x, W1, b1)
    a = F.relu(z)
    p = a.reshape(*a.shape[:2], 2, 2, 2, 2).amax((3, 5))
    flat = p.flatten(1)
    out = flat @ W2.T + b2
    return (out * dout).sum(), {"z": z, "a": a, "p": p, "flat": flat, "out": out}


CONV_NET = {
    "x": real("n", "c", 6, 5),
    "W1": real("f", "c", 3, 2),
    "b1": real("f", low=5.0, high=9.0),  # keeps the ReLU open, so that no window ties at zero
    "W2": real("k", "4*f"),
    "b2": real("k"),
    "dout": real("n", "k"),
}


@correct(conv_net_forward, CONV_NET)
def small_conv_net(x, W1, W2, dout, z, a, p, flat):
    dflat = dout @ W2
    dp = dflat.view_as(p)
    blocks = a.reshape(*a.shape[:2], 2, 2, 2, 2)
    top = blocks == p[:, :, :, None, :, None]
    share = top / top.sum((3, 5), keepdim=True)
    da = (dp[:, :, :, None, :, None] * share).reshape(a.shape)
    dz = da * (z > 0)
    dW1 = F.conv2d(x.transpose(0, 1), dz.transpose(0, 1)).transpose(0, 1)
    dx = F.conv_transpose2d(dz, W1)
    return {
        "out": dout,
        "W2": dout.T @ flat,
        "b2": dout.sum(0),
        "flat": dflat,
        "p": dp,
        "a": da,
        "z": dz,
        "W1": dW1,
        "b1": dz.sum((0, 2, 3)),
        "x": dx,
    }


def spatial_norm_forward(x, gamma, beta, dout):
    """Batch norm of pictures: statistics for each channel."""
    mu = x.mean((0, 2, 3), keepdim=True)
    var = ((x - mu) ** 2).mean((0, 2, 3), keepdim=True)
    xhat = (x - mu) / torch.sqrt(var + 1e-5)
    out = gamma[:, None, None] * xhat + beta[:, None, None]
    return (out * dout).sum(), {"var": var, "xhat": xhat, "out": out}


SPATIAL = {"x": real("n", "c", 3, 4), "gamma": real("c"), "beta": real("c"), "dout": real("n", "c", 3, 4)}


@correct(spatial_norm_forward, SPATIAL)
def spatial_batch_norm(gamma, dout, var, xhat):
    axes = (0, 2, 3)
    dxhat = dout * gamma[:, None, None]
    centred = dxhat - dxhat.mean(axes, keepdim=True) - xhat * (dxhat * xhat).mean(axes, keepdim=True)
    return {
        "out": dout,
        "gamma": (dout * xhat).sum(axes),
        "beta": dout.sum(axes),
        "xhat": dxhat,
        "x": centred / torch.sqrt(var + 1e-5),
    }
