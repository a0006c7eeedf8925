"""Mistakes whose repair has a form of its own: in NumPy, of counts and epsilons, with constants of the forward."""

from __future__ import annotations

import ast

import numpy as np
import pytest
import torch

from compare.explain.numpy_style import in_numpy
from compare.explain.syntax import parsed
from tests.told import explained, told

EPS, KEEP, PAD = 1e-3, 0.8, 2


def drawn(**shapes):
    def inputs(seed):
        g = torch.Generator().manual_seed(seed)
        return {n: torch.randn(*s, generator=g, dtype=torch.float64) for n, s in shapes.items()}

    return inputs


SKIP = drawn(x=(6, 4), y=(6, 4), W=(4, 4))


def skip(x, y, W):
    z = x @ W
    h = torch.relu(z) + x
    return ((h - y) ** 2).sum(), {"z": z, "h": h}


def masked_in_the_shared_array(x, y, W, z, h):
    x, y, W, z, h = (t.numpy() for t in (x, y, W, z, h))
    dh = 2 * (h - y)
    dz = dh
    dz[z <= 0] = 0
    return {"h": 2 * (h - y), "z": dz, "W": x.T @ dz, "x": dh + dz @ W.T}


SPREAD = drawn(x=(6, 4), c=(6, 4))


def standardised(x, c):
    s = (x.var(0, correction=0) + EPS).sqrt()
    n = (x - x.mean(0)) / s
    return (n * c).sum(), {"n": n}


def epsilon_behind_the_root(x, c, n):
    x, c, n = x.numpy(), c.numpy(), n.numpy()
    s = x.std(axis=0) + EPS
    return {"n": c, "x": (c - c.mean(0) - n * (c * n).mean(0)) / s}


def unbiased(x, c):
    n = (x - x.mean(0)) / x.std(0)
    return (n * c).sum(), {"n": n}


def mean_for_the_unbiased_sum(x, c, n):
    return {"n": c, "x": (c - c.mean(0) - n * (c * n).mean(0)) / x.std(0)}


def variance_that_divides_by_one_less(x, c, n):
    s = (x.var(0) + EPS).sqrt()
    return {"n": c, "x": (c - c.mean(0) - n * (c * n).mean(0)) / s}


DROPPED = drawn(x=(6, 4), c=(6, 4), r=(6, 4))


def dropout(x, c, r):
    z = torch.tanh(x)
    a = z * (r > 0) / KEEP
    return (a * a * c).sum(), {"z": z, "a": a}


def share_that_is_kept_forgotten(x, c, r, z, a):
    da = 2 * a * c
    dz = da * (r > 0)
    return {"a": da, "z": dz, "x": dz * (1 - z**2)}


POOLED = drawn(x=(3, 4, 5), c=(3,))


def pooled(x, c):
    p = x.mean((1, 2))
    return (p * p * c).sum(), {"p": p}


def one_side_of_the_average(x, c, p):
    dp = 2 * p * c
    return {"p": dp, "x": dp[:, None, None].expand_as(x) / x.shape[2]}


def penalised(x, W, y):
    z = x @ W
    return ((z - y) ** 2).sum() + 0.1 * (W**2).sum(), {"z": z}


PENALISED = drawn(x=(6, 4), W=(4, 3), y=(6, 3))


def penalty_added_again(x, W, y, z):
    dz = 2 * (z - y)
    dW = x.T @ dz
    dW += 0.2 * W
    dW += 0.2 * W
    return {"z": dz, "W": dW}


def divided_behind(x, W, y, z):
    dz = 2 * (z - y)
    dW = x.T @ dz
    dW /= len(x)
    return {"z": dz, "W": dW + 0.2 * W}


def elastic(x, W, y):
    z = x @ W
    return ((z - y) ** 2).sum() + EPS * W.abs().sum(), {"z": z}


def absolute_value_without_its_sign(x, W, y, z):
    dz = 2 * (z - y)
    return {"z": dz, "W": x.T @ dz + EPS}


PADDED = drawn(x=(3, 4), c=(3, 8))


def padded(x, c):
    p = torch.nn.functional.pad(x, (PAD, PAD))
    return (p * p * c).sum(), {"p": p}


def padding_taken_off_at_one_end(x, c, p):
    dp = 2 * p * c
    return {"p": dp, "x": dp[:, : -2 * PAD]}


IMAGES = drawn(x=(5, 3, 4), c=(3, 20))


def laid_out(x, c):
    rows = x.transpose(0, 1).reshape(3, 20)
    return (rows * rows * c).sum(), {}


def reshaped_without_exchange(x, c):
    x = x.numpy()
    rows = x.reshape(3, -1)
    return {"x": np.ascontiguousarray((2 * rows * c.numpy()).reshape(3, 5, 4).swapaxes(0, 1))}


@pytest.mark.parametrize(
    ("forward", "backward", "inputs", "cause", "repair"),
    [
        (skip, masked_in_the_shared_array, SKIP, "modified_in_place", "dz = dh.copy()"),
        (standardised, epsilon_behind_the_root, SPREAD, "wrong_epsilon", "s = (x.var(axis=0) + EPS) ** 0.5"),
        (standardised, variance_that_divides_by_one_less, SPREAD, "wrong_count", "x.var(0, correction=0)"),
        (unbiased, mean_for_the_unbiased_sum, SPREAD, "wrong_count", "(c * n).sum(0) / (len(x) - 1)"),
        (dropout, share_that_is_kept_forgotten, DROPPED, "wrong_factor", "/ KEEP"),
        (pooled, one_side_of_the_average, POOLED, "wrong_count", "x.numel() // x.shape[0]"),
        (penalised, penalty_added_again, PENALISED, "wrong_l2", "(left out)"),
        (penalised, divided_behind, PENALISED, "mean_twice", "(left out)"),
        (elastic, absolute_value_without_its_sign, PENALISED, "missing_factor", "EPS * torch.sign(W)"),
        (padded, padding_taken_off_at_one_end, PADDED, "wrong_index", "dp[:, PAD:-PAD]"),
        (laid_out, reshaped_without_exchange, IMAGES, "missing_transpose", "x.swapaxes(0, 1).reshape(3, -1)"),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else "",
)
def test_form(forward, backward, inputs, cause, repair):
    _, named, new = told(forward, backward, inputs)
    assert (named, repair in new) == (cause, True), new


def test_numpy_by_the_name_that_the_file_has_for_it():
    new = in_numpy(parsed("torch.sigmoid(z) * torch.sign(a).sum(0, keepdim=True)"), {"a", "z"}, "numpy")
    assert ast.unparse(new) == "1 / (1 + numpy.exp(-z)) * numpy.sign(a).sum(0, keepdims=True)"
    assert in_numpy(parsed("torch.sign(a)"), {"z"}).func.value.id == "torch"


def ridge(x, W, y):
    z = x @ W
    return ((z - y) ** 2).sum() / len(x) + 0.15 * (W**2).sum(), {"z": z}


def penalty_divided_with_the_data(x, W, y, z):
    x, W, y, z = (t.numpy() for t in (x, W, y, z))
    dz = 2 * (z - y)
    return {"z": dz / len(x), "W": (x.T @ dz + 0.3 * W) / len(x)}


def test_whatever_mends_a_penalty_is_a_mistake_of_the_penalty():
    assert told(ridge, penalty_divided_with_the_data, PENALISED)[:2] == ("W", "wrong_l2")


def test_an_explanation_that_fails_costs_no_verdict(monkeypatch, caplog):
    def broken(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr("compare.explain.explanation._explained", broken)
    report = explained(penalised, penalty_added_again, PENALISED)
    assert (report["W"].verdict, report["W"].cause) == ("wrong", "unknown")
    assert "please report" in report["W"].explanation
    assert "a bug" in caplog.text


def test_a_quantity_whose_name_reads_as_the_gradient_of_another():
    def forward(p, dp, c):
        s = torch.softmax(p, 1)
        return (s @ dp * c).sum(), {"s": s}

    def backward(p, dp, c, s):
        ds = c @ dp.T
        return {"s": ds, "p": s * ds, "dp": s.T @ c * c.mean()}

    shapes = drawn(p=(5, 3), dp=(3, 4), c=(5, 4))
    assert explained(forward, backward, shapes)["p"].verdict == "wrong"


def half_the_penalty(x, W, y, z):
    dz = 2 * (z - y) / len(x)
    dW = x.T @ dz + 0.15 * W
    return {"z": dz, "W": dW}


def no_penalty(x, W, y, z):
    dz = 2 * (z - y) / len(x)
    return {"z": dz, "W": x.T @ dz}


@pytest.mark.parametrize(("backward", "cause"), [(half_the_penalty, "wrong_l2"), (no_penalty, "missing_l2")])
def test_the_forward_tells_how_much_of_a_penalty_is_missing(backward, cause):
    assert told(ridge, backward, PENALISED)[:2] == ("W", cause)


def poisson(x, W, y):
    eta = x @ W
    mu = eta.exp()
    return (mu - y * eta).sum(), {"eta": eta, "mu": mu}


def difference_of_logs(x, W, y, eta, mu):
    deta = eta - y
    return {"eta": deta, "W": x.T @ deta}


def test_a_term_of_a_difference_is_an_operand_and_no_slope():
    assert told(poisson, difference_of_logs, PENALISED)[:2] == ("eta", "wrong_operand")
