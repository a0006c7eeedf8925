"""Other conventions: 1/m only in the parameters, columns as samples, a part of the quantities, L2 in the cost."""

from __future__ import annotations

import numpy as np
import torch

from compare.check.inputs import constant, real
from tests.derivations import control
from tests.derivations.controls_nets import CLASSES, LOGISTIC, NET, REGRESSION, classes, logistic, regression


@control(logistic, LOGISTIC)
def batch_mean_in_the_parameters(x, y, a2, W3, z3):
    m = len(x)
    dZ3 = torch.sigmoid(z3) - y
    dZ2 = (dZ3 @ W3) * a2 * (1 - a2)
    return {
        "z3": dZ3,
        "z2": dZ2,
        "W3": dZ3.T @ a2 / m,
        "b3": dZ3.sum(0) / m,
        "W2": dZ2.T @ x / m,
        "b2": dZ2.mean(0),
    }


@control(logistic, LOGISTIC)
def columns_of_the_lecture(x, y, a2, W3, z3):
    """Samples as columns throughout; 1/m where the lecture averages, transposed back at the end."""
    X, Y, A2, Z3 = x.T, y.T, a2.T, z3.T
    m = X.shape[1]
    delta3 = 1 / (1 + torch.exp(-Z3)) - Y
    delta2 = (W3.T @ delta3) * A2 * (1 - A2)
    return {
        "z3": delta3.T,
        "z2": delta2.T,
        "W3": delta3 @ A2.T / m,
        "b3": delta3.sum(1) / m,
        "W2": delta2 @ X.T / m,
        "b2": delta2.sum(1) / m,
    }


@control(classes, CLASSES)
def per_sample_gradients_then_mean(x, y, a2, W3, z3):
    dz3 = torch.softmax(z3, 1) - y
    dz2 = (dz3 @ W3) * (1 - a2 * a2)
    return {
        "z3": dz3,
        "z2": dz2,
        "W3": torch.einsum("mk,mh->mkh", dz3, a2).mean(0),
        "b3": dz3.mean(0),
        "W2": torch.vmap(torch.outer)(dz2, x).mean(0),
        "b2": dz2.mean(0),
    }


def mean_square(x, y, W2, b2, W3, b3):
    """As torch's mse_loss: the mean over samples and outputs."""
    z2 = x @ W2.T + b2
    z3 = torch.tanh(z2) @ W3.T + b3
    return ((z3 - y) ** 2).mean(), {"z2": z2, "z3": z3}


@control(mean_square, REGRESSION)
def mean_over_all_entries_in_the_parameters(x, y, z2, W3, z3):
    a2 = torch.tanh(z2)
    dz3 = 2 * (z3 - y)
    dz2 = (dz3 @ W3) * (1 - a2**2)
    n = y.numel()
    return {"z3": dz3, "z2": dz2, "W3": dz3.T @ a2 / n, "b3": dz3.sum(0) / n, "W2": dz2.T @ x / n}


@control(mean_square, REGRESSION)
def two_undone_later(x, y, z2, W3, z3):
    """The 2 of the square left out of the deltas and put back with 1/(mk)."""
    e3 = z3 - y
    e2 = (e3 @ W3) / torch.cosh(z2) ** 2
    scale = 2 / y.numel()
    return {
        "z3": e3,
        "z2": e2,
        "W3": scale * (e3.T @ torch.tanh(z2)),
        "W2": scale * (e2.T @ x),
        "b2": scale * e2.sum(0),
    }


@control(regression, REGRESSION)
def minus_error_subtracted_later(x, y, a2, W3, z3):
    error = y - z3
    hidden = error @ W3 * (1 - a2**2)
    m = x.shape[0]
    return {"z3": error, "z2": hidden, "W3": -error.T @ a2 / m, "b3": -error.mean(0), "W2": hidden.T @ -x / m}


@control(regression, REGRESSION)
def only_the_output_delta_is_scaled(x, y, a2, W3, z3):
    m = len(x)
    e = z3 - y
    dz2 = (e @ W3 / m) * (1 - a2) * (1 + a2)
    return {"z3": e, "W3": e.T @ a2 / m, "b3": e.mean(0), "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0)}


@control(regression, REGRESSION)
def hidden_delta_doubled(x, y, a2, W3, z3):
    dz3 = (z3 - y) / len(x)
    twice = 2 * (dz3 @ W3) * (1 - a2**2)
    return {"z3": dz3, "z2": twice, "W2": twice.T @ x / 2, "b2": twice.sum(0) * 0.5}


@control(classes, CLASSES)
def numpy_course_notes(x, y, a2, W3, z3):
    m = x.shape[0]
    t = np.exp(z3.numpy() - z3.numpy().max(1, keepdims=True))
    dZ = t / t.sum(1, keepdims=True) - y.numpy()
    return {"z3": dZ, "W3": 1.0 / m * dZ.T.dot(a2.numpy()), "b3": 1.0 / m * np.sum(dZ.T, axis=1)}


# A part of the quantities


@control(logistic, LOGISTIC)
def only_the_weights(x, y, a2, W3, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    return {"W3": d3.T @ a2, "W2": ((d3 @ W3) * a2 * (1 - a2)).T @ x}


@control(logistic, LOGISTIC)
def only_the_deltas(x, y, a2, W3, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    return {"z3": d3, "z2": (d3 @ W3) * a2 * (1 - a2)}


@control(logistic, LOGISTIC)
def only_the_input(x, y, W2, a2, W3, z3):
    return {"x": (((torch.sigmoid(z3) - y) / len(x)) @ W3 * a2 * (1 - a2)) @ W2}


@control(logistic, LOGISTIC)
def only_the_last_bias(y, z3):
    return {"b3": (torch.sigmoid(z3) - y).mean(0)}


@control(logistic, LOGISTIC)
def the_targets_too(x, y, z3):
    return {"y": -z3 / len(x), "z3": (torch.sigmoid(z3) - y) / len(x)}


@control(regression, REGRESSION)
def from_the_inputs_alone(x, y, W2, b2, W3, b3):
    a = torch.tanh(torch.addmm(b2, x, W2.T))
    d3 = (torch.addmm(b3, a, W3.T) - y) / len(x)
    d2 = (d3 @ W3).mul_(1 - a.square())
    return {"W2": d2.T @ x, "b2": d2.sum(0), "W3": d3.T @ a, "b3": d3.sum(0), "x": d2 @ W2}


@control(regression, REGRESSION)
def everything_by_keyword(**t):
    d3 = (t["z3"] - t["y"]) / t["x"].shape[0]
    da = d3 @ t["W3"]
    d2 = da * (1 - t["a2"] ** 2)
    return {"z3": d3, "a2": da, "z2": d2, "W2": d2.T @ t["x"], "x": d2 @ t["W2"], "y": -d3}


def decayed(x, y, W2, b2, W3, b3, l2):
    J, named = regression(x, y, W2, b2, W3, b3)
    return J + l2 / 2 * (W2.square().sum() + (W3 * W3).sum()), named


@control(decayed, {**NET, "y": real("m", "k"), "l2": constant(0.01)})
def l2_added_at_the_end(x, y, a2, W2, W3, z3, l2):
    d3 = (z3 - y) / len(x)
    d2 = d3 @ W3 * (1 - a2**2)
    grads = {"W3": d3.T @ a2, "b3": d3.sum(0), "W2": d2.T @ x, "b2": d2.sum(0)}
    for name, W in (("W2", W2), ("W3", W3)):
        grads[name].add_(W, alpha=l2)
    return grads


@control(decayed, {**NET, "y": real("m", "k"), "l2": constant(0.5)})
def l2_as_an_initial_value(x, y, a2, W2, W3, z3, l2):
    d3 = (z3 - y) / len(x)
    d2 = d3 @ W3 * (1 - a2**2)
    return {"W3": torch.addmm(W3, d3.T, a2, beta=l2), "W2": torch.addmm(W2, d2.T, x, beta=l2)}
