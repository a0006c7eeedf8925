"""Recurrent blocks, right: one step, three steps unrolled, LSTM and GRU cells."""

from __future__ import annotations

import torch

from compare.check.inputs import index, real
from tests.derivations import correct
from tests.derivations.mlp import half_square


def step_forward(x, h0, Wx, Wh, b, dh):
    z = x @ Wx.T + h0 @ Wh.T + b
    h = torch.tanh(z)
    return (h * dh).sum(), {"z": z, "h": h}


STEP = {
    "x": real("m", "d"),
    "h0": real("m", "n"),
    "Wx": real("n", "d"),
    "Wh": real("n", "n"),
    "b": real("n"),
    "dh": real("m", "n"),
}


@correct(step_forward, STEP)
def recurrent_step(x, h0, Wx, Wh, dh, h):
    dz = dh * (1 - h**2)
    return {
        "h": dh,
        "z": dz,
        "Wx": dz.T @ x,
        "Wh": dz.T @ h0,
        "b": dz.sum(0),
        "x": dz @ Wx,
        "h0": dz @ Wh,
    }


def unrolled_forward(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3):
    """Three steps with a cost at each."""
    h1 = torch.tanh(x1 @ Wx.T + h0 @ Wh.T + b)
    h2 = torch.tanh(x2 @ Wx.T + h1 @ Wh.T + b)
    h3 = torch.tanh(x3 @ Wx.T + h2 @ Wh.T + b)
    o1, o2, o3 = h1 @ Wy.T, h2 @ Wy.T, h3 @ Wy.T
    J = half_square(o1, y1) + half_square(o2, y2) + half_square(o3, y3)
    return J, {"h1": h1, "h2": h2, "h3": h3, "o1": o1, "o2": o2, "o3": o3}


UNROLLED = {
    "x1": real("m", "d"),
    "x2": real("m", "d"),
    "x3": real("m", "d"),
    "h0": real("m", "n"),
    "Wx": real("n", "d"),
    "Wh": real("n", "n"),
    "b": real("n"),
    "Wy": real("k", "n"),
    "y1": real("m", "k"),
    "y2": real("m", "k"),
    "y3": real("m", "k"),
}


@correct(unrolled_forward, UNROLLED)
def unrolled_network(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    xs, hs = [None, x1, x2, x3], [h0, h1, h2, h3]
    os, ys = [None, o1, o2, o3], [None, y1, y2, y3]
    dWx, dWh, dWy, db = (torch.zeros_like(t) for t in (Wx, Wh, Wy, b))
    grads = {}
    dh_next = torch.zeros_like(h0)
    for t in (3, 2, 1):
        do = (os[t] - ys[t]) / len(x1)
        dWy += do.T @ hs[t]
        dh = do @ Wy + dh_next
        dz = dh * (1 - hs[t] ** 2)
        dWx += dz.T @ xs[t]
        dWh += dz.T @ hs[t - 1]
        db += dz.sum(0)
        dh_next = dz @ Wh
        grads[f"o{t}"], grads[f"h{t}"], grads[f"x{t}"] = do, dh, dz @ Wx
    return grads | {"Wx": dWx, "Wh": dWh, "b": db, "Wy": dWy, "h0": dh_next}


def characters_forward(tokens, targets, h0, Wx, Wh, Wy, bh, by):
    """A character model over five steps of one sequence, as lists of columns would hold it."""
    h, hs, ps, J = h0, [], [], 0.0
    for token, target in zip(tokens, targets, strict=True):
        h = torch.tanh(Wx[:, token] + Wh @ h + bh)
        score = Wy @ h + by
        J = J + torch.logsumexp(score, 0) - score[target]
        hs.append(h)
        ps.append(score)
    return J, {"hs": torch.stack(hs), "scores": torch.stack(ps)}


def lstm_forward(x, h0, c0, W, U, b, dh, dc):
    """One LSTM cell: the gates' rows are stacked in the order i, f, g, o."""
    z = x @ W.T + h0 @ U.T + b
    zi, zf, zg, zo = z.chunk(4, 1)
    i, f, g, o = torch.sigmoid(zi), torch.sigmoid(zf), torch.tanh(zg), torch.sigmoid(zo)
    c = f * c0 + i * g
    tc = torch.tanh(c)
    h = o * tc
    return (h * dh).sum() + (c * dc).sum(), {
        "z": z,
        "i": i,
        "f": f,
        "g": g,
        "o": o,
        "c": c,
        "tc": tc,
        "h": h,
    }


LSTM = {
    "x": real("m", "d"),
    "h0": real("m", "n"),
    "c0": real("m", "n"),
    "W": real("4*n", "d"),
    "U": real("4*n", "n"),
    "b": real("4*n"),
    "dh": real("m", "n"),
    "dc": real("m", "n"),
}


@correct(lstm_forward, LSTM)
def lstm_cell(x, h0, c0, W, U, dh, dc, i, f, g, o, tc):
    do = dh * tc
    dtc = dh * o
    dct = dc + dtc * (1 - tc**2)
    df = dct * c0
    di = dct * g
    dg = dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {
        "h": dh,
        "o": do,
        "tc": dtc,
        "c": dct,
        "f": df,
        "i": di,
        "g": dg,
        "z": dz,
        "c0": dct * f,
        "W": dz.T @ x,
        "U": dz.T @ h0,
        "b": dz.sum(0),
        "x": dz @ W,
        "h0": dz @ U,
    }


def gru_forward(x, h0, Wr, Ur, Wz, Uz, Wn, Un, dh):
    r = torch.sigmoid(x @ Wr.T + h0 @ Ur.T)
    z = torch.sigmoid(x @ Wz.T + h0 @ Uz.T)
    u = h0 @ Un.T
    n = torch.tanh(x @ Wn.T + r * u)
    h = (1 - z) * n + z * h0
    return (h * dh).sum(), {"r": r, "z": z, "u": u, "n": n, "h": h}


GRU = {
    "x": real("m", "d"),
    "h0": real("m", "s"),
    "Wr": real("s", "d"),
    "Ur": real("s", "s"),
    "Wz": real("s", "d"),
    "Uz": real("s", "s"),
    "Wn": real("s", "d"),
    "Un": real("s", "s"),
    "dh": real("m", "s"),
}


@correct(gru_forward, GRU)
def gru_cell(x, h0, Wr, Ur, Wz, Uz, Wn, Un, dh, r, z, u, n):
    dn = dh * (1 - z)
    dz = dh * (h0 - n)
    dan = dn * (1 - n**2)
    dr = dan * u
    du = dan * r
    dar = dr * r * (1 - r)
    daz = dz * z * (1 - z)
    dh0 = dh * z + du @ Un + dar @ Ur + daz @ Uz
    dx = dan @ Wn + dar @ Wr + daz @ Wz
    return {
        "h": dh,
        "n": dn,
        "z": dz,
        "r": dr,
        "u": du,
        "Wn": dan.T @ x,
        "Un": du.T @ h0,
        "Wr": dar.T @ x,
        "Ur": dar.T @ h0,
        "Wz": daz.T @ x,
        "Uz": daz.T @ h0,
        "h0": dh0,
        "x": dx,
    }


CHARACTERS = {
    "tokens": index(5, classes="v"),
    "targets": index(5, classes="v"),
    "h0": real("n"),
    "Wx": real("n", "v"),
    "Wh": real("n", "n"),
    "Wy": real("v", "n"),
    "bh": real("n"),
    "by": real("v"),
}


@correct(characters_forward, CHARACTERS)
def character_model(tokens, targets, h0, Wx, Wh, Wy, bh, by, hs, scores):
    dWx, dWh, dWy = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(Wy)
    dbh, dby, dh_next = torch.zeros_like(bh), torch.zeros_like(by), torch.zeros_like(h0)
    for t in reversed(range(len(tokens))):
        dy = torch.softmax(scores[t], 0)
        dy[targets[t]] -= 1
        dWy += torch.outer(dy, hs[t])
        dby += dy
        dh = Wy.T @ dy + dh_next
        draw = (1 - hs[t] * hs[t]) * dh
        dbh += draw
        dWx[:, tokens[t]] += draw
        dWh += torch.outer(draw, hs[t - 1] if t > 0 else h0)
        dh_next = Wh.T @ draw
    return {"Wx": dWx, "Wh": dWh, "Wy": dWy, "bh": dbh, "by": dby, "h0": dh_next}
