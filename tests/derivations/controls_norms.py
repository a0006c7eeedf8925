"""Normalisation layers: fused, simplified, by matrices and statistic by statistic."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import constant, positive, real
from tests.derivations import control

EPS = 1e-5
NORM = {"x": real("m", "d"), "gamma": real("d"), "beta": real("d"), "c": real("m", "d")}


def layer_norm(x, gamma, beta, c):
    mean = x.mean(1, keepdim=True)
    var = ((x - mean) ** 2).mean(1, keepdim=True)
    xhat = (x - mean) / torch.sqrt(var + EPS)
    y = gamma * xhat + beta
    return (c * y).sum(), {"mean": mean, "var": var, "xhat": xhat, "y": y}


def fused_layer_norm(x, gamma, beta, c):
    y = F.layer_norm(x, x.shape[1:], gamma, beta, eps=EPS)
    return (c * torch.tanh(y)).sum(), {"y": y}


def batch_norm(x, gamma, beta, c):
    mean = x.mean(0)
    var = ((x - mean) ** 2).mean(0)
    xhat = (x - mean) * torch.rsqrt(var + EPS)
    y = gamma * xhat + beta
    return (c * y).sum(), {"mean": mean, "var": var, "xhat": xhat, "y": y}


@control(layer_norm, NORM)
def layer_norm_fused_formula(c, x, gamma, xhat, var):
    g = c * gamma
    dx = (g - g.mean(1, keepdim=True) - xhat * (g * xhat).mean(1, keepdim=True)) * torch.rsqrt(var + EPS)
    return {"x": dx, "gamma": (c * xhat).sum(0), "beta": c.sum(0), "xhat": g}


@control(layer_norm, NORM)
def layer_norm_times_d(c, gamma, xhat, var):
    d, g = c.shape[1], c * gamma
    inner = d * g - g.sum(1, keepdim=True) - xhat * (g * xhat).sum(1, keepdim=True)
    return {"x": inner / (d * torch.sqrt(var + EPS))}


@control(layer_norm, NORM)
def layer_norm_statistic_by_statistic(c, x, gamma, mean, var):
    d = x.shape[1]
    g, centred, std = c * gamma, x - mean, torch.sqrt(var + EPS)
    dvar = (g * centred).sum(1, keepdim=True) * -0.5 / std**3
    # The mean reaches J through the centred numerator; through the variance its part sums to zero.
    dmean = -(g / std).sum(1, keepdim=True) + dvar * -2 * centred.mean(1, keepdim=True)
    dx = g / std + dvar * 2 * centred / d + dmean / d
    return {"xhat": g, "var": dvar, "mean": dmean, "x": dx, "y": c}


@control(layer_norm, NORM)
def layer_norm_by_its_jacobian(c, x, gamma):
    rows = []
    d = x.shape[1]
    centre = torch.eye(d, dtype=x.dtype) - 1 / d
    for row, g in zip(x, c * gamma, strict=True):
        u = centre @ row
        std = torch.sqrt(u @ u / d + EPS)
        rows.append(centre @ (torch.eye(d, dtype=x.dtype) - torch.outer(u, u) / (d * std**2)) @ g / std)
    return {"x": torch.stack(rows)}


@control(fused_layer_norm, NORM)
def layer_norm_kernel(c, x, gamma, y):
    dy = c * (1 - torch.tanh(y) ** 2)
    centred = x - x.mean(-1, keepdim=True)
    rstd = torch.rsqrt(centred.square().mean(-1, keepdim=True) + EPS)
    xhat, g = centred * rstd, dy * gamma
    dx = rstd * (g - g.mean(-1, keepdim=True) - xhat * (g * xhat).mean(-1, keepdim=True))
    return {"y": dy, "x": dx, "gamma": torch.einsum("md,md->d", dy, xhat), "beta": dy.sum(0)}


@control(fused_layer_norm, NORM)
def layer_norm_by_torch_var(c, x, y, gamma):
    dy = c - c * torch.tanh(y).square()
    var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
    xhat = (x - mean) / (var + EPS) ** 0.5
    return {"gamma": (dy * xhat).sum(0), "beta": dy.sum(0), "y": dy}


@control(layer_norm, {**NORM, "x": real("m", "d", low=-2, high=2)})
def layer_norm_one_pass_variance(c, x, gamma):
    """E[x^2] - E[x]^2 where the mean is no larger than the spread."""
    mean = x.double().mean(1, keepdim=True)
    var = (x.double() ** 2).mean(1, keepdim=True) - mean**2
    xhat = (x - mean) / torch.sqrt(var.clamp(min=0) + EPS)
    return {"gamma": (c * xhat).sum(0), "beta": c.sum(0), "xhat": c * gamma}


@control(batch_norm, NORM)
def batch_norm_simplified(c, gamma, xhat, var):
    m = len(c)
    dgamma, dbeta = (c * xhat).sum(0), c.sum(0)
    dx = gamma / (m * torch.sqrt(var + EPS)) * (m * c - dbeta - xhat * dgamma)
    return {"gamma": dgamma, "beta": dbeta, "x": dx}


@control(batch_norm, NORM)
def batch_norm_along_the_graph(c, x, gamma, mean, var):
    m = x.shape[0]
    std = torch.sqrt(var + EPS)
    inverse, xmu = 1 / std, x - mean
    dxhat = c * gamma
    dinverse = (dxhat * xmu).sum(0)
    dvar = -(inverse**3) / 2 * dinverse
    dxmu = dxhat * inverse + 2 * xmu * dvar / m
    dmean = -(dxhat * inverse).sum(0) - 2 * dvar * xmu.mean(0)
    return {"xhat": dxhat, "var": dvar, "mean": dmean, "x": dxmu + dmean / m}


@control(batch_norm, NORM)
def batch_norm_in_numpy(c, x, gamma):
    x, c, gamma = x.numpy(), c.numpy(), gamma.numpy()
    std = np.sqrt(x.var(axis=0) + EPS)
    xhat = (x - x.mean(axis=0)) / std
    dxhat = c * gamma
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / std
    return {"x": dx, "gamma": np.sum(c * xhat, axis=0), "beta": np.sum(c, axis=0)}


@control(batch_norm, NORM)
def batch_norm_feature_by_feature(c, x, gamma):
    columns = []
    for j in range(x.shape[1]):
        u = x[:, j] - x[:, j].mean()
        s = (u @ u / len(u) + EPS).sqrt()
        g = (c[:, j] - c[:, j].mean()) * gamma[j]
        columns.append(g / s - u * (u @ g) / (len(u) * s**3))
    return {"x": torch.stack(columns, dim=1)}


def batch_norm_running(x, gamma, beta, c, running_mean, running_var):
    """Evaluation: the statistics are given numbers."""
    y = F.batch_norm(x, running_mean, running_var, gamma, beta, training=False, eps=EPS)
    return (c * y**2).sum(), {"y": y}


@control(batch_norm_running, {**NORM, "running_mean": real("d"), "running_var": positive("d")})
def batch_norm_running_statistics(c, y, x, gamma, running_mean, running_var):
    dy = 2 * c * y
    std = (running_var + EPS).sqrt()
    return {
        "y": dy,
        "x": dy * (gamma / std),
        "gamma": (dy * (x - running_mean) / std).sum(0),
        "beta": dy.sum(0),
    }


def batch_norm_momentum(x, c, moving, momentum):
    """Statistics mixed with those of before: only the batch's share carries a gradient."""
    mean = (1 - momentum) * moving + momentum * x.mean(0)
    z = x - mean
    return (c * z * z).sum(), {"mean": mean, "z": z}


@control(
    batch_norm_momentum,
    {"x": real("m", "d"), "c": real("m", "d"), "moving": real("d"), "momentum": constant(0.1)},
)
def moving_mean(x, c, z, momentum):
    dz = 2 * c * z
    dmean = -dz.sum(0)
    return {"z": dz, "mean": dmean, "x": dz + momentum * dmean / len(x), "moving": (1 - momentum) * dmean}


def rms_norm(x, g, c):
    rms = torch.sqrt((x * x).mean(-1, keepdim=True) + EPS)
    n = x / rms
    return (c * (n * g)).sum(), {"rms": rms, "n": n}


RMS = {"x": real("m", "t", "d"), "g": real("d"), "c": real("m", "t", "d")}


@control(rms_norm, RMS)
def rms_norm_fused(x, g, c, rms, n):
    dn = c * g
    return {
        "n": dn,
        "g": (c * n).sum((0, 1)),
        "x": (dn - n * (dn * n).mean(-1, keepdim=True)) / rms,
        "rms": -(dn * n).sum(-1, keepdim=True) / rms,
    }


@control(rms_norm, RMS)
def rms_norm_by_inverse(x, g, c):
    r = torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)
    dx = r * c * g - r**3 * x * torch.einsum("mtd,mtd,d->mt", x, c, g)[..., None] / x.shape[-1]
    return {"x": dx, "g": torch.tensordot(c * r, x, dims=([0, 1], [0, 1])).diagonal()}


def group_norm(x, c):
    y = F.group_norm(x, 2, eps=EPS)
    return (c * y).sum(), {"y": y}


@control(group_norm, {"x": real("m", "2*h", "t+1"), "c": real("m", "2*h", "t+1")})
def group_norm_by_reshaping(x, c):
    u, g = x.reshape(len(x), 2, -1), c.reshape(len(x), 2, -1)
    var, mean = torch.var_mean(u, -1, correction=0, keepdim=True)
    n = (u - mean) / (var + EPS).sqrt()
    du = (g - g.mean(-1, keepdim=True) - n * (n * g).mean(-1, keepdim=True)) / (var + EPS).sqrt()
    return {"x": du.view_as(x)}


def instance_norm(x, c):
    mean = x.mean((2, 3), keepdim=True)
    var = x.var((2, 3), correction=0, keepdim=True)
    y = (x - mean) / torch.sqrt(var + EPS)
    return (c * torch.sin(y)).sum(), {"y": y}


@control(instance_norm, {"x": real("m", "k", "p", "q"), "c": real("m", "k", "p", "q")})
def instance_norm_loops(x, c, y):
    dy = c * torch.cos(y)
    dx = torch.empty_like(x)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            std = torch.sqrt(x[i, k].var(correction=0) + EPS)
            dx[i, k] = (dy[i, k] - dy[i, k].mean() - y[i, k] * (dy[i, k] * y[i, k]).mean()) / std
    return {"y": dy, "x": dx}


def weight_norm(x, v, g, c):
    norm = torch.sqrt((v * v).sum(1, keepdim=True) + 1e-12)
    W = g[:, None] * v / norm
    z = x @ W.T
    return (c * z).sum(), {"W": W, "z": z}


@control(weight_norm, {"x": real("m", "d"), "v": positive("k", "d"), "g": real("k"), "c": real("m", "k")})
def weight_norm_by_projection(x, v, g, c, W):
    dW = c.T @ x
    norm = torch.sqrt(v.square().sum(1, keepdim=True) + 1e-12)
    u = v / norm
    dg = (dW * u).sum(1)
    return {"W": dW, "z": c, "g": dg, "v": g[:, None] / norm * (dW - u * dg[:, None])}


def unit_length(x, c):
    u = F.normalize(x, dim=1, eps=1e-12)
    return (c * u).sum(), {"u": u}


@control(unit_length, {"x": positive("m", "d"), "c": real("m", "d")})
def unit_length_rejection(x, c, u):
    return {"u": c, "x": (c - u * (u * c).sum(1, keepdim=True)) / torch.linalg.vector_norm(x, dim=1)[:, None]}


def standardised(x, c):
    """The unbiased standard deviation of all entries, as in whitening of advantages."""
    s = torch.sqrt(((x - x.mean()) ** 2).sum() / max(len(x) - 1, 1) + 1e-3)
    return (c * (x - x.mean()) / s).sum(), {"s": s}


@control(standardised, {"x": real("m"), "c": real("m")})
def standardised_scalar_statistics(x, c, s):
    u = x - x.mean()
    ds = -(c @ u) / s**2
    return {"s": ds, "x": (c - c.mean()) / s + ds * u / (max(len(x) - 1, 1) * s)}
