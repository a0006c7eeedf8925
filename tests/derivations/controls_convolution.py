"""Convolutions and pooling: by loops, unfolding, transposed convolutions, matrices and Fourier transforms."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import real
from tests.derivations import control

ONE = {
    "x": real("m", "i", "t+2"),
    "W": real("o", "i", 3),
    "b": real("o"),
    "c": real("m", "o", "t"),
}
TWO = {
    "x": real("m", "i", "p+1", "q+2"),
    "W": real("o", "i", 2, 3),
    "b": real("o"),
    "c": real("m", "o", "p", "q"),
}


def conv1d(x, W, b, c):
    z = F.conv1d(x, W, b)
    return (c * z).sum(), {"z": z}


def conv2d(x, W, b, c):
    z = F.conv2d(x, W, b)
    return (c * torch.tanh(z)).sum(), {"z": z}


@control(conv1d, ONE)
def taps_shifted(x, W, c):
    t = c.shape[2]
    dW, dx = torch.empty_like(W), torch.zeros_like(x)
    for k in range(3):
        dW[:, :, k] = torch.einsum("mot,mit->oi", c, x[:, :, k : k + t])
        dx[:, :, k : k + t] += torch.einsum("mot,oi->mit", c, W[:, :, k])
    return {"W": dW, "x": dx, "b": c.sum((0, 2)), "z": c}


@control(conv1d, ONE)
def full_correlation_with_the_flipped_kernel(x, W, c):
    dx = F.conv1d(F.pad(c, (2, 2)), W.flip(2).transpose(0, 1))
    dW = F.conv1d(x.transpose(0, 1), c.transpose(0, 1)).transpose(0, 1)
    return {"x": dx, "W": dW}


@control(conv1d, ONE)
def convolution_by_fourier(x, W, c):
    n = x.shape[2]
    fx, fc, fW = (torch.fft.rfft(u, n=n) for u in (x, c, W))
    dx = torch.fft.irfft(torch.einsum("mof,oif->mif", fc, fW), n=n)
    dW = torch.fft.irfft(torch.einsum("mof,mif->oif", fc.conj(), fx), n=n)[..., :3]
    return {"x": dx, "W": dW}


@control(conv1d, ONE)
def convolution_as_a_toeplitz_matrix(x, W, c):
    m, i, n = x.shape
    o, t = c.shape[1], c.shape[2]
    T = torch.zeros(o, t, i, n, dtype=x.dtype)
    for s in range(t):
        T[:, s, :, s : s + 3] = W
    dT = (c.reshape(m, -1).T @ x.reshape(m, -1)).reshape(o, t, i, n)
    dW = torch.stack([torch.stack([dT[:, s, :, s + k] for s in range(t)]).sum(0) for k in range(3)], -1)
    return {"x": (c.reshape(m, -1) @ T.reshape(o * t, -1)).reshape(x.shape), "W": dW}


@control(conv1d, ONE)
def polynomial_products_in_numpy(x, W, c):
    dx, dW = np.zeros(x.shape), np.zeros(W.shape)
    x, W, c = x.numpy(), W.numpy(), c.numpy()
    for m, o, i in np.ndindex(len(x), *W.shape[:2]):
        dx[m, i] += np.convolve(c[m, o], W[o, i], mode="full")
        dW[o, i] += np.correlate(x[m, i], c[m, o], mode="valid")
    return {"x": dx, "W": dW, "b": c.sum(axis=(0, 2))}


@control(conv2d, TWO)
def unfolded_columns(x, W, c, z):
    m = len(x)
    dz = (c / torch.cosh(z).square()).flatten(2)
    columns = F.unfold(x, (2, 3))
    dW = torch.einsum("mol,mkl->ok", dz, columns).view_as(W)
    dx = F.fold(W.flatten(1).T @ dz, x.shape[2:], (2, 3))
    assert dx.shape[0] == m
    return {"z": dz.reshape(z.shape), "W": dW, "x": dx, "b": dz.sum((0, 2))}


@control(conv2d, TWO)
def strided_windows(x, W, c, z):
    dz = c * (1 - torch.tanh(z) ** 2)
    windows = x.unfold(2, 2, 1).unfold(3, 3, 1)
    dW = torch.einsum("mopq,mipqkl->oikl", dz, windows)
    return {"z": dz, "W": dW, "b": torch.einsum("mopq->o", dz)}


@control(conv2d, TWO)
def six_nested_loops(x, W, c, z):
    dz = (c * (1 - torch.tanh(z).square())).numpy()
    dx, dW, X, V = np.zeros(x.shape), np.zeros(W.shape), x.numpy(), W.numpy()
    for m, o, p, q in np.ndindex(dz.shape):
        dx[m, :, p : p + 2, q : q + 3] += dz[m, o, p, q] * V[o]
        dW[o] += dz[m, o, p, q] * X[m, :, p : p + 2, q : q + 3]
    return {"z": dz, "x": dx, "W": dW, "b": dz.sum((0, 2, 3))}


@control(conv2d, TWO)
def transposed_convolution(x, W, c, z):
    dz = c * (1 - torch.tanh(z)) * (1 + torch.tanh(z))
    dW = F.conv2d(x.transpose(0, 1), dz.transpose(0, 1)).transpose(0, 1)
    return {"x": F.conv_transpose2d(dz, W), "W": dW, "b": dz.transpose(0, 1).flatten(1).sum(1)}


@control(conv2d, TWO)
def recomputed_sample_by_sample(x, W, b, c):
    parts = []
    for one, g in zip(x.unbind(), c.unbind(), strict=True):
        dz = g * (1 - torch.tanh(F.conv2d(one[None], W, b)[0]) ** 2)
        parts.append(torch.einsum("opq,ipqkl->oikl", dz, one.unfold(1, 2, 1).unfold(2, 3, 1)))
    return {"W": sum(parts)}


def strided(x, W, c):
    z = F.conv1d(x, W, stride=2, padding=1)
    return (c * z).sum(), {"z": z}


@control(strided, {"x": real("m", "i", "2*t"), "W": real("o", "i", 3), "c": real("m", "o", "t")})
def stride_and_padding(x, W, c):
    spread = torch.zeros(*c.shape[:2], 2 * c.shape[2] - 1, dtype=c.dtype)
    spread[..., ::2] = c
    padded = F.pad(x, (1, 1))
    dW = F.conv1d(padded.transpose(0, 1), spread.transpose(0, 1)).transpose(0, 1)[..., :3]
    dx = F.conv1d(F.pad(spread, (2, 2)), W.flip(-1).transpose(0, 1))
    return {"W": dW, "x": F.pad(dx[..., 1:], (0, x.shape[2] + 1 - dx.shape[2])), "z": c}


def dilated(x, W, c):
    z = F.conv1d(x, W, dilation=2)
    return (c * z * z).sum(), {"z": z}


@control(dilated, {"x": real("m", "i", "t+4"), "W": real("o", "i", 3), "c": real("m", "o", "t")})
def dilation(x, W, c, z):
    dz, t = 2 * c * z, z.shape[2]
    windows = torch.stack([x[..., 2 * k : 2 * k + t] for k in range(3)], -1)
    dx = torch.zeros_like(x)
    for k in (2, 0, 1):
        dx[..., 2 * k : 2 * k + t].add_(W[:, :, k].T @ dz)
    return {"z": dz, "W": torch.tensordot(dz, windows, dims=([0, 2], [0, 2])), "x": dx}


def depthwise(x, W, c):
    z = F.conv1d(x, W[:, None], groups=len(W), padding=1)
    return (c * z).sum(), {"z": z}


@control(depthwise, {"x": real("m", "d", "t"), "W": real("d", 3), "c": real("m", "d", "t")})
def channel_by_channel(x, W, c):
    padded = F.pad(x, (1, 1)).unfold(2, 3, 1)
    back = F.pad(c, (1, 1)).unfold(2, 3, 1).flip(-1)
    return {"W": torch.einsum("mdt,mdtk->dk", c, padded), "x": (back * W[:, None]).sum(-1)}


def grouped(x, W, c):
    z = F.conv1d(x, W, groups=2)
    return (c * z).sum(), {"z": z}


@control(grouped, {"x": real("m", "2*i", "t"), "W": real("2*o", "i", 1), "c": real("m", "2*o", "t")})
def two_groups_of_pointwise_convolutions(x, W, c):
    dx, dW = [], []
    for xg, Wg, cg in zip(x.chunk(2, 1), W.chunk(2), c.chunk(2, 1), strict=True):
        dx.append(torch.einsum("mot,oi->mit", cg, Wg[..., 0]))
        dW.append(torch.einsum("mot,mit->oi", cg, xg)[..., None])
    return {"x": torch.cat(dx, 1), "W": torch.cat(dW)}


def transposed(x, W, b, c):
    z = F.conv_transpose1d(x, W, b, stride=2)
    return (c * torch.sin(z)).sum(), {"z": z}


@control(
    transposed,
    {"x": real("m", "i", "t"), "W": real("i", "o", 2), "b": real("o"), "c": real("m", "o", "2*t")},
)
def upsampling_reads_its_windows(x, W, c, z):
    dz = c * torch.cos(z)
    windows = dz.unflatten(2, (-1, 2))
    return {
        "z": dz,
        "x": torch.einsum("motk,iok->mit", windows, W),
        "W": torch.einsum("mit,motk->iok", x, windows),
        "b": dz.sum((0, 2)),
    }


def pooled(x, c):
    a = F.avg_pool2d(x, 2)
    return (c * a * a).sum(), {"a": a}


@control(pooled, {"x": real("m", "k", "2*p", "2*q"), "c": real("m", "k", "p", "q")})
def average_pool_by_kronecker(c, a):
    da = 2 * c * a
    return {"a": da, "x": torch.kron(da, torch.full((1, 1, 2, 2), 0.25, dtype=da.dtype))}


def max_pooled(x, c):
    a = F.max_pool1d(x, 3)
    return (c * a).sum(), {"a": a}


@control(max_pooled, {"x": real("m", "k", "3*t"), "c": real("m", "k", "t")})
def max_pool_by_sorting(x, c):
    windows = x.unflatten(-1, (-1, 3))
    top = windows.argsort(-1, descending=True)[..., :1]
    return {"a": c, "x": torch.zeros_like(windows).scatter(-1, top, c[..., None]).flatten(-2)}


def global_pool(x, W, c):
    g = x.mean((2, 3))
    return (c * (g @ W.T)).sum(), {"g": g}


@control(global_pool, {"x": real("m", "k", "p", "q"), "W": real("o", "k"), "c": real("m", "o")})
def global_average_pool(x, W, c, g):
    dg = c @ W
    return {"g": dg, "W": c.T @ g, "x": (dg / (x.shape[2] * x.shape[3]))[:, :, None, None].expand_as(x)}


def circular(x, w, c):
    """A periodic filter, defined by its transform."""
    z = torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(w), n=x.shape[-1])
    return (c * z).sum(), {"z": z}


@control(circular, {"x": real("m", "t"), "w": real("t"), "c": real("m", "t")})
def circulant_matrices(x, w, c):
    t = torch.arange(len(w))
    shift = (t[:, None] - t[None]) % len(w)
    return {"x": c @ w[shift], "w": torch.einsum("ms,msu->u", c, x[:, shift])}


def upsampled(x, c):
    a = F.interpolate(x, scale_factor=3, mode="nearest")
    return (c * a).sum(), {"a": a}


@control(upsampled, {"x": real("m", "k", "t"), "c": real("m", "k", "3*t")})
def nearest_neighbours_by_index_add(x, c):
    source = torch.arange(3 * x.shape[2]) // 3
    return {"a": c, "x": torch.zeros_like(x).index_add_(2, source, c)}


def patches(x, W, c):
    """Non-overlapping patches of a sequence, each through one projection."""
    z = x.unflatten(1, (-1, 4)) @ W.T
    return (c * torch.tanh(z)).sum(), {"z": z}


@control(patches, {"x": real("m", "4*t"), "W": real("k", 4), "c": real("m", "t", "k")})
def patch_embedding_as_a_convolution(x, W, c, z):
    dz = (c * (1 - torch.tanh(z) ** 2)).mT
    dx = F.conv_transpose1d(dz, W[:, None], stride=4)[:, 0]
    return {"z": dz.mT, "x": dx, "W": torch.einsum("mkt,mtj->kj", dz, x.unflatten(1, (-1, 4)))}
