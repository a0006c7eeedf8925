"""Recurrent nets: unrolled backwards, carried forwards, as matrices over time."""

from __future__ import annotations

import functools

import numpy as np
import torch

from compare.check.inputs import real
from tests.derivations import control

RNN = {
    "x": real("m", "t", "d"),
    "h0": real("m", "h"),
    "W": real("h", "d"),
    "U": real("h", "h", scale=0.5),
    "b": real("h"),
    "c": real("m", "t", "h"),
}


def rnn(x, h0, W, U, b, c):
    h, states = h0, []
    for step in range(x.shape[1]):
        h = torch.tanh(x[:, step] @ W.T + h @ U.T + b)
        states.append(h)
    hs = torch.stack(states, 1)
    return (c * hs).sum(), {"hs": hs, "last": h}


@control(rnn, RNN)
def through_time_backwards(x, h0, W, U, c, hs):
    dW, dU, db = torch.zeros_like(W), torch.zeros_like(U), 0
    dx, carry = torch.empty_like(x), torch.zeros_like(h0)
    for step in reversed(range(x.shape[1])):
        dz = (c[:, step] + carry) * (1 - hs[:, step] ** 2)
        before = hs[:, step - 1] if step else h0
        dW, dU, db = dW + dz.T @ x[:, step], dU + dz.T @ before, db + dz.sum(0)
        dx[:, step], carry = dz @ W, dz @ U
    return {"W": dW, "U": dU, "b": db, "x": dx, "h0": carry}


@control(rnn, RNN)
def through_time_batched_at_the_end(x, h0, U, W, c, hs):
    """Only the deltas in the loop; one product for each parameter after it."""
    carry, deltas = 0, []
    for h, g in zip(hs.flip(1).unbind(1), c.flip(1).unbind(1), strict=True):
        deltas.append((g + carry) * (1 - h) * (1 + h))
        carry = deltas[-1] @ U
    dz = torch.stack(deltas[::-1], 1)
    before = torch.cat([h0[:, None], hs[:, :-1]], 1)
    return {
        "W": torch.einsum("mth,mtd->hd", dz, x),
        "U": torch.einsum("mth,mtk->hk", dz, before),
        "b": dz.sum((0, 1)),
        "h0": carry,
        "x": dz @ W,
    }


@control(rnn, RNN)
def real_time_recurrent_learning(x, h0, W, U, b, c):
    """Forward in time: the Jacobian of the state by U is carried along, nothing is unrolled backwards."""
    m, n = h0.shape
    sensitivity, h, dU = torch.zeros(m, n, n, n, dtype=x.dtype), h0, torch.zeros_like(U)
    for step in range(x.shape[1]):
        new = torch.tanh(x[:, step] @ W.T + h @ U.T + b)
        direct = torch.einsum("ij,mk->mijk", torch.eye(n, dtype=x.dtype), h)
        sensitivity = (1 - new**2)[:, :, None, None] * (direct + torch.einsum("il,mljk->mijk", U, sensitivity))
        dU, h = dU + torch.einsum("mi,mijk->jk", c[:, step], sensitivity), new
    return {"U": dU}


@control(rnn, RNN)
def numpy_through_time(x, h0, U, c, hs):
    x, U, c, states = x.numpy(), U.numpy(), c.numpy(), np.concatenate([h0[:, None], hs], 1)
    dU, dh = np.zeros_like(U), np.zeros_like(states[:, 0])
    for step in range(x.shape[1], 0, -1):
        dz = (c[:, step - 1] + dh) * (1 - states[:, step] ** 2)
        dU += np.einsum("mi,mj->ij", dz, states[:, step - 1])
        dh = dz @ U
    return {"U": dU, "h0": dh}


def gates(x, h, cell, W, U):
    return (x @ W.T + h @ U.T).chunk(4, 1)


LSTM = {
    "x": real("m", "t", "d"),
    "W": real("4*h", "d"),
    "U": real("4*h", "h", scale=0.5),
    "c": real("m", "h"),
}


def lstm(x, W, U, c):
    h = cell = x.new_zeros(len(x), U.shape[1])
    for step in range(x.shape[1]):
        i, f, g, o = gates(x[:, step], h, cell, W, U)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(cell)
    return (c * h).sum(), {"h": h, "cell": cell}


@control(lstm, LSTM)
def lstm_recomputed(x, W, U, c):
    h = cell = x.new_zeros(len(x), U.shape[1])
    tape = []
    for step in range(x.shape[1]):
        i, f, g, o = gates(x[:, step], h, cell, W, U)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        new = f * cell + i * g
        tape.append((step, h, cell, i, f, g, o, new.tanh()))
        h, cell = o * new.tanh(), new
    dh, dcell = c, torch.zeros_like(c)
    dW, dU, dx = torch.zeros_like(W), torch.zeros_like(U), torch.zeros_like(x)
    for step, before, cell_before, i, f, g, o, tanh_cell in reversed(tape):
        dcell = dcell + dh * o * (1 - tanh_cell**2)
        dz = torch.cat(
            [
                dcell * g * i * (1 - i),
                dcell * cell_before * f * (1 - f),
                dcell * i * (1 - g * g),
                dh * tanh_cell * o * (1 - o),
            ],
            1,
        )
        dW.add_(dz.T @ x[:, step])
        dU.add_(dz.T @ before)
        dx[:, step] = dz @ W
        dh, dcell = dz @ U, dcell * f
    return {"W": dW, "U": dU, "x": dx, "h": c}


GRU = {
    "x": real("m", "d"),
    "h": real("m", "h"),
    "Wz": real("h", "d"),
    "Uz": real("h", "h"),
    "Wr": real("h", "d"),
    "Ur": real("h", "h"),
    "Wn": real("h", "d"),
    "Un": real("h", "h"),
    "c": real("m", "h"),
}


def gru(x, h, Wz, Uz, Wr, Ur, Wn, Un, c):
    z = torch.sigmoid(x @ Wz.T + h @ Uz.T)
    r = torch.sigmoid(x @ Wr.T + h @ Ur.T)
    n = torch.tanh(x @ Wn.T + (r * h) @ Un.T)
    new = (1 - z) * n + z * h
    return (c * new).sum(), {"z": z, "r": r, "n": n, "new": new}


@control(gru, GRU)
def gru_step(x, h, Wz, Uz, Wr, Ur, Wn, Un, c, z, r, n):
    dz, dn = c * (h - n), c - c * z
    pn = dn * (1 - n.square())
    drh = pn @ Un
    dr = drh * h
    pz, pr = dz * z * (1 - z), dr * r * (1 - r)
    return {
        "new": c,
        "z": dz,
        "n": dn,
        "r": dr,
        "Wn": pn.T @ x,
        "Un": pn.T @ (r * h),
        "Wz": pz.T @ x,
        "Uz": pz.T @ h,
        "Wr": pr.T @ x,
        "Ur": pr.T @ h,
        "x": torch.cat([pz, pr, pn], 1) @ torch.cat([Wz, Wr, Wn]),
        "h": c * z + drh * r + torch.cat([pz, pr], 1) @ torch.cat([Uz, Ur]),
    }


def prefix(x, decay, c):
    """An exponential moving average along time."""
    g = torch.sigmoid(decay)
    s, out = torch.zeros_like(x[:, 0]), []
    for step in range(x.shape[1]):
        s = g * s + (1 - g) * x[:, step]
        out.append(s)
    s = torch.stack(out, 1)
    return (c * s).sum(), {"s": s}


EMA = {"x": real("m", "t", "d"), "decay": real("d"), "c": real("m", "t", "d")}


@control(prefix, EMA)
def moving_average_backwards(x, decay, c, s):
    g = torch.sigmoid(decay)
    carry, dx, dg = torch.zeros_like(c[:, 0]), torch.empty_like(x), torch.zeros_like(g)
    for step in range(x.shape[1] - 1, -1, -1):
        carry = carry + c[:, step]
        before = s[:, step - 1] if step else torch.zeros_like(carry)
        dg += (carry * (before - x[:, step])).sum(0)
        dx[:, step] = (1 - g) * carry
        carry = g * carry
    return {"x": dx, "decay": dg * g * (1 - g)}


@control(prefix, EMA)
def moving_average_as_a_matrix(x, decay, c):
    t = torch.arange(x.shape[1])
    lag = t[:, None] - t[None]
    g = torch.sigmoid(decay)
    K = torch.where(lag[..., None] >= 0, g ** lag.clamp(min=0)[..., None], 0) * (1 - g)
    return {"x": torch.einsum("sud,msd->mud", K, c)}


@control(rnn, {**RNN, "U": real("h", "h", scale=0.3)})
def through_time_by_reduce(U, c, hs):
    """The carried delta as a fold over reversed time."""

    def step(carry, now):
        g, h = now
        return ((g + carry) * (1 - h * h)) @ U

    pairs = zip(c.flip(1).unbind(1), hs.flip(1).unbind(1), strict=True)
    return {"h0": functools.reduce(step, pairs, torch.zeros_like(c[:, 0]))}
