"""Recurrent blocks gone wrong: time, gates, states. The causes are listed in mlp_mistakes."""

from __future__ import annotations

import torch

from tests.derivations import wrong
from tests.derivations.blocks_recurrent import (
    CHARACTERS,
    GRU,
    LSTM,
    STEP,
    UNROLLED,
    characters_forward,
    gru_forward,
    lstm_forward,
    step_forward,
    unrolled_forward,
)


@wrong(step_forward, STEP, steps=("h0",), cause="missing_transpose")
def recurrent_weight_transposed(x, h0, Wx, Wh, dh, h):
    dz = dh * (1 - h**2)
    return {"z": dz, "Wx": dz.T @ x, "Wh": dz.T @ h0, "b": dz.sum(0), "x": dz @ Wx, "h0": dz @ Wh.T}


@wrong(step_forward, STEP, steps=("Wh",), cause="wrong_index")
def new_state_for_the_old_one(x, Wx, Wh, dh, h):
    dz = dh * (1 - h**2)
    return {"z": dz, "Wx": dz.T @ x, "Wh": dz.T @ h, "b": dz.sum(0), "x": dz @ Wx, "h0": dz @ Wh}


@wrong(step_forward, STEP, steps=("z",), cause="derivative_at_wrong_place")
def slope_of_the_old_state(x, h0, Wx, Wh, dh):
    dz = dh * (1 - h0**2)
    return {"z": dz, "Wx": dz.T @ x, "Wh": dz.T @ h0, "b": dz.sum(0), "x": dz @ Wx, "h0": dz @ Wh}


@wrong(
    unrolled_forward,
    UNROLLED,
    steps=("h2", "h1", "h0"),
    cause="missing_path",
    source="RNN-LSTM-in-numpy 1: dh_next is never handed on",
)
def no_gradient_through_time(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    xs, hs, os, ys = [None, x1, x2, x3], [h0, h1, h2, h3], [None, o1, o2, o3], [None, y1, y2, y3]
    dWx, dWh, dWy, db = (torch.zeros_like(t) for t in (Wx, Wh, Wy, b))
    grads = {}
    for t in (3, 2, 1):
        do = (os[t] - ys[t]) / len(x1)
        dWy += do.T @ hs[t]
        dh = do @ Wy
        dz = dh * (1 - hs[t] ** 2)
        dWx += dz.T @ xs[t]
        dWh += dz.T @ hs[t - 1]
        db += dz.sum(0)
        grads |= {f"o{t}": do, f"h{t}": dh, f"x{t}": dz @ Wx}
    return grads | {"Wx": dWx, "Wh": dWh, "b": db, "Wy": dWy, "h0": torch.zeros_like(h0)}


@wrong(unrolled_forward, UNROLLED, steps=("Wx", "Wh", "b"), cause="overwritten")
def last_time_step_only(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    xs, hs, os, ys = [None, x1, x2, x3], [h0, h1, h2, h3], [None, o1, o2, o3], [None, y1, y2, y3]
    dWx, dWh, dWy, db = (torch.zeros_like(t) for t in (Wx, Wh, Wy, b))
    grads, dh_next = {}, torch.zeros_like(h0)
    for t in (3, 2, 1):
        do = (os[t] - ys[t]) / len(x1)
        dWy += do.T @ hs[t]
        dh = do @ Wy + dh_next
        dz = dh * (1 - hs[t] ** 2)
        dWx = dz.T @ xs[t]
        dWh = dz.T @ hs[t - 1]
        db = dz.sum(0)
        dh_next = dz @ Wh
        grads |= {f"o{t}": do, f"h{t}": dh, f"x{t}": dz @ Wx}
    return grads | {"Wx": dWx, "Wh": dWh, "b": db, "Wy": dWy, "h0": dh_next}


@wrong(unrolled_forward, UNROLLED, steps=("Wh",), cause="wrong_index")
def state_one_step_off(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    xs, hs, os, ys = [None, x1, x2, x3], [h0, h1, h2, h3], [None, o1, o2, o3], [None, y1, y2, y3]
    dWx, dWh = torch.zeros_like(Wx), torch.zeros_like(Wh)
    grads, dh_next = {}, torch.zeros_like(h0)
    for t in (3, 2, 1):
        dh = (os[t] - ys[t]) / len(x1) @ Wy + dh_next
        dz = dh * (1 - hs[t] ** 2)
        dWx += dz.T @ xs[t]
        dWh += dz.T @ hs[t]
        dh_next = dz @ Wh
        grads |= {f"h{t}": dh, f"x{t}": dz @ Wx}
    return grads | {"Wx": dWx, "Wh": dWh, "h0": dh_next}


@wrong(unrolled_forward, UNROLLED, steps=("h1",), cause="path_twice")
def gradient_through_time_accumulates(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    """dh_next += for =: from the second step back, what is handed on includes what was handed on before."""
    xs, hs, os, ys = [None, x1, x2, x3], [h0, h1, h2, h3], [None, o1, o2, o3], [None, y1, y2, y3]
    dWx, dWh = torch.zeros_like(Wx), torch.zeros_like(Wh)
    grads, dh_next = {}, torch.zeros_like(h0)
    for t in (3, 2, 1):
        dh = (os[t] - ys[t]) / len(x1) @ Wy + dh_next
        dz = dh * (1 - hs[t] ** 2)
        dWx += dz.T @ xs[t]
        dWh += dz.T @ hs[t - 1]
        dh_next += dz @ Wh
        grads |= {f"h{t}": dh, f"x{t}": dz @ Wx}
    return grads | {"Wx": dWx, "Wh": dWh}


@wrong(unrolled_forward, UNROLLED, steps=("h3",), cause="stale_state")
def state_gradient_not_reset(x1, x2, x3, h0, Wx, Wh, b, Wy, y1, y2, y3, h1, h2, h3, o1, o2, o3):
    """The gradient from beyond the last step starts as the last error, not as zero."""
    xs, hs, os, ys = [None, x1, x2, x3], [h0, h1, h2, h3], [None, o1, o2, o3], [None, y1, y2, y3]
    dWx, dWh = torch.zeros_like(Wx), torch.zeros_like(Wh)
    grads, dh_next = {}, (o3 - y3) @ Wy
    for t in (3, 2, 1):
        dh = (os[t] - ys[t]) / len(x1) @ Wy + dh_next
        dz = dh * (1 - hs[t] ** 2)
        dWx += dz.T @ xs[t]
        dWh += dz.T @ hs[t - 1]
        dh_next = dz @ Wh
        grads |= {f"h{t}": dh, f"x{t}": dz @ Wx}
    return grads | {"Wx": dWx, "Wh": dWh, "h0": dh_next}


@wrong(characters_forward, CHARACTERS, steps=("Wx", "Wh", "bh", "h0"), cause="missing_path")
def characters_without_time(tokens, targets, h0, Wx, Wh, Wy, bh, by, hs, scores):
    """A character model whose deltas are not named: what the forgotten path spoils is each weight before it."""
    dWx, dWh, dWy = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(Wy)
    dbh, dby = torch.zeros_like(bh), torch.zeros_like(by)
    for t in reversed(range(len(tokens))):
        dy = torch.softmax(scores[t], 0)
        dy[targets[t]] -= 1
        dWy += torch.outer(dy, hs[t])
        dby += dy
        draw = (1 - hs[t] * hs[t]) * (Wy.T @ dy)
        dbh += draw
        dWx[:, tokens[t]] += draw
        dWh += torch.outer(draw, hs[t - 1] if t > 0 else h0)
    return {"Wx": dWx, "Wh": dWh, "Wy": dWy, "bh": dbh, "by": dby, "h0": Wh.T @ draw}


@wrong(characters_forward, CHARACTERS, steps=("Wh",), cause="wrong_index")
def first_state_wraps_around(tokens, targets, h0, Wx, Wh, Wy, bh, by, hs, scores):
    """hs[t - 1] at t = 0 is the last state, not the initial one."""
    dWx, dWh, dWy = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(Wy)
    dbh, dby, dh_next = torch.zeros_like(bh), torch.zeros_like(by), torch.zeros_like(h0)
    for t in reversed(range(len(tokens))):
        dy = torch.softmax(scores[t], 0)
        dy[targets[t]] -= 1
        dWy += torch.outer(dy, hs[t])
        dby += dy
        draw = (1 - hs[t] * hs[t]) * (Wy.T @ dy + dh_next)
        dbh += draw
        dWx[:, tokens[t]] += draw
        dWh += torch.outer(draw, hs[t - 1])
        dh_next = Wh.T @ draw
    return {"Wx": dWx, "Wh": dWh, "Wy": dWy, "bh": dbh, "by": dby, "h0": dh_next}


@wrong(characters_forward, CHARACTERS, steps=("Wx", "Wh", "bh"), cause="clipped", options={"rare": "large"})
def gradients_clipped_at_five(tokens, targets, h0, Wx, Wh, Wy, bh, by, hs, scores):
    dWx, dWh, dWy = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(Wy)
    dbh, dby, dh_next = torch.zeros_like(bh), torch.zeros_like(by), torch.zeros_like(h0)
    for t in reversed(range(len(tokens))):
        dy = torch.softmax(scores[t], 0)
        dy[targets[t]] -= 1
        dWy += torch.outer(dy, hs[t])
        dby += dy
        draw = (1 - hs[t] * hs[t]) * (Wy.T @ dy + dh_next)
        dbh += draw
        dWx[:, tokens[t]] += draw
        dWh += torch.outer(draw, hs[t - 1] if t > 0 else h0)
        dh_next = Wh.T @ draw
    for g in (dWx, dWh, dbh):
        g.clamp_(-1, 1)
    return {"Wx": dWx, "Wh": dWh, "Wy": dWy, "bh": dbh, "by": dby, "h0": dh_next}


@wrong(lstm_forward, LSTM, steps=("c",), cause="missing_path")
def cell_gradient_from_the_next_step_forgotten(x, h0, c0, W, U, dh, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "c0": dct * f}


@wrong(lstm_forward, LSTM, steps=("c",), cause="missing_activation_derivative")
def cell_without_tanh_slope(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("c",), cause="derivative_at_wrong_place")
def tanh_slope_of_the_cell(x, h0, c0, dh, dc, i, f, g, o, c, tc):
    """1 - c^2 for 1 - tanh(c)^2."""
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - c**2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("i", "g"), cause="wrong_operand")
def input_gate_and_candidate_mixed(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * i, dct * g
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("f",), cause="wrong_index")
def new_cell_for_the_old_one(x, h0, dh, dc, i, f, g, o, c, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("z",), cause="wrong_index")
def gates_stacked_in_another_order(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("z",), cause="wrong_activation_derivative")
def sigmoid_slope_for_the_candidate(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * g, dct * i
    gates, slopes = torch.cat([i, f, g, o], 1), torch.cat([di, df, dg, do], 1)
    dz = slopes * gates * (1 - gates)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "W": dz.T @ x, "U": dz.T @ h0}


@wrong(lstm_forward, LSTM, steps=("c0",), cause="missing_factor")
def forget_gate_left_out(x, h0, c0, dh, dc, i, f, g, o, tc):
    do, dtc = dh * tc, dh * o
    dct = dc + dtc * (1 - tc**2)
    df, di, dg = dct * c0, dct * g, dct * i
    dz = torch.cat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], 1)
    return {"o": do, "tc": dtc, "c": dct, "f": df, "i": di, "g": dg, "z": dz, "c0": dct, "U": dz.T @ h0}


@wrong(gru_forward, GRU, steps=("n",), cause="wrong_operand")
def update_gate_the_other_way(x, h0, Wr, Wz, dh, r, z, u, n):
    dn = dh * z
    dz = dh * (h0 - n)
    dan = dn * (1 - n**2)
    dr, du = dan * u, dan * r
    daz = dz * z * (1 - z)
    return {"n": dn, "z": dz, "r": dr, "u": du, "Wn": dan.T @ x, "Un": du.T @ h0, "Wz": daz.T @ x}


@wrong(gru_forward, GRU, steps=("z",), cause="sign")
def update_gate_sign(x, h0, dh, r, z, u, n):
    dn = dh * (1 - z)
    dz = dh * (n - h0)
    dan = dn * (1 - n**2)
    dr, du = dan * u, dan * r
    daz = dz * z * (1 - z)
    return {"n": dn, "z": dz, "r": dr, "u": du, "Wn": dan.T @ x, "Wz": daz.T @ x, "Uz": daz.T @ h0}


@wrong(gru_forward, GRU, steps=("h0",), cause="missing_path")
def carried_state_forgotten(x, h0, Ur, Uz, Un, dh, r, z, u, n):
    dn, dz = dh * (1 - z), dh * (h0 - n)
    dan = dn * (1 - n**2)
    dr, du = dan * u, dan * r
    dar, daz = dr * r * (1 - r), dz * z * (1 - z)
    dh0 = du @ Un + dar @ Ur + daz @ Uz
    return {"n": dn, "z": dz, "r": dr, "u": du, "Wr": dar.T @ x, "Ur": dar.T @ h0, "h0": dh0}


@wrong(gru_forward, GRU, steps=("u",), cause="missing_factor")
def reset_gate_left_out(x, h0, dh, r, z, u, n):
    dn, dz = dh * (1 - z), dh * (h0 - n)
    dan = dn * (1 - n**2)
    dr, du = dan * u, dan
    return {"n": dn, "z": dz, "r": dr, "u": du, "Wn": dan.T @ x, "Un": du.T @ h0}
