"""Perceptrons gone wrong in the last delta, in weights and between layers. The causes are listed in mlp_mistakes."""

from __future__ import annotations

import torch

from tests.derivations import wrong
from tests.derivations.mlp import (
    CLASS_INDEX,
    CLASSES,
    NUMBERS,
    YES_NO,
    class_index_forward,
    relu_net,
    sigmoid_net,
    tanh_net,
)
from tests.derivations.mlp_styles import SQUARE, square_forward, squared_output_forward


@wrong(sigmoid_net, YES_NO, steps=("z3",), cause="sign")
def target_minus_output(x, W3, y, a2, z3):
    m = len(x)
    delta3 = (y - torch.sigmoid(z3)) / m
    delta2 = (delta3 @ W3) * a2 * (1 - a2)
    return {
        "z3": delta3,
        "W3": delta3.T @ a2,
        "b3": delta3.sum(0),
        "z2": delta2,
        "W2": delta2.T @ x,
        "b2": delta2.sum(0),
    }


@wrong(sigmoid_net, YES_NO, steps=("z3",), cause="extra_derivative")
def slope_of_the_output_twice(x, W3, y, a2, z3):
    """The log-loss cancels sigma'(z); it must not be multiplied in again."""
    a3 = torch.sigmoid(z3)
    d3 = (a3 - y) * a3 * (1 - a3) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(squared_output_forward, YES_NO, steps=("z3",), cause="missing_activation_derivative")
def output_slope_forgotten(x, W3, y, a2, a3):
    """a - y is the delta of a log-loss; half squared error keeps the slope of the sigmoid."""
    da3 = (a3 - y) / len(x)
    d3 = da3
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"a3": da3, "z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("z3",), cause="wrong_factor")
def factor_two_of_the_square(x, W3, y, a2, z3):
    d3 = 2 * (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("z3",), cause="wrong_factor")
def half_twice(x, W3, y, a2, z3):
    d3 = 0.5 * (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z3",), cause="wrong_axis")
def softmax_over_samples(x, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 0) - y) / len(x)
    d2 = (d3 @ W3) * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z3",), cause="extra_derivative")
def softmax_slope_after_cross_entropy(x, W3, y, z2, a2, z3):
    p = torch.softmax(z3, 1)
    d3 = (p - y) / len(x) * (p * (1 - p))
    d2 = (d3 @ W3) * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(
    relu_net, CLASSES, steps=("z3",), cause="diagonal_jacobian", source="AI Stack Exchange 35741, Data Science 64746"
)
def only_the_diagonal_of_softmax(x, W3, y, z2, a2, z3):
    p = torch.softmax(z3, 1)
    dp = -y / p / len(x)
    d3 = dp * p * (1 - p)
    d2 = (d3 @ W3) * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(class_index_forward, CLASS_INDEX, steps=("z3",), cause="wrong_operand")
def one_taken_from_the_scores(x, W3, y, a2, z3):
    """The one is subtracted from the logits, before the softmax."""
    m = len(x)
    s = z3.clone()
    s[range(m), y] -= 1
    d3 = torch.softmax(s, 1) / m
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(class_index_forward, CLASS_INDEX, steps=("z3",), cause="wrong_index")
def one_taken_from_whole_columns(x, W3, y, a2, z3):
    """p[:, y] is every row at those columns; one entry a row is p[arange(m), y]."""
    p = torch.softmax(z3, 1)
    p[:, y] -= 1
    d3 = p / len(x)
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(class_index_forward, CLASS_INDEX, steps=("z3",), cause="order_of_operations")
def mean_before_the_one(x, W3, y, a2, z3):
    m = len(x)
    d3 = torch.softmax(z3, 1) / m
    d3[torch.arange(m), y] -= 1
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(class_index_forward, CLASS_INDEX, steps=("z3",), cause="wrong_operand")
def logits_without_softmax(x, W3, y, a2, z3):
    m = len(x)
    d3 = z3.clone()
    d3[torch.arange(m), y] -= 1
    d3 = d3 / m
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("a2",), cause="missing_transpose")
def transposed_weight(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    da3 = d4 @ W4
    d3 = da3 * a3 * (1 - a3)
    da2 = d3 @ W3.T
    d2 = da2 * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "a3": da3, "z3": d3, "W3": d3.T @ a2, "a2": da2, "z2": d2, "W2": d2.T @ x}


@wrong(square_forward, SQUARE, steps=("W3",), cause="missing_transpose")
def weight_gradient_transposed(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": a2.T @ d3, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("z3", "z2"), cause="missing_activation_derivative")
def no_slope_in_any_layer(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = d4 @ W4
    d2 = d3 @ W3
    return {
        "z4": d4,
        "W4": d4.T @ a3,
        "z3": d3,
        "W3": d3.T @ a2,
        "b3": d3.sum(0),
        "z2": d2,
        "W2": d2.T @ x,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


@wrong(square_forward, SQUARE, steps=("z2",), cause="wrong_layer")
def slope_of_the_next_layer(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a3 * (1 - a3)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("W3",), cause="wrong_layer")
def input_in_place_of_activation(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": d3.T @ x, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("W3", "W2"), cause="wrong_layer")
def activation_of_the_layer_itself(x, W2, W3, W4, y, a2, a3, z4):
    """a of this layer where a of the layer below belongs."""
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "z3": d3, "W3": d3.T @ a3, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ a2, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("a2",), cause="wrong_layer")
def weight_of_the_layer_below(x, W2, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    da2 = d3 @ W2
    d2 = da2 * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": d3.T @ a2, "a2": da2, "z2": d2, "W2": d2.T @ x}


@wrong(square_forward, SQUARE, steps=("W2",), cause="wrong_layer")
def delta_of_the_layer_above(x, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d3.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("W3",), cause="wrong_operand")
def pre_activation_in_the_weight_gradient(x, W3, W4, y, z2, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": d3.T @ z2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("x",), cause="missing_transpose")
def input_gradient_transposed(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z4": d4, "z3": d3, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0), "x": d2 @ W2.T}
