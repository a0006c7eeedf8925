"""Blocks of larger networks, right: residual and tied weights, softmax, norms, attention, embedding, dropout."""

from __future__ import annotations

import numpy as np
import torch

from compare.check.inputs import binary, constant, positive, real
from tests.derivations import correct
from tests.derivations.mlp import half_square


def residual_forward(x, W2, b2, W3, b3, y):
    z2 = x @ W2.T + b2
    a2 = torch.tanh(z2)
    h = x + a2
    z3 = h @ W3.T + b3
    return half_square(z3, y), {"z2": z2, "a2": a2, "h": h, "z3": z3}


RESIDUAL = {
    "x": real("m", "d"),
    "W2": real("d", "d"),
    "b2": real("d"),
    "W3": real("k", "d"),
    "b3": real("k"),
    "y": real("m", "k"),
}


@correct(residual_forward, RESIDUAL)
def residual(x, W2, W3, y, a2, h, z3):
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    dz2 = dh * (1 - a2**2)
    dx = dh + dz2 @ W2
    return {
        "z3": dz3,
        "W3": dz3.T @ h,
        "b3": dz3.sum(0),
        "h": dh,
        "a2": dh,
        "z2": dz2,
        "W2": dz2.T @ x,
        "b2": dz2.sum(0),
        "x": dx,
    }


def tied_forward(x, W2, b2, b3):
    """An autoencoder whose decoder is the encoder transposed."""
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W2 + b3
    return half_square(z3, x), {"z2": z2, "a2": a2, "z3": z3}


TIED = {"x": real("m", "d"), "W2": real("h", "d"), "b2": real("h"), "b3": real("d")}


@correct(tied_forward, TIED)
def tied_weights(x, W2, a2, z3):
    m = len(x)
    dz3 = (z3 - x) / m
    da2 = dz3 @ W2.T
    dz2 = da2 * a2 * (1 - a2)
    dW2 = dz2.T @ x + a2.T @ dz3
    dx = dz2 @ W2 - dz3
    return {"z3": dz3, "b3": dz3.sum(0), "a2": da2, "z2": dz2, "W2": dW2, "b2": dz2.sum(0), "x": dx}


def softmax_forward(x, dout):
    p = torch.softmax(x, dim=1)
    return (p * dout).sum(), {"p": p}


SOFTMAX = {"x": real("m", "k"), "dout": real("m", "k")}


@correct(softmax_forward, SOFTMAX)
def softmax_alone(dout, p):
    return {"p": dout, "x": p * (dout - (p * dout).sum(1, keepdim=True))}


@correct(softmax_forward, SOFTMAX)
def softmax_by_its_jacobian(x, dout, p):
    dx = torch.empty_like(x)
    for i in range(len(x)):
        jacobian = torch.diag(p[i]) - torch.outer(p[i], p[i])
        dx[i] = jacobian @ dout[i]
    return {"p": dout, "x": dx}


def layer_norm_forward(x, gamma, beta, dout):
    mu = x.mean(-1, keepdim=True)
    xc = x - mu
    var = (xc**2).mean(-1, keepdim=True)
    rstd = 1 / torch.sqrt(var + 1e-5)
    xhat = xc * rstd
    out = gamma * xhat + beta
    return (out * dout).sum(), {"mu": mu, "xc": xc, "var": var, "rstd": rstd, "xhat": xhat, "out": out}


LAYER_NORM = {"x": real("m", "d"), "gamma": real("d"), "beta": real("d"), "dout": real("m", "d")}


@correct(layer_norm_forward, LAYER_NORM)
def layer_norm(gamma, dout, rstd, xhat):
    dgamma = (dout * xhat).sum(0)
    dbeta = dout.sum(0)
    dxhat = dout * gamma
    mean_dxhat = dxhat.mean(-1, keepdim=True)
    mean_dxhat_xhat = (dxhat * xhat).mean(-1, keepdim=True)
    dx = rstd * (dxhat - mean_dxhat - xhat * mean_dxhat_xhat)
    return {"out": dout, "gamma": dgamma, "beta": dbeta, "xhat": dxhat, "x": dx}


@correct(layer_norm_forward, LAYER_NORM)
def layer_norm_step_by_step(gamma, dout, xc, var, rstd, xhat):
    d = xc.shape[1]
    dxhat = dout * gamma
    drstd = (dxhat * xc).sum(1, keepdim=True)
    dvar = drstd * -0.5 * (var + 1e-5) ** -1.5
    dxc = dxhat * rstd + dvar * 2 * xc / d
    dmu = -dxc.sum(1, keepdim=True)
    dx = dxc + dmu / d
    return {
        "out": dout,
        "gamma": (dout * xhat).sum(0),
        "beta": dout.sum(0),
        "xhat": dxhat,
        "rstd": drstd,
        "var": dvar,
        "xc": dxc,
        "mu": dmu,
        "x": dx,
    }


def batch_norm_forward(x, gamma, beta, dout):
    mu = x.mean(0)
    xmu = x - mu
    var = (xmu**2).mean(0)
    std = torch.sqrt(var + 1e-5)
    xhat = xmu / std
    out = gamma * xhat + beta
    return (out * dout).sum(), {"mu": mu, "xmu": xmu, "var": var, "std": std, "xhat": xhat, "out": out}


BATCH_NORM = {"x": real("m", "d"), "gamma": real("d"), "beta": real("d"), "dout": real("m", "d")}


@correct(batch_norm_forward, BATCH_NORM)
def batch_norm(gamma, dout, std, xhat):
    m = len(dout)
    dgamma = (dout * xhat).sum(0)
    dbeta = dout.sum(0)
    dx = gamma / std / m * (m * dout - dbeta - xhat * dgamma)
    return {"out": dout, "gamma": dgamma, "beta": dbeta, "x": dx}


@correct(batch_norm_forward, BATCH_NORM)
def batch_norm_step_by_step(gamma, dout, xmu, std, xhat):
    """The computational graph, node by node, in NumPy."""
    gamma, dout, xmu, std, xhat = (t.numpy() for t in (gamma, dout, xmu, std, xhat))
    m = dout.shape[0]
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dxhat = dout * gamma
    dstd = np.sum(dxhat * xmu, axis=0) * -1.0 / std**2
    dvar = 0.5 / std * dstd
    dxmu = dxhat / std + 2.0 / m * xmu * dvar
    dmu = -np.sum(dxmu, axis=0)
    dx = dxmu + dmu / m
    return {
        "out": dout,
        "gamma": dgamma,
        "beta": dbeta,
        "xhat": dxhat,
        "std": dstd,
        "var": dvar,
        "xmu": dxmu,
        "mu": dmu,
        "x": dx,
    }


def rms_norm_forward(x, gamma, dout):
    r = torch.rsqrt((x**2).mean(1, keepdim=True) + 1e-6)
    xhat = x * r
    out = gamma * xhat
    return (out * dout).sum(), {"r": r, "xhat": xhat, "out": out}


RMS_NORM = {"x": real("m", "d"), "gamma": real("d"), "dout": real("m", "d")}


@correct(rms_norm_forward, RMS_NORM)
def rms_norm(x, gamma, dout, r, xhat):
    dgamma = (dout * xhat).sum(0)
    dxhat = dout * gamma
    dr = (dxhat * x).sum(1, keepdim=True)
    dx = dxhat * r - dr * r**3 * x / x.shape[1]
    return {"out": dout, "gamma": dgamma, "xhat": dxhat, "r": dr, "x": dx}


def dropout_forward(x, W2, b2, W3, b3, mask, keep, y):
    """Inverted dropout with a mask that is given."""
    z2 = x @ W2.T + b2
    a2 = torch.relu(z2)
    h2 = a2 * mask / keep
    z3 = h2 @ W3.T + b3
    return half_square(z3, y), {"z2": z2, "a2": a2, "h2": h2, "z3": z3}


DROPOUT = {
    "x": real("m", "d"),
    "W2": real("h", "d"),
    "b2": real("h"),
    "W3": real("k", "h"),
    "b3": real("k"),
    "mask": binary("m", "h"),
    "keep": constant(0.8),
    "y": real("m", "k"),
}


@correct(dropout_forward, DROPOUT)
def dropout(x, W2, W3, mask, keep, y, z2, h2, z3):
    d3 = (z3 - y) / len(x)
    dh2 = d3 @ W3
    da2 = dh2 * mask / keep
    d2 = da2 * (z2 > 0)
    return {
        "z3": d3,
        "W3": d3.T @ h2,
        "b3": d3.sum(0),
        "h2": dh2,
        "a2": da2,
        "z2": d2,
        "W2": d2.T @ x,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


def scale_shift_forward(x, scale, shift, y):
    """A division and a logarithm: the Poisson cost of a scaled rate."""
    u = x / scale
    r = u + shift
    J = (r - y * torch.log(r)).sum() / len(x)
    return J, {"u": u, "r": r}


SCALE_SHIFT = {
    "x": positive("m", "d"),
    "scale": positive("d", low=0.5, high=2.0),
    "shift": positive("d", low=0.5, high=2.0),
    "y": positive("m", "d"),
}


@correct(scale_shift_forward, SCALE_SHIFT)
def division_and_logarithm(x, scale, y, u, r):
    dr = (1 - y / r) / len(x)
    du = dr
    return {"r": dr, "u": du, "shift": dr.sum(0), "scale": -(du * u).sum(0) / scale, "x": du / scale}
