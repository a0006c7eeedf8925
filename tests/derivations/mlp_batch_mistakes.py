"""Perceptrons gone wrong in sums: the batch, biases, the penalty, updates, accumulation, precision, rare cases.

The causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import numpy as np
import torch

from tests.derivations import wrong
from tests.derivations.mlp import YES_NO, sigmoid_net
from tests.derivations.mlp_styles import COLUMNS, column_forward


@wrong(sigmoid_net, YES_NO, steps=("z3",), cause="missing_mean")
def no_mean_at_all(x, W2, W3, y, a2, z3):
    d3 = torch.sigmoid(z3) - y
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0), "x": d2 @ W2}


@wrong(sigmoid_net, YES_NO, steps=("W3", "W2"), cause="mean_twice", source="Coursera: both conventions for 1/m at once")
def mean_in_delta_and_in_weights(x, W3, y, a2, z3):
    m = len(x)
    d3 = (torch.sigmoid(z3) - y) / m
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {
        "z3": d3,
        "W3": d3.T @ a2 / m,
        "b3": d3.sum(0),
        "z2": d2,
        "W2": d2.T @ x / m,
        "b2": d2.sum(0),
    }


@wrong(sigmoid_net, YES_NO, steps=("b3", "b2"), cause="mean_twice")
def bias_averaged_over_samples(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.mean(0), "z2": d2, "W2": d2.T @ x, "b2": d2.mean(0)}


@wrong(sigmoid_net, YES_NO, steps=("z3",), cause="wrong_count")
def averaged_over_every_entry(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / z3.numel()
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(column_forward, COLUMNS, steps=("Z3",), cause="wrong_count")
def rows_counted_in_columns(X, W3, Y, A2, Z3):
    """Samples are columns here, and len() counts rows."""
    m = len(Y)
    dZ3 = (torch.sigmoid(Z3) - Y) / m
    dZ2 = W3.T @ dZ3 * A2 * (1 - A2)
    return {
        "Z3": dZ3,
        "W3": dZ3 @ A2.T,
        "b3": dZ3.sum(1, keepdim=True),
        "Z2": dZ2,
        "W2": dZ2 @ X.T,
        "b2": dZ2.sum(1, keepdim=True),
    }


@wrong(column_forward, COLUMNS, steps=("b3", "b2"), cause="wrong_axis")
def bias_summed_to_a_number(X, W3, Y, A2, Z3):
    """np.sum without an axis: one number, broadcast over all units."""
    X, W3, Y, A2, Z3 = X.numpy(), W3.numpy(), Y.numpy(), A2.numpy(), Z3.numpy()
    dZ3 = (1 / (1 + np.exp(-Z3)) - Y) / X.shape[1]
    dZ2 = np.dot(W3.T, dZ3) * A2 * (1 - A2)
    db3 = np.full((len(W3), 1), np.sum(dZ3))
    db2 = np.full((len(A2), 1), np.sum(dZ2))
    return {"Z3": dZ3, "W3": dZ3 @ A2.T, "b3": db3, "Z2": dZ2, "W2": dZ2 @ X.T, "b2": db2}


@wrong(column_forward, COLUMNS, steps=("b3", "b2"), cause="bias_not_reduced")
def bias_is_the_delta(X, W3, Y, A2, Z3):
    m = X.shape[1]
    dZ3 = (torch.sigmoid(Z3) - Y) / m
    dZ2 = W3.T @ dZ3 * A2 * (1 - A2)
    return {"Z3": dZ3, "W3": dZ3 @ A2.T, "b3": dZ3, "Z2": dZ2, "W2": dZ2 @ X.T, "b2": dZ2}


@wrong(sigmoid_net, YES_NO, steps=("b2",), cause="bias_not_reduced")
def hidden_bias_not_reduced(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2}


@wrong(sigmoid_net, YES_NO, steps=("b3", "b2"), cause="wrong_axis")
def bias_summed_over_units(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(1), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(1)}


def equal_sizes(seed):
    """As many samples as units, so that a sum over the wrong axis has the right shape."""
    g = torch.Generator().manual_seed(seed)
    sizes = {"x": (4, 4), "W2": (4, 4), "b2": (4,), "W3": (4, 4), "b3": (4,), "y": (4, 4)}
    drawn = {n: torch.randn(s, generator=g, dtype=torch.float64) for n, s in sizes.items()}
    return {**drawn, "y": (drawn["y"] > 0).double()}


@wrong(sigmoid_net, equal_sizes, steps=("b2",), cause="wrong_axis", options={"tensors": True})
def bias_over_units_of_a_square_batch(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(1)}


@wrong(sigmoid_net, equal_sizes, steps=("W3",), cause="missing_transpose", options={"tensors": True})
def no_transpose_in_a_square_batch(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3 @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(sigmoid_net, equal_sizes, steps=("a2",), cause="elementwise_for_matmul", options={"tensors": True})
def elementwise_product_with_the_weight(x, W3, y, a2, z3):
    """Equation (4) of the lecture read as printed."""
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = d3 * W3
    d2 = da2 * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(sigmoid_net, equal_sizes, steps=("z2",), cause="elementwise_for_matmul", options={"tensors": True})
def matrix_product_with_the_slope(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 @ (a2 * (1 - a2))
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}
