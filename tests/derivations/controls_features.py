"""Bilinear and radial units, features of positions and frequencies, polynomials."""

from __future__ import annotations

import math

import torch

from compare.check.inputs import positive, real
from tests.derivations import control


def bilinear(u, v, T, c):
    z = torch.einsum("mi,kij,mj->mk", u, T, v)
    return (c * torch.tanh(z)).sum(), {"z": z}


@control(bilinear, {"u": real("m", "p"), "v": real("m", "q"), "T": real("k", "p", "q"), "c": real("m", "k")})
def bilinear_slices(u, v, T, c, z):
    dz = c * (1 - torch.tanh(z) ** 2)
    dT = torch.stack([(dz[:, k, None] * u).T @ v for k in range(len(T))])
    du = sum(dz[:, k, None] * (v @ T[k].T) for k in range(len(T)))
    pairs = (dz[:, :, None] * u[:, None]).flatten(1)
    return {"z": dz, "T": dT, "u": du, "v": pairs @ T.flatten(0, 1)}


def radial(x, centres, log_width, w):
    distance = ((x[:, None] - centres) ** 2).sum(-1)
    phi = torch.exp(-distance * torch.exp(-log_width))
    return ((phi @ w) ** 2).sum() / 2, {"distance": distance, "phi": phi}


@control(
    radial,
    {
        "x": real("m", "d"),
        "centres": real("h", "d"),
        "log_width": real("h", low=-1, high=2),
        "w": real("h"),
    },
)
def radial_basis_by_the_expanded_square(x, centres, log_width, w, distance, phi):
    out = phi @ w
    dphi = torch.outer(out, w)
    s = -dphi * phi * torch.exp(-log_width)
    dcentres = 2 * (s.sum(0)[:, None] * centres - s.T @ x)
    dx = 2 * (s.sum(1)[:, None] * x - s @ centres)
    return {
        "phi": dphi,
        "distance": s,
        "w": phi.T @ out,
        "centres": dcentres,
        "x": dx,
        "log_width": -(s * distance).sum(0),
    }


def fourier(x, B, w):
    u = x @ B.T
    features = torch.cat([torch.cos(u), torch.sin(u)], 1)
    return ((features @ w) ** 2).sum(), {"u": u, "features": features}


@control(fourier, {"x": real("m", "d"), "B": real("h", "d"), "w": real("2*h")})
def fourier_features_as_complex_numbers(x, B, w, u):
    """w . (cos u, sin u) = Re(conj(w) e^iu), whose derivative by u is Re(i conj(w) e^iu)."""
    a, b = w.chunk(2)
    weight, wave = torch.complex(a, -b), torch.polar(torch.ones_like(u), u)
    out = (weight * wave).real.sum(1, keepdim=True)
    du = 2 * out * (1j * weight * wave).real
    dw = 2 * torch.cat([(out * wave.real).sum(0), (out * wave.imag).sum(0)])
    return {"u": du, "w": dw, "B": du.T @ x, "x": du @ B}


def polynomial(x, w):
    """A polynomial fitted by Horner's rule; the powers of a design matrix never appear."""
    p = torch.zeros_like(x)
    for coefficient in w.flip(0):
        p = p * x + coefficient
    return (p**2).sum() / 2, {"p": p}


@control(polynomial, {"x": real("m", low=-1.5, high=1.5), "w": real("k")})
def polynomial_by_powers(x, w, p):
    n = torch.arange(len(w))
    powers = x[:, None] ** n
    slopes = (n[1:] * powers[:, :-1]) @ w[1:]
    return {"p": p, "w": powers.T @ p, "x": p * slopes}


@control(polynomial, {"x": real("m", low=-1.5, high=1.5), "w": real("k")})
def polynomial_by_double_horner(x, w, p):
    value = slope = torch.zeros_like(x)
    for coefficient in w.flip(0).unbind():
        slope = slope * x + value
        value = value * x + coefficient
    return {"x": value * slope}


def rotary(q, k, c):
    """Rotary positions: pairs of features turned by an angle that grows with the position."""
    angle = torch.outer(torch.arange(q.shape[1]), 1.0 / torch.arange(1, q.shape[2] // 2 + 1)).to(q.dtype)

    def turn(u):
        a, b = u.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)

    s = turn(q) @ turn(k).mT
    return (c * torch.tanh(s)).sum(), {"s": s}


@control(rotary, {"q": real("m", "t", "2*d"), "k": real("m", "t", "2*d"), "c": real("m", "t", "t")})
def rotary_by_relative_positions(q, k, c, s):
    """s_ij = q_i R(j - i)' k_j: only differences of positions enter."""
    ds = c * (1 - torch.tanh(s) ** 2)
    t, half = q.shape[1], q.shape[2] // 2
    lag = torch.arange(t)[None] - torch.arange(t)[:, None]
    angle = lag[..., None] * (1.0 / torch.arange(1, half + 1)).to(q.dtype)
    phase = torch.polar(torch.ones_like(angle), angle)
    qc, kc = (torch.view_as_complex(u.unflatten(-1, (half, 2)).contiguous()) for u in (q, k))
    dq = torch.einsum("mij,ijh,mjh->mih", ds.to(kc.dtype), phase, kc)
    dk = torch.einsum("mij,ijh,mih->mjh", ds.to(qc.dtype), phase.conj(), qc)
    return {"s": ds, "q": torch.view_as_real(dq).flatten(-2), "k": torch.view_as_real(dk).flatten(-2)}


def positional(x, E, W):
    z = torch.tanh(x + E) @ W
    return torch.logsumexp(z, 1).sum(), {"z": z}


@control(positional, {"x": real("m", "t", "d"), "E": real("t", "d"), "W": real("d")})
def learned_positions(x, E, W, z):
    dz = torch.softmax(z, 1)
    a = torch.tanh(x + E)
    dx = dz[..., None] * W * (1 - a * a)
    return {"z": dz, "x": dx, "E": dx.sum(0), "W": torch.einsum("mt,mtd->d", dz, a)}


def warped(x, w, c):
    """sin(w x) / (w x) smoothed at zero, with its series there."""
    u = w * x
    s = torch.special.sinc(u / math.pi)
    return (c * s).sum(), {"u": u}


@control(warped, {"x": real("m", low=0.5, high=3), "w": positive(), "c": real("m")})
def cardinal_sine(x, w, c, u):
    du = c * (u * torch.cos(u) - torch.sin(u)) / u**2
    return {"u": du, "x": w * du, "w": du @ x}
