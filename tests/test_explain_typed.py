"""Mistakes of the hand that types: another name, index or key than the one that was meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.test_explain_forms import drawn
from tests.told import assert_told


def normed(x, gamma, c):
    mu = x.mean(0)
    xhat = (x - mu) / torch.sqrt(((x - mu) ** 2).mean(0) + 1e-5)
    return (gamma * xhat * c).sum(), {"xhat": xhat}


def a_row_for_the_whole(x, gamma, c, xhat):
    m = len(c)
    std = torch.sqrt(x.var(0, correction=0) + 1e-5)
    dgamma = (c * xhat).sum(0)
    return {"gamma": dgamma, "x": gamma / std / m * (m * gamma - c.sum(0) - xhat * dgamma)}


def no_epsilon(x, gamma, c, xhat):
    m = len(c)
    std = torch.sqrt(x.var(0, correction=0))
    dgamma = (c * xhat).sum(0)
    return {"gamma": dgamma, "x": gamma / std / m * (m * c - c.sum(0) - xhat * dgamma)}


def power(x, p, y):
    a = x**p
    return ((a - y) ** 2).sum(), {"a": a}


def the_result_for_the_exponent(x, p, y, a):
    da = 2 * (a - y)
    return {"a": da, "x": da * p * x ** (a - 1)}


def the_exponent_for_the_base(x, p, y, a):
    da = 2 * (a - y)
    return {"a": da, "p": (da * a * torch.log(p)).sum(0)}


def net(x, W, V, y):
    z = x @ W
    a = torch.tanh(z)
    p = a @ V
    return ((p - y) ** 2).sum() / len(x), {"z": z, "a": a, "p": p}


def divided_by_an_array(x, W, V, y, z, a, p):
    n = len(x)
    dp = 2 * (p - y)
    dp /= p
    return {"p": dp, "V": a.T @ dp / n * n}


def stored_under_another_name(x, W, V, y, z, a, p):
    dp, da, dz = torch.zeros_like(p), torch.zeros_like(a), torch.zeros_like(z)
    for i in range(len(x)):
        dp[i] = 2 * (p[i] - y[i]) / len(x)
        dz[i] = V @ dp[i]
        dz[i] = da[i] * (1 - a[i] ** 2)
    return {"p": dp, "a": da, "z": dz}


def minus_twice(x, W, V, y, z, a, p):
    dp = 2 * (p - y) / len(x)
    for _ in range(1):
        da = -(dp @ V.T)
    return {"p": dp, "a": da}


def the_size_of_another(x, W, V, y, z, a, p):
    dp = 2 * (p - y) / len(V)
    return {"p": dp, "V": a.T @ dp}


def looked_up(E, c):
    e = E[torch.tensor([[0, 2, 1], [3, 1, 1]])]
    return (e.mean(1) * c).sum(), {"e": e}


def one_index_twice(E, c, e):
    de = torch.zeros_like(e)
    m, n = e.shape[:2]
    for i in range(m):
        for j in range(n):  # noqa: B007  it is the mistake
            de[i, i] = c[i] / n
    return {"e": de}


def highest(x, W):
    p = F.max_pool2d(x, 2)
    return (p.flatten(1) @ W).pow(2).sum(), {"p": p}


def nothing_handed_on(x, W, p):
    ds = 2 * p.flatten(1) @ W
    dp = (ds @ W.T).reshape(p.shape)
    dx = torch.zeros_like(x)
    for n in range(len(x)):
        for c in range(x.shape[1]):
            for i in range(p.shape[2]):
                for j in range(p.shape[3]):
                    window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                    dx[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += (window == window.max()).to(x.dtype)
    return {"p": dp, "x": dx}


def spread(x, c):
    mean = x.mean(0, keepdim=True)
    square = (x - mean) ** 2
    var = square.sum(0, keepdim=True) / (len(x) - 1)
    return (c * var).sum(), {"square": square, "var": var}


def by_n(x, c, square, var):
    n = x.shape[0]
    dvar = c
    dsquare = (1.0 / n) * torch.ones_like(square) * dvar
    return {"var": dvar, "square": dsquare}


def summed_up(h):
    graph = torch.tensor([0, 1, 1, 0, 1, 2])
    pooled = torch.zeros(3, h.shape[1], dtype=h.dtype).index_add(0, graph, h)
    return (pooled**2).sum(), {"pooled": pooled}


def mean_for_a_sum(h, pooled):
    graph = torch.tensor([0, 1, 1, 0, 1, 2])
    sizes = torch.bincount(graph)
    return {"pooled": 2 * pooled, "h": (2 * pooled)[graph] / sizes[graph].unsqueeze(1)}


def transposed_entries(A):
    dA = torch.zeros_like(A)
    path = [0, 1, 1, 2, 0]
    for t in range(1, 5):
        dA[path[t], path[t - 1]] -= 1
    return {"A": dA}


def walked(A):
    path = [0, 1, 1, 2, 0]
    return -sum(A[path[t - 1], path[t]] for t in range(1, 5)), {}


def grouped(x, c):
    g = x.reshape(len(x), 2, -1)
    return ((g.mean(2) ** 2) * c).sum(), {"g": g}


def counted_along_one_axis(x, c, g):
    m = x.shape[2]
    return {"g": (2 * g.mean(2) * c / m)[:, :, None].expand_as(g)}


def recurrent(x, h0, W):
    h1 = torch.tanh(x[0] + h0 @ W)
    h2 = torch.tanh(x[1] + h1 @ W)
    return (h2**2).sum(), {"h1": h1, "h2": h2}


def as_numpy(x, h0, W, h1, h2):
    x, h0, W, h1, h2 = (each.numpy() for each in (x, h0, W, h1, h2))
    dW, dh = np.zeros_like(W), 2 * h2
    given = {"h2": torch.from_numpy(dh)}
    for h, before in ((h2, h1), (h1, h0)):
        dz = dh * (1 - np.square(h))
        dW += np.dot(before.T, dz)
        dh = np.dot(dz, W)
        given["h1" if h is h2 else "h0"] = torch.from_numpy(dh)
    return given | {"W": torch.from_numpy(dW)}


def towers(x1, x2, W):
    e1, e2 = x1 @ W, x2 @ W
    return ((e1 - e2) ** 2).sum(), {"e1": e1, "e2": e2}


def the_other_tower(x1, x2, W, e1, e2):
    de1 = 2 * (e1 - e2)
    return dict(e1=de1, e2=-de1, W=x1.T @ de1 + x1.T @ -de1)  # noqa: C408  as people write it


def perceptron(x, w, y):
    s = x @ w
    return torch.relu(-y * s).sum(), {"s": s}


def without_the_label(x, w, y, s):
    x, y, s = x.numpy(), y.numpy(), s.numpy()
    ds = np.zeros(len(x))
    for i in range(len(x)):
        if s[i] < 0:
            ds[i] = -y[i]
    return {"s": torch.from_numpy(ds), "w": torch.from_numpy(x.T @ ds)}


def likelihood(r, sigma):
    return (torch.log(sigma) + 0.5 * (r / sigma) ** 2).sum(), {}


def squared_for_cubed(r, sigma):
    return {"sigma": 1 / sigma - r.pow(2) / sigma.pow(2)}


def transitions(A, c):
    return (A * c).sum() - A[torch.tensor([0, 1, 1]), torch.tensor([1, 2, 2])].sum(), {}


def repeated_ones_count_once(A, c):
    dA = c.numpy().copy()
    dA[np.array([0, 1, 1]), np.array([1, 2, 2])] -= 1
    return {"A": torch.from_numpy(dA)}


def patches(img, W):
    p = img.reshape(len(img), 3, 2, 2, 2, 3).permute(0, 2, 4, 1, 3, 5).reshape(len(img), 4, 18)
    return ((p @ W) ** 2).sum(), {"p": p}


def put_together_in_another_order(img, W, p):
    dp = 2 * (p @ W) @ W.T
    return {"p": dp, "img": dp.reshape(len(img), 2, 2, 3, 2, 3).reshape(img.shape)}


WEIGHTS = torch.tensor([0.5, 2.0, 1.2])


def weighted(x, W):
    labels = torch.tensor([0, 2, 1, 0, 1, 2])
    z, w = x @ W, WEIGHTS[labels].to(x.dtype)
    return (w * F.cross_entropy(z, labels, reduction="none")).sum() / w.sum(), {"z": z}


def divided_by_how_many(x, W, z):
    labels = torch.tensor([0, 2, 1, 0, 1, 2])
    w = WEIGHTS[labels].to(x.dtype)
    return {"z": (torch.softmax(z, 1) - F.one_hot(labels, 3)) * w[:, None] / len(w)}


def gathered(h):
    to = torch.tensor([0, 2, 2, 1, 0, 2])
    m = torch.tanh(h)
    count = torch.bincount(to, minlength=3).to(h.dtype)
    mean = torch.zeros(3, h.shape[1], dtype=h.dtype).index_add(0, to, m) / count[:, None]
    return (mean**2).sum(), {"m": m, "count": count, "mean": mean}


def mean_of_neighbours_forgotten(h, m, count, mean):
    to = torch.tensor([0, 2, 2, 1, 0, 2])
    dmean = 2 * mean
    return {"mean": dmean, "m": dmean[to]}


def cumulative(c):
    p = torch.cat([torch.zeros(len(c), 1, dtype=c.dtype), c, torch.ones(len(c), 1, dtype=c.dtype)], 1)
    rows, y = torch.arange(5), torch.tensor([0, 1, 3, 2, 0])
    return ((p[rows, y + 1] - p[rows, y]) ** 2).sum(), {}


def the_last_for_none(c):
    labels, (m, K) = [0, 1, 3, 2, 0], c.shape
    dc = torch.zeros_like(c)
    for i in range(m):
        k = labels[i]
        upper, lower = c[i, k] if k < K else 1.0, c[i, k - 1] if k > 0 else 0.0
        if k < K:
            dc[i, k] += 2 * (upper - lower)
        dc[i, k - 1] -= 2 * (upper - lower)
    return {"c": dc}


def cells(a, o):
    c = a
    for _ in range(3):
        c = c + 0.5 * torch.sin(c)
    return (o * torch.tanh(c)).sum(), {"c": c}


def fed_with_the_cell(a, o, c):
    for _ in range(1):
        dc = o * (1 - torch.pow(c, 2))
    return {"c": dc}


NORMED, POWER = drawn(x=(6, 4), gamma=(4,), c=(6, 4)), lambda seed: {"p": P(seed)["p"].abs(), **rest(seed)}
P = drawn(p=(3,))
NET = drawn(x=(5, 3), W=(3, 4), V=(4, 2), y=(5, 2))


def rest(seed):
    return {name: value.abs() + 0.5 for name, value in drawn(x=(5, 3), y=(5, 3))(seed).items()}


MISTAKES = {  # forward, backward, inputs, the step, its cause, and what the repair holds
    "a row for the whole": (normed, a_row_for_the_whole, NORMED, "x", "wrong_operand", "m * c"),
    "an epsilon that is a number": (normed, no_epsilon, NORMED, "x", "wrong_epsilon", "1e-05"),
    "the result for the exponent": (power, the_result_for_the_exponent, POWER, "x", "wrong_operand", "x ** (p - 1)"),
    "the exponent for the base": (power, the_exponent_for_the_base, POWER, "p", "wrong_operand", "torch.log(x)"),
    "an array for a size": (net, divided_by_an_array, NET, "p", "wrong_count", "dp /= n"),
    "another name": (net, stored_under_another_name, NET, "a", "wrong_operand", "da[i] = V @ dp[i]"),
    "a minus in a loop": (net, minus_twice, NET, "a", "sign", "da = dp @ V.T"),
    "the size of another": (net, the_size_of_another, NET, "p", "wrong_count", "/ len(x)"),
    "an index twice": (looked_up, one_index_twice, drawn(E=(4, 5), c=(2, 5)), "e", "wrong_index", "de[i, j]"),
    "an entry at the indices of loops": (
        highest,
        nothing_handed_on,
        drawn(x=(2, 3, 4, 6), W=(18, 2)),
        "x",
        "missing_factor",
        "dp[n, c, i, j]",
    ),
    "n for n - 1": (spread, by_n, drawn(x=(6, 4), c=(1, 4)), "square", "wrong_count", "(n - 1)"),
    "another tower": (towers, the_other_tower, drawn(x1=(5, 3), x2=(5, 3), W=(3, 4)), "W", "wrong_operand", "x2.T"),
    "what is compared": (
        perceptron,
        without_the_label,
        lambda seed: {**drawn(x=(7, 3), w=(3,))(seed), "y": torch.tensor([1.0, -1, -1, 1, -1, 1, 1])},
        "s",
        "wrong_mask",
        "y",
    ),
    "an exponent of pow": (
        likelihood,
        squared_for_cubed,
        lambda seed: {"r": drawn(r=(6,))(seed)["r"], "sigma": drawn(s=(6,))(seed)["s"].abs() + 0.5},
        "sigma",
        "wrong_activation_derivative",
        "sigma.pow(3)",
    ),
    "ones taken off at indices that repeat": (
        transitions,
        repeated_ones_count_once,
        drawn(A=(3, 3), c=(3, 3)),
        "A",
        "overwritten",
        "np.add.at(dA",
    ),
    "another order of axes": (
        patches,
        put_together_in_another_order,
        drawn(img=(2, 3, 4, 6), W=(18, 3)),
        "img",
        "missing_transpose",
        "",
    ),
    "a sum of weights": (weighted, divided_by_how_many, drawn(x=(6, 4), W=(4, 3)), "z", "wrong_count", "w.sum()"),
    "how many neighbours": (gathered, mean_of_neighbours_forgotten, drawn(h=(6, 4)), "m", "missing_mean", "count["),
    "the last entry for none": (
        cumulative,
        the_last_for_none,
        drawn(c=(5, 3)),
        "c",
        "wrong_index",
        "if k >= 1: dc[i, k - 1] -= 2 * (upper - lower)",
    ),
    "a formula in the value": (
        cells,
        fed_with_the_cell,
        drawn(a=(5, 3), o=(5, 3)),
        "c",
        "derivative_at_wrong_place",
        "1 - torch.tanh(c) ** 2",
    ),
    "a mean for a sum over some": (summed_up, mean_for_a_sum, drawn(h=(6, 4)), "h", "mean_twice", "[graph]"),
    "two indices exchanged": (
        walked,
        transposed_entries,
        drawn(A=(3, 3)),
        "A",
        "wrong_index",
        "dA[path[t - 1], path[t]]",
    ),
    "a count of one axis": (
        grouped,
        counted_along_one_axis,
        drawn(x=(3, 6, 4), c=(3, 2)),
        "g",
        "wrong_count",
        "g.shape[2]",
    ),
    "arrays of NumPy": (
        recurrent,
        as_numpy,
        drawn(x=(2, 5, 4), h0=(5, 4), W=(4, 4)),
        "h1",
        "missing_transpose",
        "W.T",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_was_typed_wrong_is_named_and_mended(mistake):
    assert_told(MISTAKES[mistake])
