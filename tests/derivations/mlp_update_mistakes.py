"""Perceptrons gone wrong in the penalty, updates, accumulation, precision and rare cases.

The causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import numpy as np
import torch

from compare.check.inputs import constant, real
from tests.derivations import wrong
from tests.derivations.mlp import (
    L2_INPUTS,
    NUMBERS,
    YES_NO,
    l2_forward,
    relu_net,
    sigmoid_net,
    softplus_net,
    tanh_net,
    weights,
)
from tests.derivations.mlp_styles import DEEP, SQUARE, deep_forward, square_forward


@wrong(l2_forward, L2_INPUTS, steps=("W3", "W2"), cause="missing_l2")
def no_penalty(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("W2",), cause="missing_l2")
def penalty_of_the_last_layer_only(x, W3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2 + l2 * W3, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("W3", "W2"), cause="wrong_l2")
def penalty_doubled(x, W2, W3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2 + 2 * l2 * W3, "z2": d2, "W2": d2.T @ x + 2 * l2 * W2, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("W3", "W2"), cause="wrong_l2")
def penalty_over_the_batch(x, W2, W3, y, l2, a2, z3):
    m = len(x)
    d3 = (torch.sigmoid(z3) - y) / m
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2 + l2 / m * W3, "z2": d2, "W2": d2.T @ x + l2 / m * W2, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("W3", "W2"), cause="wrong_l2")
def penalty_subtracted(x, W2, W3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2 - l2 * W3, "z2": d2, "W2": d2.T @ x - l2 * W2, "b2": d2.sum(0)}


@wrong(l2_forward, L2_INPUTS, steps=("W3", "W2"), cause="wrong_l2")
def penalty_of_absolute_values(x, W2, W3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {
        "z3": d3,
        "W3": d3.T @ a2 + l2 * W3.sign(),
        "z2": d2,
        "W2": d2.T @ x + l2 * W2.sign(),
        "b2": d2.sum(0),
    }


@wrong(l2_forward, L2_INPUTS, steps=("b3", "b2"), cause="wrong_l2")
def penalty_on_biases(x, W2, b2, W3, b3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    grads = {"W3": d3.T @ a2, "b3": d3.sum(0), "W2": d2.T @ x, "b2": d2.sum(0)}
    for name, parameter in {"W3": W3, "b3": b3, "W2": W2, "b2": b2}.items():
        grads[name] += l2 * parameter
    return grads | {"z3": d3, "z2": d2}


@wrong(l2_forward, L2_INPUTS, steps=("W2",), cause="wrong_l2")
def penalty_of_the_wrong_gradient(x, W2, W3, y, l2, a2, z3):
    """The penalty multiplies the gradient instead of joining it."""
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2 + l2 * W3, "z2": d2, "W2": d2.T @ x * (1 + l2), "b2": d2.sum(0)}


LEARNING = {**YES_NO, "lr": constant(0.5)}


def sigmoid_net_with_rate(x, W2, b2, W3, b3, y, lr):
    return sigmoid_net(x, W2, b2, W3, b3, y)


@wrong(sigmoid_net_with_rate, LEARNING, steps=("a2",), cause="updated_weight")
def weight_updated_too_early(x, W3, y, lr, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    dW3 = d3.T @ a2
    W3 = W3 - lr * dW3
    da2 = d3 @ W3
    d2 = da2 * a2 * (1 - a2)
    return {"z3": d3, "W3": dW3, "b3": d3.sum(0), "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(sigmoid_net_with_rate, LEARNING, steps=("z2",), cause="updated_weight")
def weight_updated_in_place(x, W3, b3, y, lr, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    dW3, db3 = d3.T @ a2, d3.sum(0)
    W3 -= lr * dW3
    b3 -= lr * db3
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": dW3, "b3": db3, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(sigmoid_net_with_rate, LEARNING, steps=("W3", "W2"), cause="wrong_factor")
def rate_in_the_gradient(x, W3, y, lr, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": lr * d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": lr * d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("W3", "b3", "W2", "b2"), cause="overwritten")
def last_sample_only(x, W2, b2, W3, b3, y, z2, a2, z3):
    m = len(x)
    gz3, gz2 = torch.zeros_like(z3), torch.zeros_like(z2)
    gW2, gb2, gW3, gb3 = (torch.zeros_like(t) for t in (W2, b2, W3, b3))
    for i in range(m):
        gz3[i] = (z3[i] - y[i]) / m
        gW3 = torch.outer(gz3[i], a2[i])
        gb3 = gz3[i]
        gz2[i] = (W3.T @ gz3[i]) * (1 - a2[i] ** 2)
        gW2 = torch.outer(gz2[i], x[i])
        gb2 = gz2[i]
    return {"z3": gz3, "W3": gW3, "b3": gb3, "z2": gz2, "W2": gW2, "b2": gb2}


@wrong(tanh_net, NUMBERS, steps=("W2",), cause="some_samples")
def loop_stops_one_early(x, W2, W3, y, z2, a2, z3):
    m = len(x)
    d3 = (z3 - y) / m
    d2 = (d3 @ W3) * (1 - a2 * a2)
    gW2 = torch.zeros_like(W2)
    for i in range(m - 1):
        gW2 += d2[i][:, None] * x[i][None, :]
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": gW2, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("b2",), cause="some_samples")
def bias_of_the_first_sample(x, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2 * a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2[0]}


@wrong(tanh_net, NUMBERS, steps=("z3",), cause="wrong_axis")
def average_error_for_every_sample(x, W3, y, a2, z3):
    """The error is averaged over samples first, and the mean is used as every sample's delta."""
    m = len(x)
    error = (z3 - y).mean(0)
    d3 = error.expand(m, -1) / m
    d2 = (d3 @ W3) * (1 - a2 * a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("W3", "W2"), cause="order_of_operations")
def means_multiplied(x, W3, y, a2, z3):
    """mean(delta) times mean(a) is not the mean of the products."""
    m = len(x)
    d3 = (z3 - y) / m
    d2 = (d3 @ W3) * (1 - a2 * a2)
    dW3 = torch.outer(d3.sum(0), a2.mean(0))
    dW2 = torch.outer(d2.sum(0), x.mean(0))
    return {"z3": d3, "W3": dW3, "b3": d3.sum(0), "z2": d2, "W2": dW2, "b2": d2.sum(0)}


@wrong(sigmoid_net, YES_NO, steps=("W2",), cause="modified_in_place")
def bias_summed_in_the_delta(x, W3, y, a2, z3):
    """A running sum that reuses the delta's own memory before dW is taken."""
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    given = d2.clone()
    db2 = d2[0]
    for i in range(1, len(d2)):
        db2 += d2[i]
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": given, "W2": d2.T @ x, "b2": db2}


@wrong(sigmoid_net, YES_NO, steps=("W3", "b3"), cause="modified_in_place")
def delta_reused_as_scratch(x, W3, y, a2, z3):
    m = len(x)
    grad = (torch.sigmoid(z3) - y).div_(m)
    d3 = grad.clone()
    d2 = (grad @ W3) * a2 * (1 - a2)
    grad.mul_(0.9)
    return {"z3": d3, "W3": grad.T @ a2, "b3": grad.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(deep_forward, DEEP, steps=("W5", "W4", "W3"), cause="wrong_index")
def one_layer_off(y, **t):
    """a[l + 1] where a[l] belongs is of another shape; the user sliced until it fitted."""
    t["a1"] = t["x"]
    delta, grads = (torch.sigmoid(t["z5"]) - y) / len(y), {}
    for layer in (5, 4, 3, 2):
        below = t[f"a{layer - 1}"]
        grads[f"z{layer}"] = delta
        grads[f"W{layer}"] = delta.T @ (below if layer == 2 else below.roll(1, 1))
        grads[f"b{layer}"] = delta.sum(0)
        if layer > 2:
            delta = (delta @ t[f"W{layer}"]) * below * (1 - below)
    return grads


@wrong(deep_forward, DEEP, steps=("z2",), cause="special_case")
def first_layer_without_slope(y, **t):
    """The slope is multiplied in inside the loop, and the loop ends one layer early."""
    last, t["a1"], grads = 5, t["x"], {}
    delta = (torch.sigmoid(t["z5"]) - y) / len(y)
    for layer in range(last, 1, -1):
        grads[f"z{layer}"], grads[f"b{layer}"] = delta, delta.sum(0)
        grads[f"W{layer}"] = delta.T @ t[f"a{layer - 1}"]
        delta = delta @ t[f"W{layer}"]
        if layer > 3:
            a = t[f"a{layer - 1}"]
            delta = delta * a * (1 - a)
    return grads


@wrong(deep_forward, DEEP, steps=("z4", "z3", "z2"), cause="wrong_layer")
def slope_always_of_the_last_layer(y, **t):
    """A variable left from the forward loop: every layer takes a column of the last activation."""
    t["a1"], grads = t["x"], {}
    a = t["a4"]
    delta = (torch.sigmoid(t["z5"]) - y) / len(y)
    for layer in range(5, 1, -1):
        grads[f"z{layer}"], grads[f"b{layer}"] = delta, delta.sum(0)
        grads[f"W{layer}"] = delta.T @ t[f"a{layer - 1}"]
        if layer > 2:
            delta = (delta @ t[f"W{layer}"]) * a[:, -1:] * (1 - a[:, -1:])
    return grads


@wrong(sigmoid_net, YES_NO, steps=("z2",), cause="clipped", options={"rare": "large gradients"})
def gradient_clipped(x, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = ((d3 @ W3) * a2 * (1 - a2)).clamp(-0.05, 0.05)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(sigmoid_net, YES_NO, steps=("z3",), cause="clipped", options={"rare": "saturated outputs"})
def probabilities_clipped(x, W3, y, a2, z3):
    """A clip that keeps log(a) finite, left in the delta: wrong where the output saturates."""
    a3 = torch.sigmoid(z3).clamp(1e-3, 1 - 1e-3)
    d3 = (a3 - y) / len(x)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(softplus_net, YES_NO, steps=("z2",), cause="special_case", options={"rare": "large pre-activations"})
def linear_above_five(x, W3, y, z2, a2, z3):
    """Softplus treated as the identity above 5, where the slope is still 0.993."""
    d3 = (torch.sigmoid(z3) - y) / len(x)
    d2 = (d3 @ W3) * torch.where(z2 > 5, torch.ones_like(z2), torch.sigmoid(z2))
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("W2",), cause="special_case")
def one_entry_wrong(x, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2 * a2)
    dW2 = d2.T @ x
    dW2[0, -1] *= -1
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": dW2, "b2": d2.sum(0)}


@wrong(relu_net, weights(real("m", "k", low=0.0, high=0.2)), steps=("z3",), cause="missing_factor")
def targets_taken_to_sum_to_one(x, W3, y, z2, a2, z3):
    """p - y holds for targets that sum to one; in general it is p sum(y) - y."""
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    d2 = (d3 @ W3) * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(square_forward, SQUARE, steps=("W3",), cause="low_precision", options={"imprecise": True})
def one_product_in_float32(x, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    d3 = (d4 @ W4) * a3 * (1 - a3)
    d2 = (d3 @ W3) * a2 * (1 - a2)
    dW3 = (d3.float().T @ a2.float()).to(d3.dtype)
    return {"z4": d4, "W4": d4.T @ a3, "z3": d3, "W3": dW3, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(tanh_net, NUMBERS, steps=("z3",), cause="low_precision", options={"imprecise": True})
def error_rounded_to_float32(x, W3, y, a2, z3):
    x, W3, a2 = x.numpy(), W3.numpy(), a2.numpy()
    d3 = ((z3.numpy() - y.numpy()) / len(x)).astype(np.float32)
    d3 = d3.astype(x.dtype)
    d2 = (d3 @ W3) * (1 - a2 * a2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}
