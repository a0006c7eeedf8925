"""Perceptrons gone wrong in their deltas: activations, transposes, layers, masks, losses.

Causes, for every module of mistakes here (one mistake has one cause; a case with two planted mistakes joins
theirs with " + "):

    missing_activation_derivative   the factor sigma'(z) is left out
    wrong_activation_derivative     a derivative, but not that of this activation
    derivative_at_wrong_place       sigma'(a) for sigma'(z), or the formula in a fed with z
    extra_derivative                a derivative that the combined formula already holds, or one taken twice
    missing_transpose               A where A^T belongs (the shapes agree by chance), or the reverse
    elementwise_for_matmul          * where @ belongs, or @ where * belongs
    sign                            minus for plus, or the difference the wrong way round
    wrong_factor                    a constant factor too many, too few or wrong (2, 1/2, a scale)
    missing_mean                    1/m, or the 1/n of another average, left out
    mean_twice                      1/m applied twice
    wrong_count                     divided by the size of another dimension, or n - 1 for n
    bias_not_reduced                the sum over samples left out
    wrong_axis                      a sum, mean, softmax or shift along the wrong axis
    missing_l2                      the gradient of the penalty left out
    wrong_l2                        the penalty's gradient with the wrong factor, sign or tensor, or on biases
    wrong_layer                     the activation, weight or delta of another layer
    wrong_operand                   another quantity of the same step (another gate, x for xhat, dW for W)
    updated_weight                  a weight that has already been updated
    wrong_mask                      a mask from the wrong tensor or comparison, or none
    swapped_branches                the two sides of a piecewise derivative exchanged
    diagonal_jacobian               a full Jacobian taken as diagonal
    missing_path                    one of several paths to the cost forgotten (a residual, a mean, a time step)
    path_twice                      one path counted twice
    overwritten                     = where += belongs
    stale_state                     a value left from another iteration, or from before it was updated
    missing_factor                  a factor that is a tensor left out (a gate, gamma, a mask)
    wrong_epsilon                   epsilon left out, or outside where it belongs inside
    wrong_index                     an index, step, slice or kernel position off, reversed or mixed up
    some_samples                    only some of the samples count
    clipped                         a value clipped or rounded on its way
    low_precision                   a step computed in fewer digits than the rest
    order_of_operations             brackets, broadcasting or nesting of the right parts wrong
    modified_in_place               a quantity changed before its last use
    special_case                    wrong only in a rare branch or a single entry

Options, for every module of the corpus that plants by hand:

    verdict       what a right derivation gets where it is not `right` (`rescaled`)
    mean_in       (input, axis) that counts the samples where deltas are m times dJ/dz and 1/m stands in dW:
                  the steps are wrong beyond that convention
    imprecise     right but for a step in lower precision
    rare          seen only at these values; ties, the same for equal values
    whole_batch   a single sample is degenerate; tensors, the sizes must agree for the mistake to run at all
    stateful      right at the first call
"""

from __future__ import annotations

import math

import torch

from tests.derivations import wrong
from tests.derivations.mlp import (
    CLASSES,
    NUMBERS,
    YES_NO,
    elu_net,
    gelu_net,
    leaky_net,
    relu_net,
    sigmoid_net,
    silu_net,
    softplus_net,
    tanh_net,
)


@wrong(
    sigmoid_net,
    YES_NO,
    steps=("z2",),
    cause="missing_activation_derivative",
    source="a blog on numerical gradient checking: the neglected term",
)
def no_slope_in_hidden_delta(x, W2, W3, y, a2, z3):
    m = x.shape[0]
    dz3 = (torch.sigmoid(z3) - y) / m
    da2 = dz3 @ W3
    dz2 = da2
    dW2 = dz2.T @ x
    return {"z3": dz3, "W3": dz3.T @ a2, "b3": dz3.sum(0), "a2": da2, "z2": dz2, "W2": dW2, "b2": dz2.sum(0)}


@wrong(sigmoid_net, YES_NO, steps=("z2",), cause="missing_activation_derivative")
def half_of_the_slope(x, W2, W3, y, a2, z3):
    dz3 = (torch.sigmoid(z3) - y) / len(x)
    dz2 = (dz3 @ W3) * (1 - a2)
    return {"z3": dz3, "W3": dz3.T @ a2, "b3": dz3.sum(0), "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0)}


@wrong(sigmoid_net, YES_NO, steps=("z2",), cause="derivative_at_wrong_place")
def slope_of_the_slope(x, W3, y, a2, z3):
    """sigma'(a) where sigma'(z) belongs."""

    def sigmoid_prime(z):
        s = 1 / (1 + torch.exp(-z))
        return s * (1 - s)

    delta3 = (torch.sigmoid(z3) - y) / y.shape[0]
    delta2 = (delta3 @ W3) * sigmoid_prime(a2)
    return {
        "z3": delta3,
        "W3": delta3.T @ a2,
        "b3": delta3.sum(0),
        "z2": delta2,
        "W2": delta2.T @ x,
        "b2": delta2.sum(0),
    }


@wrong(sigmoid_net, YES_NO, steps=("z2",), cause="derivative_at_wrong_place")
def formula_in_a_fed_with_z(x, W3, y, z2, a2, z3):
    """A function that expects the output, given the input: z (1 - z)."""

    def slope(s):
        return s * (1 - s)

    d3 = (torch.sigmoid(z3) - y) / len(y)
    d2 = d3.mm(W3) * slope(z2)
    return {"z3": d3, "W3": d3.t().mm(a2), "b3": d3.sum(0), "z2": d2, "W2": d2.t().mm(x), "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("z2",), cause="derivative_at_wrong_place")
def tanh_slope_of_z(x, W2, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * (1 - z2**2)
    return {
        "z3": d3,
        "W3": d3.T @ a2,
        "b3": d3.sum(0),
        "a2": da2,
        "z2": d2,
        "W2": d2.T @ x,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


@wrong(tanh_net, NUMBERS, steps=("z2",), cause="derivative_at_wrong_place")
def tanh_slope_of_tanh_of_a(x, W2, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - torch.tanh(a2) ** 2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0), "x": d2 @ W2}


@wrong(tanh_net, NUMBERS, steps=("z2",), cause="wrong_activation_derivative")
def sigmoid_slope_for_tanh(x, W3, y, a2, z3):
    dZ3 = (z3 - y) / len(x)
    dA2 = dZ3 @ W3
    dZ2 = dA2 * a2 * (1 - a2)
    return {
        "z3": dZ3,
        "W3": dZ3.T @ a2,
        "b3": dZ3.sum(0),
        "a2": dA2,
        "z2": dZ2,
        "W2": dZ2.T @ x,
        "b2": dZ2.sum(0),
    }


@wrong(tanh_net, NUMBERS, steps=("z2",), cause="wrong_activation_derivative")
def square_left_out(x, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("z2",), cause="order_of_operations", source="TVM 7340, the gradient of tanh")
def bracket_in_the_wrong_place(x, W3, y, a2, z3):
    """da - a**2 for da * (1 - a**2)."""
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * 1 - a2**2
    return {"z3": d3, "W3": d3.T @ a2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(silu_net, NUMBERS, steps=("z2",), cause="wrong_activation_derivative")
def silu_without_product_rule(x, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    s = torch.sigmoid(z2)
    d2 = da2 * (z2 * s * (1 - s))
    return {"z3": d3, "W3": d3.T @ a2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(silu_net, NUMBERS, steps=("z2",), cause="derivative_at_wrong_place")
def silu_of_the_output(x, W3, y, z2, a2, z3):
    """s + a (1 - s) is right with s = sigmoid(z), not with s = sigmoid(a)."""
    d3 = (z3 - y) / len(x)
    s = torch.sigmoid(a2)
    d2 = (d3 @ W3) * (s + a2 * (1 - s))
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(gelu_net, CLASSES, steps=("z2",), cause="wrong_activation_derivative")
def gelu_gate_only(x, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    d2 = (d3 @ W3) * 0.5 * (1 + torch.erf(z2 / math.sqrt(2)))
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(gelu_net, CLASSES, steps=("z2",), cause="wrong_activation_derivative")
def tanh_gelu_slope_for_exact_gelu(x, W3, y, z2, a2, z3):
    """The derivative of the tanh approximation, for a forward that uses erf: off by about 1e-3."""
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    c = math.sqrt(2 / math.pi)
    t = torch.tanh(c * (z2 + 0.044715 * z2**3))
    slope = 0.5 * (1 + t) + 0.5 * z2 * (1 - t**2) * c * (1 + 3 * 0.044715 * z2**2)
    d2 = (d3 @ W3) * slope
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(gelu_net, CLASSES, steps=("z2",), cause="wrong_factor")
def gelu_density_not_normalised(x, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    cdf = 0.5 * (1 + torch.erf(z2 / math.sqrt(2)))
    pdf = torch.exp(-0.5 * z2**2) / math.sqrt(math.pi)
    d2 = (d3 @ W3) * (cdf + z2 * pdf)
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(softplus_net, YES_NO, steps=("z2",), cause="derivative_at_wrong_place")
def softplus_slope_of_a(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * torch.sigmoid(a2)
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(elu_net, NUMBERS, steps=("z2",), cause="wrong_activation_derivative")
def elu_slope_is_the_value(x, W3, y, z2, a2, z3):
    """exp(z) - 1 instead of exp(z) on the negative side."""
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * torch.where(z2 > 0, torch.ones_like(z2), a2)
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(elu_net, NUMBERS, steps=("z2",), cause="swapped_branches")
def elu_branches_swapped(x, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * torch.where(z2 > 0, torch.exp(z2), torch.ones_like(z2))
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z2",), cause="wrong_mask")
def output_at_least_zero(x, W3, y, a2, z3):
    """a >= 0 holds everywhere after a ReLU."""
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * (a2 >= 0)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z2",), cause="wrong_mask")
def mask_of_the_gradient(x, W3, y, a2, z3):
    """ReLU of the gradient, where its sign should come from the forward pass."""
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    da2 = d3 @ W3
    d2 = torch.relu(da2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z2",), cause="missing_factor")
def mask_instead_of_gradient(x, W3, y, z2, a2, z3):
    """The slope stands for the delta: the gradient that arrives is not multiplied in."""
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    da2 = d3 @ W3
    d2 = (z2 > 0).to(da2.dtype)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z2",), cause="wrong_mask")
def mask_the_wrong_way(x, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    d2 = d3 @ W3
    d2[z2 > 0] = 0
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(relu_net, CLASSES, steps=("z2",), cause="wrong_mask")
def active_above_one(x, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    d2 = (d3 @ W3) * (z2 > 1)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(leaky_net, YES_NO, steps=("z2",), cause="swapped_branches")
def leak_on_the_positive_side(x, W3, y, z2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = d3 @ W3
    d2 = torch.where(z2 > 0, 0.1 * da2, da2)
    return {"z3": d3, "W3": d3.T @ a2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(leaky_net, YES_NO, steps=("z2",), cause="wrong_factor")
def another_leak(x, W3, y, z2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * torch.where(z2 > 0, 1.0, 0.01)
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(leaky_net, YES_NO, steps=("z2",), cause="wrong_activation_derivative")
def relu_slope_for_a_leaky_one(x, W3, y, z2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(leaky_net, YES_NO, steps=("z2",), cause="wrong_activation_derivative")
def leak_times_z(x, W3, y, z2, a2, z3):
    """The value of the activation (0.1 z), not its derivative, on the negative side."""
    d3 = (torch.sigmoid(z3) - y) / len(x)
    slope = torch.ones_like(z2)
    slope[z2 < 0] = 0.1 * z2[z2 < 0]
    d2 = (d3 @ W3) * slope
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}
