"""Multi-layer perceptrons, right: each activation, each cost, in the styles that people write them in."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import binary, constant, index, one_hot, probability, real
from tests.derivations import correct


def log_loss(z, y):
    """-(y log a + (1 - y) log(1 - a)) summed over outputs, averaged over samples, from the logits z."""
    return (torch.logaddexp(z, torch.zeros_like(z)) - y * z).sum() / len(z)


def half_square(z, y):
    return 0.5 * ((z - y) ** 2).sum() / len(z)


def cross_entropy(z, y):
    """Softmax cross-entropy, y one-hot or probabilities."""
    return (torch.logsumexp(z, 1) * y.sum(1) - (z * y).sum(1)).sum() / len(z)


def softplus(z):
    return torch.logaddexp(z, torch.zeros_like(z))


def two_layers(activation, cost):
    def forward(x, W2, b2, W3, b3, y):
        z2 = x @ W2.T + b2
        a2 = activation(z2)
        z3 = a2 @ W3.T + b3
        return cost(z3, y), {"z2": z2, "a2": a2, "z3": z3}

    return forward


def weights(y):
    return {
        "x": real("m", "d"),
        "W2": real("h", "d"),
        "b2": real("h"),
        "W3": real("k", "h"),
        "b3": real("k"),
        "y": y,
    }


YES_NO = weights(binary("m", "k"))
NUMBERS = weights(real("m", "k"))
CLASSES = weights(one_hot("m", "k"))

sigmoid_net = two_layers(torch.sigmoid, log_loss)
tanh_net = two_layers(torch.tanh, half_square)
relu_net = two_layers(F.relu, cross_entropy)
leaky_net = two_layers(lambda z: F.leaky_relu(z, 0.1), log_loss)
silu_net = two_layers(F.silu, half_square)
softplus_net = two_layers(softplus, log_loss)
gelu_net = two_layers(F.gelu, cross_entropy)
elu_net = two_layers(F.elu, half_square)
sigmoid_square_net = two_layers(torch.sigmoid, half_square)
tanh_log_net = two_layers(torch.tanh, log_loss)


@correct(sigmoid_net, YES_NO)
def sigmoid_and_log_loss(x, W2, W3, y, a2, z3):
    m = x.shape[0]
    a3 = torch.sigmoid(z3)
    dz3 = (a3 - y) / m
    dW3 = dz3.T @ a2
    db3 = dz3.sum(0)
    da2 = dz3 @ W3
    dz2 = da2 * a2 * (1 - a2)
    dW2 = dz2.T @ x
    db2 = dz2.sum(0)
    dx = dz2 @ W2
    return {"z3": dz3, "W3": dW3, "b3": db3, "a2": da2, "z2": dz2, "W2": dW2, "b2": db2, "x": dx}


@correct(tanh_net, NUMBERS)
def tanh_and_half_square(x, W2, W3, y, a2, z3):
    dz3 = (z3 - y) / len(x)
    da2 = dz3 @ W3
    dz2 = da2 * (1 - a2**2)
    return {
        "z3": dz3,
        "W3": dz3.T @ a2,
        "b3": dz3.sum(0),
        "a2": da2,
        "z2": dz2,
        "W2": dz2.T @ x,
        "b2": dz2.sum(0),
        "x": dz2 @ W2,
    }


@correct(relu_net, CLASSES)
def relu_and_cross_entropy(x, W2, W3, y, z2, a2, z3):
    p = torch.softmax(z3, dim=1)
    d3 = (p - y) / x.shape[0]
    da2 = d3 @ W3
    d2 = da2 * (z2 > 0)
    grads = {"z3": d3, "a2": da2, "z2": d2}
    grads["W3"] = d3.T @ a2
    grads["b3"] = d3.sum(dim=0)
    grads["W2"] = d2.T @ x
    grads["b2"] = d2.sum(dim=0)
    grads["x"] = d2 @ W2
    return grads


@correct(leaky_net, YES_NO)
def leaky_relu_and_log_loss(x, W2, W3, y, z2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = d3 @ W3
    d2 = torch.where(z2 > 0, da2, 0.1 * da2)
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


@correct(silu_net, NUMBERS)
def silu_and_half_square(x, W2, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    s = torch.sigmoid(z2)
    d2 = da2 * (s + z2 * s * (1 - s))
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


@correct(softplus_net, YES_NO)
def softplus_and_log_loss(x, W2, W3, y, z2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * torch.sigmoid(z2)
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


@correct(gelu_net, CLASSES)
def gelu_and_cross_entropy(x, W2, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    da2 = d3 @ W3
    cdf = 0.5 * (1 + torch.erf(z2 / math.sqrt(2)))
    pdf = torch.exp(-(z2**2) / 2) / math.sqrt(2 * math.pi)
    d2 = da2 * (cdf + z2 * pdf)
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


@correct(elu_net, NUMBERS)
def elu_and_half_square(x, W2, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * torch.where(z2 > 0, torch.ones_like(z2), torch.exp(z2))
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


def identity_forward(x, W2, b2, W3, b3, y):
    z2 = x @ W2.T + b2
    a2 = z2
    z3 = a2 @ W3.T + b3
    return half_square(z3, y), {"z2": z2, "a2": a2, "z3": z3}


@correct(identity_forward, NUMBERS)
def identity_and_half_square(x, W2, W3, y, a2, z3):
    d3 = (z3 - y) / len(x)
    d2 = d3 @ W3
    return {
        "z3": d3,
        "W3": d3.T @ a2,
        "b3": d3.sum(0),
        "a2": d2,
        "z2": d2,
        "W2": d2.T @ x,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


def class_index_forward(x, W2, b2, W3, b3, y):
    z2 = x @ W2.T + b2
    a2 = torch.tanh(z2)
    z3 = a2 @ W3.T + b3
    rows = torch.arange(len(x))
    J = (torch.logsumexp(z3, 1) - z3[rows, y]).sum() / len(x)
    return J, {"z2": z2, "a2": a2, "z3": z3}


CLASS_INDEX = weights(index("m", classes="k"))


@correct(class_index_forward, CLASS_INDEX)
def cross_entropy_of_indices(x, W2, W3, y, a2, z3):
    m = len(x)
    scores = torch.exp(z3 - z3.max(1, keepdim=True).values)
    d3 = scores / scores.sum(1, keepdim=True)
    d3[torch.arange(m), y] -= 1
    d3 /= m
    da2 = d3 @ W3
    d2 = da2 * (1 - a2 * a2)
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


@correct(relu_net, weights(probability("m", "k")))
def cross_entropy_of_soft_targets(x, W2, W3, y, z2, a2, z3):
    d3 = (torch.softmax(z3, 1) - y) / len(x)
    da2 = d3 @ W3
    d2 = da2.clone()
    d2[z2 <= 0] = 0
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


def l2_forward(x, W2, b2, W3, b3, y, l2):
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W3.T + b3
    penalty = 0.5 * l2 * ((W2 * W2).sum() + (W3 * W3).sum())
    return log_loss(z3, y) + penalty, {"z2": z2, "a2": a2, "z3": z3}


L2_INPUTS = {**YES_NO, "l2": constant(0.1)}


@correct(l2_forward, L2_INPUTS)
def l2_in_the_cost(x, W2, W3, y, l2, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = d3 @ W3
    d2 = da2 * a2 * (1 - a2)
    return {
        "z3": d3,
        "W3": d3.T @ a2 + l2 * W3,
        "b3": d3.sum(0),
        "a2": da2,
        "z2": d2,
        "W2": d2.T @ x + l2 * W2,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


@correct(sigmoid_net, YES_NO, options={"verdict": "rescaled"})
def mean_in_the_weights(x, W3, y, a2, z3):
    """The convention dZ = A - Y: every delta is m times dJ/dz, and 1/m comes back in dW and db."""
    m = x.shape[0]
    dZ3 = torch.sigmoid(z3) - y
    dW3 = 1 / m * dZ3.T @ a2
    db3 = 1 / m * dZ3.sum(0)
    dA2 = dZ3 @ W3
    dZ2 = dA2 * a2 * (1 - a2)
    dW2 = 1 / m * dZ2.T @ x
    db2 = 1 / m * dZ2.sum(0)
    return {"z3": dZ3, "W3": dW3, "b3": db3, "a2": dA2, "z2": dZ2, "W2": dW2, "b2": db2}


@correct(tanh_net, NUMBERS)
def numpy_backward(x, W2, W3, y, a2, z3):
    x, W2, W3, y, a2, z3 = (t.numpy() for t in (x, W2, W3, y, a2, z3))
    dz3 = (z3 - y) / x.shape[0]
    da2 = np.dot(dz3, W3)
    dz2 = da2 * (1 - np.power(a2, 2))
    return {
        "z3": dz3,
        "W3": np.dot(dz3.T, a2),
        "b3": np.sum(dz3, axis=0),
        "a2": da2,
        "z2": dz2,
        "W2": np.dot(dz2.T, x),
        "b2": np.sum(dz2, axis=0),
        "x": np.dot(dz2, W2),
    }
