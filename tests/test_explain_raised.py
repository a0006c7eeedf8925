"""Backwards that raise: an edit after which they run and are right is told, or nothing but what was raised."""

from __future__ import annotations

import linecache

import numpy as np
import pytest
import torch

from tests.test_explain_forms import drawn
from tests.told import explained


def net(x, W1, W2, y):
    z1 = x @ W1
    a1 = torch.tanh(z1)
    z2 = a1 @ W2
    return ((z2 - y) ** 2).sum() / len(x), {"z1": z1, "a1": a1, "z2": z2}


def no_transpose(x, W1, W2, y, z1, a1, z2):
    m = len(x)
    dz2 = 2 * (z2 - y) / m
    dW2 = a1.T @ dz2
    da1 = dz2 @ W2
    dz1 = da1 * (1 - a1**2)
    return {"z2": dz2, "W2": dW2, "a1": da1, "z1": dz1, "W1": x.T @ dz1}


def in_what_is_returned(x, W1, W2, y, z1, a1, z2):
    dz2 = 2 * (z2 - y) / len(x)
    dz1 = dz2 @ W2.T * (1 - a1**2)
    return {"z2": dz2, "W2": a1.T @ dz2, "z1": dz1, "W1": x @ dz1}


def numpy_dot(x, W1, W2, y, z1, a1, z2):
    x, W2, y, a1, z2 = (each.numpy() for each in (x, W2, y, a1, z2))
    grads = {}
    dz2 = 2 * (z2 - y) / x.shape[0]
    grads["z2"] = dz2
    grads["W2"] = np.dot(a1, dz2)
    dz1 = np.dot(dz2, W2.T) * (1 - np.square(a1))
    grads["W1"] = np.dot(x.T, dz1)
    return grads


def layers(x, W1, W2, y, z1, a1, z2):
    weights, before = [W1, W2], [x, a1]
    delta, grads = 2 * (z2 - y) / len(x), {}
    for k in (1, 0):
        grads["W" + str(k + 1)] = before[k].T @ delta
        if k:
            delta = (delta @ weights[k - 1].T) * (1 - a1**2)
    return grads


def slope(a, b):
    return a * (1 - b**2)


def in_a_function_of_its_own(x, W1, W2, y, z1, a1, z2):
    dz2 = 2 * (z2 - y) / len(x)
    return {"z2": dz2, "z1": slope(dz2 @ W2.T, z2)}


def beyond_the_end(x, W1, W2, y, z1, a1, z2):
    dW2 = torch.zeros_like(W2)
    dz2 = 2 * (z2 - y) / len(x)
    for i in range(len(x) + 1):
        dW2 += torch.outer(a1[i], dz2[i])
    return {"z2": dz2, "W2": dW2}


def two_mistakes(x, W1, W2, y, z1, a1, z2):
    dz2 = 2 * (z2 - y)
    return {"z2": dz2, "W2": a1.T @ dz2, "a1": dz2 @ W2}


def not_to_be_mended(x, W1, W2, y, z1, a1, z2):
    raise ValueError("to do")


NET = drawn(x=(5, 3), W1=(3, 4), W2=(4, 2), y=(5, 2))
RAISING = {  # backward, cause, what the repair holds
    "no transpose": (no_transpose, "missing_transpose", "da1 = dz2 @ W2.T"),
    "in what is returned": (in_what_is_returned, "missing_transpose", "x.T @ dz1"),
    "NumPy": (numpy_dot, "missing_transpose", "np.dot(a1.T, dz2)"),
    "another layer's weight": (layers, "wrong_layer", "weights[k].T"),
    "in a function of its own": (in_a_function_of_its_own, None, "a1"),
    "beyond the end": (beyond_the_end, "some_samples", "range(len(x))"),
}


@pytest.mark.parametrize("name", RAISING)
def test_an_edit_that_makes_it_run_and_right_is_told(name):
    backward, cause, held = RAISING[name]
    row = explained(net, backward, NET)["backward"]
    assert row.verdict == "invalid"
    assert row.explanation.startswith("raised ")
    assert row.cause == (cause or row.cause) != ""
    assert held in row.repair.partition("  ->  ")[2]


@pytest.mark.parametrize("backward", [two_mistakes, not_to_be_mended], ids=lambda each: each.__name__)
def test_what_no_edit_mends_is_told_as_it_was_raised(backward):
    row = explained(net, backward, NET, seconds=4.0)["backward"]
    assert (row.verdict, row.cause, row.repair) == ("invalid", "", "")
    assert row.explanation.startswith("raised ")


def test_a_long_backward_is_looked_at_where_it_raises():
    lines = "".join(f"    t{i} = dz * {i}\n" for i in range(800))
    source = f"def backward(x, W1, W2, y, z1, a1, z2):\n    dz = 2 * (z2 - y) / len(x)\n{lines}    dW = a1 @ dz\n"
    inside: dict = {}
    file = "<long>"
    source += '    return {"z2": dz, "W2": dW}\n'
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), inside)
    row = explained(net, inside["backward"], NET, seconds=30.0)["backward"]
    assert "dW = a1.T @ dz" in row.repair
