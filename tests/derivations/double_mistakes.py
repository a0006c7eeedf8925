"""Two independent mistakes planted in different steps of one derivation, the one nearest to J first.

`cause` joins the two in the order of `steps`; the causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import torch

from tests.derivations import wrong
from tests.derivations.mlp import (
    CLASSES,
    L2_INPUTS,
    NUMBERS,
    YES_NO,
    l2_forward,
    leaky_net,
    relu_net,
    sigmoid_net,
    tanh_net,
)
from tests.derivations.mlp_styles import COLUMNS, DEEP, SQUARE, column_forward, deep_forward, square_forward


@wrong(sigmoid_net, YES_NO, steps=("z3", "z2"), cause="missing_mean + missing_activation_derivative")
def mean_and_slope(x, W2, W3, y, a2, z3):
    d3 = torch.sigmoid(z3) - y
    d2 = d3 @ W3
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0), "x": d2 @ W2}


@wrong(sigmoid_net, YES_NO, steps=("z3", "b2"), cause="sign + bias_not_reduced")
def sign_and_bias(x, W3, y, a2, z3):
    d3 = (y - torch.sigmoid(z3)) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2}


@wrong(tanh_net, NUMBERS, steps=("z3", "z2"), cause="wrong_factor + derivative_at_wrong_place")
def factor_and_place(x, W3, y, z2, a2, z3):
    d3 = 2 * (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - z2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("b3", "z2"), cause="mean_twice + wrong_activation_derivative")
def bias_mean_and_sigmoid_slope(x, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.mean(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z3", "z2"), cause="wrong_axis + wrong_mask")
def softmax_axis_and_mask(x, W3, y, a2, z3):
    d3 = (torch.softmax(z3, 0) - y) / len(x)
    d2 = (d3 @ W3) * (a2 >= 0)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("W3", "z2"), cause="wrong_operand + wrong_mask")
def pre_activation_and_gradient_mask(x, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * (da2 > 0)
    return {"z3": d3, "W3": d3.T @ z2, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z3", "W2"), cause="diagonal_jacobian + some_samples")
def diagonal_and_first_half(x, W3, y, z2, a2, z3):
    m = len(x)
    p = torch.softmax(z3, 1)
    d3 = -y * (1 - p) / m
    d2 = (d3 @ W3) * (z2 > 0)
    half = (m + 1) // 2
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2[:half].T @ x[:half], "b2": d2.sum(0)}


@wrong(leaky_net, YES_NO, steps=("z3", "z2"), cause="extra_derivative + swapped_branches")
def slope_twice_and_leak(x, W3, y, z2, a2, z3):
    a3 = torch.sigmoid(z3)
    d3 = (a3 - y) / len(x) * a3 * (1 - a3)
    d2 = torch.where(z2 > 0, 0.1, 1.0) * (d3 @ W3)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("W3", "z2"), cause="missing_l2 + missing_activation_derivative")
def penalty_and_slope(x, W2, W3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x + l2 * W2, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("b3", "W2"), cause="wrong_l2 + wrong_l2")
def bias_penalised_and_penalty_doubled(x, W2, W3, b3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {
        "z3": d3,
        "W3": d3.T @ a2 + l2 * W3,
        "b3": d3.sum(0) + l2 * b3,
        "z2": d2,
        "W2": d2.T @ x + 2 * l2 * W2,
        "b2": d2.sum(0),
    }


@wrong(l2_forward, L2_INPUTS, steps=("z3", "W2"), cause="missing_mean + wrong_l2")
def sum_and_subtracted_penalty(x, W2, W3, y, l2, a2, z3):
    d3 = torch.sigmoid(z3) - y
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2 + l2 * W3, "z2": d2, "W2": d2.T @ x - l2 * W2, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("a3", "z2"), cause="mean_twice + missing_activation_derivative")
def mean_twice_and_slope(x, W3, W4, y, a2, a3, z4):
    m = len(x)
    d4 = (torch.sigmoid(z4) - y) / m
    da3 = d4 @ W4 / m
    d3 = da3 * a3 * (1 - a3)
    d2 = d3 @ W3
    return {"z4": d4, "W4": d4.T @ a3, "a3": da3, "z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x}


@wrong(square_forward, SQUARE, steps=("W3", "a2"), cause="missing_transpose + missing_transpose")
def both_transposes(x, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    da2 = d3 @ W3.T
    d2 = da2 * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": a2.T @ d3, "a2": da2, "z2": d2, "W2": d2.T @ x}


@wrong(square_forward, SQUARE, steps=("z3", "W2"), cause="wrong_layer + wrong_layer")
def slope_and_activation_of_other_layers(x, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a2 * (1 - a2)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ a3, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("b4", "z2"), cause="wrong_factor + derivative_at_wrong_place")
def bias_factor_and_slope_of_slope(x, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    s = torch.sigmoid(a2)
    d2 = (d3 @ W3) * s * (1 - s)
    return {"z4": d4, "W4": d4.T @ a3, "b4": 2 * d4.sum(0), "z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x}


@wrong(column_forward, COLUMNS, steps=("Z3", "b2"), cause="wrong_count + wrong_axis")
def count_and_axis(X, W3, Y, A2, Z3):
    dZ3 = (torch.sigmoid(Z3) - Y) / Y.numel()
    dZ2 = W3.T @ dZ3 * A2 * (1 - A2)
    db3 = dZ3.sum(1, keepdim=True)
    return {"Z3": dZ3, "W3": dZ3 @ A2.T, "b3": db3, "Z2": dZ2, "W2": dZ2 @ X.T, "b2": dZ2.sum(0, keepdim=True)}


@wrong(deep_forward, DEEP, steps=("b4", "z3"), cause="mean_twice + missing_activation_derivative")
def one_bias_and_one_slope(x, W3, W4, W5, y, a2, a3, a4, z5):
    d5 = (torch.sigmoid(z5) - y) / len(x)
    d4 = (d5 @ W5) * a4 * (1 - a4)
    d3 = (d4 @ W4) * a3
    d2 = (d3 @ W3) * a2 * (1 - a2)
    grads = {"z5": d5, "z4": d4, "z3": d3, "z2": d2}
    grads |= {"W5": d5.T @ a4, "W4": d4.T @ a3, "W3": d3.T @ a2, "W2": d2.T @ x}
    return grads | {"b5": d5.sum(0), "b4": d4.mean(0), "b3": d3.sum(0), "b2": d2.sum(0)}


@wrong(deep_forward, DEEP, steps=("W5", "W2"), cause="mean_twice + wrong_operand")
def mean_of_the_last_and_input_of_the_first(x, W3, W4, W5, y, a2, a3, a4, z5):
    m = len(x)
    d5 = (torch.sigmoid(z5) - y) / m
    d4 = (d5 @ W5) * a4 * (1 - a4)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    centred = x - x.mean(1, keepdim=True)
    return {
        "z5": d5,
        "z4": d4,
        "z3": d3,
        "z2": d2,
        "W5": d5.T @ a4 / m,
        "W4": d4.T @ a3,
        "W3": d3.T @ a2,
        "W2": d2.T @ centred,
    }
