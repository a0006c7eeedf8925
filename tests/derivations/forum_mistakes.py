"""Mistakes that were really made and reported: perceptrons, costs, courses, textbooks, frameworks' elementwise rules.

`source` says where: a course's forum, a question site, a bug tracker. The code is written anew for the
reported mistake; the causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import numpy as np
import torch

from tests.derivations import wrong
from tests.derivations.mlp import NUMBERS, YES_NO, sigmoid_net, tanh_net
from tests.derivations.mlp_costs import LOGISTIC_COLUMNS, PLANAR, logistic_forward, planar_forward
from tests.derivations.mlp_styles import squared_output_forward

COURSERA = {"mean_in": ("X", 1), "verdict": "rescaled"}  # deltas are m times dJ/dZ, and 1/m stands in dW


@wrong(planar_forward, PLANAR, steps=("Z1",), cause="mean_twice", options=COURSERA, source="Coursera week 3")
def mean_in_the_hidden_delta_too(X, W2, Y, A1, Z2):
    X, W2, Y, A1, Z2 = (t.numpy() for t in (X, W2, Y, A1, Z2))
    m = X.shape[1]
    dZ2 = 1 / (1 + np.exp(-Z2)) - Y
    dW2 = 1 / m * np.dot(dZ2, A1.T)
    db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = 1 / m * np.dot(W2.T, dZ2) * (1 - np.power(A1, 2))
    dW1 = 1 / m * np.dot(dZ1, X.T)
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {"Z2": dZ2, "W2": dW2, "b2": db2, "Z1": dZ1, "W1": dW1, "b1": db1}


@wrong(planar_forward, PLANAR, steps=("Z1",), cause="wrong_operand", options=COURSERA, source="Coursera week 3")
def gradient_of_W2_for_W2(X, Y, A1, Z2):
    X, Y, A1, Z2 = (t.numpy() for t in (X, Y, A1, Z2))
    m = X.shape[1]
    dZ2 = 1 / (1 + np.exp(-Z2)) - Y
    dW2 = np.dot(dZ2, A1.T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dZ1 = np.dot(dW2.T, dZ2) * (1 - np.power(A1, 2))
    return {"Z2": dZ2, "W2": dW2, "b2": db2, "Z1": dZ1, "W1": np.dot(dZ1, X.T) / m}


@wrong(
    planar_forward,
    PLANAR,
    steps=("Z1",),
    cause="elementwise_for_matmul",
    options=COURSERA,
    source="Coursera week 3: np.dot tried until the shapes agreed",
)
def dot_products_until_it_runs(X, W2, Y, A1, Z2):
    X, W2, Y, A1, Z2 = (t.numpy() for t in (X, W2, Y, A1, Z2))
    m = X.shape[1]
    dZ2 = 1 / (1 + np.exp(-Z2)) - Y
    dZ1 = np.dot(np.dot(W2.T, dZ2), 1 - np.dot(A1.T, A1))
    return {"Z2": dZ2, "W2": np.dot(dZ2, A1.T) / m, "Z1": dZ1, "W1": np.dot(dZ1, X.T) / m}


@wrong(planar_forward, PLANAR, steps=("b2", "b1"), cause="missing_mean", options=COURSERA, source="Coursera")
def mean_forgotten_in_the_biases(X, W2, Y, A1, Z2):
    m = X.shape[1]
    dZ2 = torch.sigmoid(Z2) - Y
    dZ1 = W2.T @ dZ2 * (1 - A1**2)
    return {
        "Z2": dZ2,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(1, keepdim=True),
        "Z1": dZ1,
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(1, keepdim=True),
    }


@wrong(planar_forward, PLANAR, steps=("Z1",), cause="derivative_at_wrong_place", options=COURSERA, source="Coursera")
def slope_from_Z1(X, W2, Y, Z1, A1, Z2):
    m = X.shape[1]
    dZ2 = torch.sigmoid(Z2) - Y
    dZ1 = torch.mm(W2.t(), dZ2) * (1 - torch.pow(Z1, 2))
    return {"Z2": dZ2, "W2": dZ2 @ A1.t() / m, "Z1": dZ1, "W1": dZ1 @ X.t() / m}


@wrong(
    planar_forward, PLANAR, steps=("b1",), cause="wrong_axis", options=COURSERA, source="Coursera: keepdims forgotten"
)
def keepdims_forgotten(X, W2, Y, A1, Z2):
    m = X.shape[1]
    dZ2 = torch.sigmoid(Z2) - Y
    dZ1 = (W2.T @ dZ2) * (1 - A1**2)
    b2 = dZ2.sum(1, keepdim=True) / m
    return {"Z2": dZ2, "W2": dZ2 @ A1.T / m, "b2": b2, "Z1": dZ1, "W1": dZ1 @ X.T / m, "b1": dZ1.sum(1) / m}


@wrong(
    planar_forward,
    PLANAR,
    steps=("W2", "b1"),
    cause="wrong_factor + wrong_factor",
    options=COURSERA,
    source="the exercise on gradient checking of a course: two factors planted",
)
def factor_two_and_four_over_m(X, W2, Y, A1, Z2):
    m = X.shape[1]
    dZ2 = torch.sigmoid(Z2) - Y
    dZ1 = (W2.T @ dZ2) * (1 - A1**2)
    db1 = 4.0 / m * dZ1.sum(1, keepdim=True)
    return {"Z2": dZ2, "W2": dZ2 @ A1.T * 2 / m, "Z1": dZ1, "W1": dZ1 @ X.T / m, "b1": db1}


@wrong(logistic_forward, LOGISTIC_COLUMNS, steps=("w",), cause="elementwise_for_matmul", source="Coursera week 2")
def elementwise_dw(X, Y, z):
    m = X.shape[1]
    dz = (torch.sigmoid(z) - Y) / m
    return {"z": dz, "w": X * dz, "b": dz.sum().reshape(1, 1)}


@wrong(logistic_forward, LOGISTIC_COLUMNS, steps=("b",), cause="bias_not_reduced", source="Coursera week 2")
def db_not_summed(X, Y, z):
    dz = (torch.sigmoid(z) - Y) / X.shape[1]
    return {"z": dz, "w": X @ dz.T, "b": dz}


@wrong(squared_output_forward, YES_NO, steps=("z3", "z2"), cause="clipped", source="Stack Overflow 29587779, XOR")
def deltas_rounded_to_three_decimals(x, W3, y, a2, a3):
    da3 = (a3 - y) / len(x)
    d3 = torch.round(da3 * a3 * (1 - a3), decimals=3)
    d2 = torch.round((d3 @ W3) * (1 - a2**2), decimals=3)
    return {"a3": da3, "z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(
    squared_output_forward,
    YES_NO,
    steps=("W3",),
    cause="missing_activation_derivative",
    source="Stack Overflow 59399842, XOR",
)
def error_times_activation_for_the_last_weights(x, W3, y, a2, a3):
    """The hidden weights get the slope of the output, the output weights do not."""
    da3 = (a3 - y) / len(x)
    d3 = da3 * a3 * (1 - a3)
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"a3": da3, "z3": d3, "W3": da3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x}


@wrong(sigmoid_net, YES_NO, steps=("W3", "W2"), cause="missing_factor", source="Stack Overflow 12558517, XOR")
def same_change_for_every_weight_of_a_unit(x, W2, W3, y, a2, z3):
    """The delta alone, without the input of each weight."""
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    dW3 = d3.sum(0)[:, None].expand_as(W3)
    dW2 = d2.sum(0)[:, None].expand_as(W2)
    return {"z3": d3, "W3": dW3, "b3": d3.sum(0), "z2": d2, "W2": dW2, "b2": d2.sum(0)}


@wrong(
    tanh_net, NUMBERS, steps=("W2",), cause="wrong_operand", source="homework threads on CS231n: dW1 before the mask"
)
def first_weights_before_the_slope(x, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    dW2 = da2.T @ x
    d2 = da2 * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "a2": da2, "W2": dW2, "z2": d2, "b2": d2.sum(0)}


@wrong(
    sigmoid_net, YES_NO, steps=("z3",), cause="extra_derivative", source="a pull request to Nielsen's book, not merged"
)
def slope_put_into_the_cross_entropy_delta(x, W3, y, a2, z3):
    """(BP1) read without the cost: the cross-entropy has cancelled sigma' already."""

    def sigmoid_prime(z):
        return torch.sigmoid(z) * (1 - torch.sigmoid(z))

    delta = (torch.sigmoid(z3) - y) / len(x) * sigmoid_prime(z3)
    nabla_w3, nabla_b3 = delta.T @ a2, delta.sum(0)
    below = delta @ W3 * a2 * (1 - a2)
    return {"z3": delta, "W3": nabla_w3, "b3": nabla_b3, "z2": below, "W2": below.T @ x, "b2": below.sum(0)}


@wrong(
    sigmoid_net,
    YES_NO,
    steps=("z2",),
    cause="updated_weight",
    source="louisjc/mnist-neural-network 1: hidden deltas after the output layer's update",
)
def hidden_delta_after_the_update(x, W3, y, a2, z3):
    m, rate = len(x), 0.1
    output_deltas = (torch.sigmoid(z3) - y) / m
    change = output_deltas.T @ a2
    updated = W3 - rate * change
    hidden_deltas = a2 * (1 - a2) * (output_deltas @ updated)
    return {"z3": output_deltas, "W3": change, "z2": hidden_deltas, "W2": hidden_deltas.T @ x}
