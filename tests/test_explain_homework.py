"""Mistakes as homework and forums have them, at inputs of one size: what is told of each, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.test_explain_forms import drawn
from tests.told import assert_told, explained, told

TEMPERATURE = 0.3


def mse(x, W, y):
    p = x @ W
    return ((p - y) ** 2).mean(), {"p": p}


def mean_over_rows(x, W, y, p):
    dp = 2 * (p - y) / p.shape[0]
    return {"p": dp, "W": x.T @ dp}


def ridge(x, w, y):
    p = x @ w
    return ((p - y) ** 2).sum() / (2 * len(x)) + 0.7 / (2 * len(x)) * (w**2).sum(), {"p": p}


def penalty_forgotten(x, w, y):
    return {"w": x.T @ (x @ w - y) / len(x)}


def ridge_but_for_the_first(x, w, y):
    p = x @ w
    return ((p - y) ** 2).sum() / (2 * len(x)) + 0.7 / (2 * len(x)) * (w[1:] ** 2).sum(), {"p": p}


def every_weight_penalised(x, w, y):
    x, w, y = x.numpy(), w.numpy(), y.numpy()
    grad = x.T.dot(x.dot(w) - y) / len(x)
    grad += 0.7 / len(x) * w
    return {"w": grad}


def deep(x, W1, W2, W3):
    a1 = torch.tanh(x @ W1)
    a2 = torch.tanh(a1 @ W2)
    a3 = torch.tanh(a2 @ W3)
    return (a3**2).sum(), {"a1": a1, "a2": a2, "a3": a3}


def weight_of_the_own_layer(x, W1, W2, W3, a1, a2, a3):
    W, a = {"W1": W1, "W2": W2, "W3": W3}, {"a0": x, "a1": a1, "a2": a2, "a3": a3}
    grads, da = {}, 2 * a3
    for k in (3, 2, 1):
        dz = da * (1 - a["a" + str(k)] ** 2)
        grads["W" + str(k)] = a["a" + str(k - 1)].T @ dz
        if k > 1:
            da = dz @ W["W" + str(k - 1)].T
    return grads


def gate(x, W):
    z = x @ W
    a = torch.sigmoid(z)
    return (a**2).sum(), {"z": z, "a": a}


def dot_for_star(x, W, z, a):
    x, W, a = x.numpy(), W.numpy(), a.numpy()
    dz = (2 * a).dot(a * (1 - a))
    return {"a": 2 * a, "z": dz, "W": x.T.dot(dz)}


def summed_up(x, c):
    s = torch.cumsum(x, dim=1)
    return (s * c).sum(), {"s": s}


def summed_from_the_same_end(x, c):
    return {"s": c, "x": torch.cumsum(c, dim=1)}


def weighted(x, W, weights):
    labels = torch.tensor([0, 2, 1, 0, 1, 2])
    z = x @ W
    return -(weights[labels] * torch.log_softmax(z, 1)[torch.arange(6), labels]).sum(), {"z": z}


def weights_of_classes_forgotten(x, W, weights, z):
    labels = torch.tensor([0, 2, 1, 0, 1, 2])
    dz = torch.softmax(z, 1) - F.one_hot(labels, 3)
    return {"z": dz, "W": x.T @ dz}


def hinge(x, W):
    labels, rows = torch.tensor([0, 2, 1, 0, 1, 2]), torch.arange(6)
    s = x @ W
    margins = torch.relu(s - s[rows, labels][:, None] + 1)
    return (margins * (1 - F.one_hot(labels, 3).double())).sum() / 6, {}


def right_class_forgotten(x, W):
    x, W, y = x.numpy(), W.numpy(), [0, 2, 1, 0, 1, 2]
    dW = np.zeros_like(W)
    for i in range(len(x)):
        s = x[i] @ W
        for j in range(3):
            if j == y[i]:
                continue
            if s[j] - s[y[i]] + 1 > 0:
                dW[:, j] += x[i]
    return {"W": dW / len(x)}


def minus_one_for_the_right_class(x, W):
    labels, rows = torch.tensor([0, 2, 1, 0, 1, 2]), torch.arange(6)
    s = x @ W
    ds = (s - s[rows, labels][:, None] + 1 > 0).double() / 6
    ds[rows, labels] = -1 / 6
    return {"W": x.T @ ds}


def contrast(a, b):
    s = a @ b.T / TEMPERATURE
    return -s.log_softmax(1).diagonal().mean(), {"s": s}


def divided_again_below_the_line(a, b, s):
    n = len(s)
    ds = (torch.softmax(s, 1) - torch.eye(n, dtype=s.dtype)) / n
    return {"s": ds, "a": ds @ b / (TEMPERATURE * n), "b": ds.T @ a / (TEMPERATURE * n)}


def gated(x, V, W):
    g, u = x @ V, x @ W
    h = F.silu(g) * u
    return (h**2).sum(), {"g": g, "u": u, "h": h}


def slope_of_a_gate_without_a_name(x, V, W, g, u, h):
    dh = 2 * h
    dg, du = dh * u, dh * F.silu(g)
    return {"h": dh, "u": du, "g": dg, "V": x.T @ dg, "W": x.T @ du}


def pooled(x):
    p = F.avg_pool2d(x, 2)
    return (p**3).sum(), {"p": p}


def window_not_counted(x, p):
    dp = 3 * p**2
    return {"p": dp, "x": dp.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)}


def hard(x):
    h = x * F.relu6(x + 3) / 6
    return h.sum(), {"h": h}


def slope_from_zero_on(x, h):
    inner = (x > 0) & (x < 3)
    dx = torch.zeros_like(x)
    dx[inner] = (2 * x[inner] + 3) / 6
    dx[x >= 3] = 1.0
    return {"x": dx}


def cautious(gradient):
    return F.hardtanh(gradient)


def clipped_by_a_function_of_its_own(x, W, y, p):
    dp = cautious(2 * (p - y) / p.numel() * 4)
    return {"p": dp / 4, "W": x.T @ dp / 4}


EPS = 1e-3


def standard(x, c):
    n = (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + EPS)
    return (n * c).sum(), {"n": n}


def no_epsilon(x, c, n):
    s = x.std(0, correction=0)
    return {"n": c, "x": (c - c.mean(0) - n * (c * n).mean(0)) / s}


def stepped(x, h0, W):
    h, every = h0, []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] + h @ W)
        every.append(h)
    H = torch.stack(every, 1)
    return (H**2).sum(), {"H": H}


def state_after_the_step(x, h0, W, H):
    dW, dx, carry = torch.zeros_like(W), torch.zeros_like(x), torch.zeros_like(h0)
    for t in range(x.shape[1] - 1, -1, -1):
        da = (2 * H[:, t] + carry) * (1 - H[:, t] ** 2)
        dx[:, t] = da
        dW += H[:, t].T @ da
        carry = da @ W.T
    return {"x": dx, "h0": carry, "W": dW}


def lifted(x, W, b):
    y = x @ W + b
    return (y**2).sum(), {"y": y}


def summed_over_one_of_two_axes(x, y):
    dy = 2 * y
    return {"y": dy, "b": dy.sum(0), "W": torch.einsum("ntd,ntk->dk", x, dy)}


def logistic(x, deriv=False):
    s = 1 / (1 + np.exp(-x))
    if deriv:
        return s * (1 - s)
    return s


def slope_of_the_output(x, W, z, a):
    x, a = x.numpy(), a.numpy()
    dz = 2 * a * logistic(a, deriv=True)
    return {"a": 2 * a, "z": dz, "W": x.T @ dz}


def packed(x, start, W):
    h, zs, gs, hs = start, [], [], []
    for t in range(3):
        g, z = torch.sigmoid(x[t] @ W), torch.tanh(x[t] @ W)
        h = g * h + z
        zs.append(z)
        gs.append(g)
        hs.append(h)
    return (h**2).sum(), {f"{n}{t}": v for n, vs in (("z", zs), ("g", gs), ("h", hs)) for t, v in enumerate(vs)}


def carried_by_the_wrong_list(start, z0, z1, z2, g0, g1, g2, h0, h1, h2):
    z, g, h = (z0, z1, z2), (g0, g1, g2), (start, h0, h1)
    grads, dh = {}, 2 * h2
    for t in (2, 1, 0):
        grads[f"h{t}"], grads[f"g{t}"] = dh, dh * h[t]
        grads[f"z{t}"] = dh
        dh = dh * z[t]
    return grads if len(g) == 3 else {}


ROWS, SCORES = drawn(x=(6, 4), W=(4, 3)), drawn(x=(6, 4), W=(4, 3), weights=(3,))
MISTAKES = {  # forward, backward, inputs, the step, its cause, and what the repair holds
    "a mean over rows alone": (mse, mean_over_rows, drawn(x=(5, 3), W=(3, 4), y=(5, 4)), "p", "wrong_count", "p"),
    "a decay that has no name": (
        ridge,
        penalty_forgotten,
        drawn(x=(7, 4), w=(4,), y=(7,)),
        "w",
        "missing_l2",
        "0.7 / ",
    ),
    "a dot product": (gate, dot_for_star, drawn(x=(4, 3), W=(3, 4)), "z", "elementwise_for_matmul", "*"),
    "the sum from the other end": (
        summed_up,
        summed_from_the_same_end,
        drawn(x=(4, 6), c=(4, 6)),
        "x",
        "wrong_index",
        "flip",
    ),
    "weights of classes": (weighted, weights_of_classes_forgotten, SCORES, "z", "missing_factor", "weights["),
    "what a difference takes off": (hinge, right_class_forgotten, ROWS, "W", "missing_path", "dW[:, y[i]] -= x[i]"),
    "a mean below the line": (contrast, divided_again_below_the_line, drawn(a=(5, 3), b=(5, 3)), "a", "mean_twice", ""),
    "a slope without a name": (
        gated,
        slope_of_a_gate_without_a_name,
        drawn(x=(5, 3), V=(3, 4), W=(3, 4)),
        "g",
        "missing_activation_derivative",
        "sigmoid(g)",
    ),
    "a window": (pooled, window_not_counted, drawn(x=(2, 2, 4, 6)), "x", "missing_mean", "/ "),
    "the other bound": (hard, slope_from_zero_on, lambda seed: {"x": 3 * ROWS(seed)["x"]}, "x", "wrong_mask", "x > -3"),
    "no epsilon": (standard, no_epsilon, drawn(x=(6, 4), c=(6, 4)), "x", "wrong_epsilon", "EPS"),
    "the state after the step": (
        stepped,
        state_after_the_step,
        drawn(x=(3, 4, 2), h0=(3, 2), W=(2, 2)),
        "W",
        "wrong_index",
        "H[:, t - 1] if t > 0 else h0",
    ),
    "a bias summed over one axis of two": (
        lifted,
        summed_over_one_of_two_axes,
        drawn(x=(3, 4, 2), W=(2, 5), b=(5,)),
        "b",
        "bias_not_reduced",
        "(0, 1)",
    ),
    "the slope of the output": (gate, slope_of_the_output, ROWS, "z", "derivative_at_wrong_place", ""),
    "another list": (
        packed,
        carried_by_the_wrong_list,
        drawn(x=(3, 2, 4), start=(2, 4), W=(4, 4)),
        "h1",
        "wrong_operand",
        "g[t]",
    ),
    "a function that clips": (
        mse,
        clipped_by_a_function_of_its_own,
        drawn(x=(5, 3), W=(3, 4), y=(5, 4)),
        "p",
        "clipped",
        "dp = ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_and_mended(mistake):
    assert_told(MISTAKES[mistake])


def test_a_size_that_is_a_number_here_is_not_told_as_a_number():
    _, _, repair = told(mse, mean_over_rows, drawn(x=(5, 3), W=(3, 4), y=(5, 4)))
    assert not any(number in repair for number in ("0.5", "/ 4"))


def test_a_penalty_of_one_entry_too_many_is_told_by_its_size():
    row = explained(ridge_but_for_the_first, every_weight_penalised, drawn(x=(7, 4), w=(4,), y=(7,)))["w"]
    assert row.cause == "wrong_l2"
    assert "0.7 / len(" in row.repair + row.explanation


def test_one_repair_is_told_for_every_round_of_a_loop():
    report = explained(deep, weight_of_the_own_layer, drawn(x=(5, 3), W1=(3, 3), W2=(3, 3), W3=(3, 3)))
    assert [report[n].cause for n in ("W2", "W1")] == ["wrong_layer"] * 2
    assert sum(bool(row.repair) for row in report.rows) == 1


def test_two_values_are_no_clip():
    assert explained(hinge, minus_one_for_the_right_class, ROWS)["W"].cause != "clipped"
