"""Right derivations of perceptrons in other hands: columns, loops, dictionaries, classes, other depths."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import binary, index, real
from tests.derivations import correct
from tests.derivations.mlp import NUMBERS, YES_NO, half_square, log_loss, sigmoid_net, tanh_net


def column_forward(X, W2, b2, W3, b3, Y):
    """Samples in columns, as in the lecture."""
    Z2 = W2 @ X + b2
    A2 = torch.sigmoid(Z2)
    Z3 = W3 @ A2 + b3
    m = X.shape[1]
    J = (torch.logaddexp(Z3, torch.zeros_like(Z3)) - Y * Z3).sum() / m
    return J, {"Z2": Z2, "A2": A2, "Z3": Z3}


COLUMNS = {
    "X": real("d", "m"),
    "W2": real("h", "d"),
    "b2": real("h", 1),
    "W3": real("k", "h"),
    "b3": real("k", 1),
    "Y": binary("k", "m"),
}


@correct(column_forward, COLUMNS)
def samples_in_columns(X, W2, W3, Y, A2, Z3):
    m = X.shape[1]
    delta3 = (torch.sigmoid(Z3) - Y) / m
    dA2 = W3.T @ delta3
    delta2 = dA2 * A2 * (1 - A2)
    return {
        "Z3": delta3,
        "W3": delta3 @ A2.T,
        "b3": delta3.sum(dim=1, keepdim=True),
        "A2": dA2,
        "Z2": delta2,
        "W2": delta2 @ X.T,
        "b2": delta2.sum(dim=1, keepdim=True),
        "X": W2.T @ delta2,
    }


@correct(column_forward, COLUMNS, options={"verdict": "rescaled"})
def numpy_columns_mean_in_the_weights(X, W3, Y, A2, Z3):
    X, W3, Y, A2, Z3 = X.numpy(), W3.numpy(), Y.numpy(), A2.numpy(), Z3.numpy()
    m = X.shape[1]
    A3 = 1 / (1 + np.exp(-Z3))
    dZ3 = A3 - Y
    dW3 = np.dot(dZ3, A2.T) / m
    db3 = np.sum(dZ3, axis=1, keepdims=True) / m
    dZ2 = np.dot(W3.T, dZ3) * (A2 * (1 - A2))
    dW2 = np.dot(dZ2, X.T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    return {"Z3": dZ3, "W3": dW3, "b3": db3, "Z2": dZ2, "W2": dW2, "b2": db2}


@correct(tanh_net, NUMBERS)
def sample_by_sample(x, W2, W3, y, z2, a2, z3):
    m = len(x)
    gW2, gb2 = torch.zeros_like(W2), torch.zeros(W2.shape[0], dtype=W2.dtype)
    gW3, gb3 = torch.zeros_like(W3), torch.zeros(W3.shape[0], dtype=W3.dtype)
    gz2, gz3, ga2, gx = torch.zeros_like(z2), torch.zeros_like(z3), torch.zeros_like(a2), torch.zeros_like(x)
    for i in range(m):
        gz3[i] = (z3[i] - y[i]) / m
        gW3 += torch.outer(gz3[i], a2[i])
        gb3 += gz3[i]
        ga2[i] = W3.T @ gz3[i]
        gz2[i] = ga2[i] * (1 - a2[i] ** 2)
        gW2 += torch.outer(gz2[i], x[i])
        gb2 += gz2[i]
        gx[i] = W2.T @ gz2[i]
    return {"z3": gz3, "W3": gW3, "b3": gb3, "a2": ga2, "z2": gz2, "W2": gW2, "b2": gb2, "x": gx}


def deep_forward(x, W2, b2, W3, b3, W4, b4, W5, b5, y):
    values = {}
    a = x
    for layer, (W, b) in enumerate([(W2, b2), (W3, b3), (W4, b4)], start=2):
        values[f"z{layer}"] = a @ W.T + b
        a = values[f"a{layer}"] = torch.sigmoid(values[f"z{layer}"])
    values["z5"] = a @ W5.T + b5
    return log_loss(values["z5"], y), values


DEEP = {
    "x": real("m", "d"),
    "W2": real("h", "d"),
    "b2": real("h"),
    "W3": real("p", "h"),
    "b3": real("p"),
    "W4": real("q", "p"),
    "b4": real("q"),
    "W5": real("k", "q"),
    "b5": real("k"),
    "y": binary("m", "k"),
}


@correct(deep_forward, DEEP)
def loop_over_layers(y, **t):
    """A dictionary of everything and one loop from the last layer down."""
    last = 5
    t["a1"] = t["x"]
    grads = {}
    delta = (torch.sigmoid(t[f"z{last}"]) - y) / len(y)
    for layer in range(last, 1, -1):
        grads[f"z{layer}"] = delta
        grads[f"W{layer}"] = delta.T @ t[f"a{layer - 1}"]
        grads[f"b{layer}"] = delta.sum(0)
        da = delta @ t[f"W{layer}"]
        if layer > 2:
            a = t[f"a{layer - 1}"]
            grads[f"a{layer - 1}"] = da
            delta = da * a * (1 - a)
        else:
            grads["x"] = da
    return grads


@correct(deep_forward, DEEP)
def lists_as_in_nielsen(x, W2, W3, W4, W5, y, z2, z3, z4, z5):
    """Lists indexed from the end; sigma' is taken of z, and each sample is a column."""

    def sigmoid_prime(z):
        return torch.sigmoid(z) * (1 - torch.sigmoid(z))

    weights = [W2, W3, W4, W5]
    zs = [z.T for z in (z2, z3, z4, z5)]
    activations = [x.T] + [torch.sigmoid(z) for z in zs]
    nabla_w, nabla_b, deltas = [None] * 4, [None] * 4, [None] * 4
    delta = (activations[-1] - y.T) / x.shape[0]
    deltas[-1], nabla_b[-1] = delta, delta.sum(1)
    nabla_w[-1] = delta @ activations[-2].T
    for back in range(2, 5):
        delta = (weights[-back + 1].T @ delta) * sigmoid_prime(zs[-back])
        deltas[-back], nabla_b[-back] = delta, delta.sum(1)
        nabla_w[-back] = delta @ activations[-back - 1].T
    grads = {}
    for layer in range(4):
        grads[f"z{layer + 2}"] = deltas[layer].T
        grads[f"W{layer + 2}"], grads[f"b{layer + 2}"] = nabla_w[layer], nabla_b[layer]
    return grads


class Dense:
    def __init__(self, W, x):
        self.W, self.x = W, x

    def backward(self, dout):
        self.dW = dout.T @ self.x
        self.db = dout.sum(0)
        return dout @ self.W


class Sigmoid:
    def __init__(self, out):
        self.out = out

    def backward(self, dout):
        return dout * self.out * (1 - self.out)


@correct(sigmoid_net, YES_NO)
def objects_with_backward(x, W2, W3, y, a2, z3):
    last, squash, first = Dense(W3, a2), Sigmoid(a2), Dense(W2, x)
    dz3 = (torch.sigmoid(z3) - y) / y.shape[0]
    da2 = last.backward(dz3)
    dz2 = squash.backward(da2)
    dx = first.backward(dz2)
    return {
        "z3": dz3,
        "W3": last.dW,
        "b3": last.db,
        "a2": da2,
        "z2": dz2,
        "W2": first.dW,
        "b2": first.db,
        "x": dx,
    }


@correct(sigmoid_net, YES_NO)
def einsum_everywhere(x, W2, W3, y, a2, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = torch.einsum("mk,kh->mh", d3, W3)
    d2 = da2 * a2 * (1 - a2)
    return {
        "z3": d3,
        "W3": torch.einsum("mk,mh->kh", d3, a2),
        "b3": torch.einsum("mk->k", d3),
        "a2": da2,
        "z2": d2,
        "W2": torch.einsum("mh,md->hd", d2, x),
        "b2": torch.einsum("mh->h", d2),
        "x": torch.einsum("mh,hd->md", d2, W2),
    }


def probability_forward(x, W2, b2, y):
    """Logistic regression with the activation named: dJ/da has a step of its own."""
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    J = -(y * F.logsigmoid(z2) + (1 - y) * F.logsigmoid(-z2)).sum() / len(x)
    return J, {"z2": z2, "a2": a2}


LOGISTIC = {"x": real("m", "d"), "W2": real("k", "d"), "b2": real("k"), "y": binary("m", "k")}


@correct(probability_forward, LOGISTIC)
def logistic_regression(x, W2, y, z2):
    d2 = (torch.sigmoid(z2) - y) / len(x)
    return {"z2": d2, "W2": d2.T @ x, "b2": d2.sum(0), "x": d2 @ W2}


def squared_output_forward(x, W2, b2, W3, b3, y):
    """A sigmoid output with half squared error: the slope of the sigmoid stays in the last delta."""
    z2 = x @ W2.T + b2
    a2 = torch.tanh(z2)
    z3 = a2 @ W3.T + b3
    a3 = torch.sigmoid(z3)
    return half_square(a3, y), {"z2": z2, "a2": a2, "z3": z3, "a3": a3}


@correct(squared_output_forward, YES_NO)
def sigmoid_output_with_half_square(x, W2, W3, y, a2, a3):
    da3 = (a3 - y) / len(x)
    d3 = da3 * a3 * (1 - a3)
    da2 = d3 @ W3
    d2 = da2 * (1 - a2**2)
    return {
        "a3": da3,
        "z3": d3,
        "W3": d3.T @ a2,
        "b3": d3.sum(0),
        "a2": da2,
        "z2": d2,
        "W2": d2.T @ x,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


def softmax_regression_forward(x, W2, b2, y):
    z2 = x @ W2.T + b2
    logp = z2 - torch.logsumexp(z2, 1, keepdim=True)
    return -logp[torch.arange(len(x)), y].mean(), {"z2": z2, "logp": logp}


SOFTMAX_REGRESSION = {
    "x": real("m", "d"),
    "W2": real("k", "d"),
    "b2": real("k"),
    "y": index("m", classes="k"),
}


@correct(softmax_regression_forward, SOFTMAX_REGRESSION)
def log_softmax_step_by_step(x, W2, y, logp):
    m = len(x)
    dlogp = torch.zeros_like(logp)
    dlogp[torch.arange(m), y] = -1 / m
    dz2 = dlogp - torch.exp(logp) * dlogp.sum(1, keepdim=True)
    return {"logp": dlogp, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0), "x": dz2 @ W2}


def square_forward(x, W2, b2, W3, b3, W4, b4, y):
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W3.T + b3
    a3 = torch.sigmoid(z3)
    z4 = a3 @ W4.T + b4
    return log_loss(z4, y), {"z2": z2, "a2": a2, "z3": z3, "a3": a3, "z4": z4}


SQUARE = {
    "x": real("m", "h"),
    "W2": real("h", "h"),
    "b2": real("h"),
    "W3": real("h", "h"),
    "b3": real("h"),
    "W4": real("k", "h"),
    "b4": real("k"),
    "y": binary("m", "k"),
}


@correct(square_forward, SQUARE)
def three_layers_of_one_width(x, W2, W3, W4, y, a2, a3, z4):
    d4 = (torch.sigmoid(z4) - y) / len(x)
    da3 = d4 @ W4
    d3 = da3 * a3 * (1 - a3)
    da2 = d3 @ W3
    d2 = da2 * a2 * (1 - a2)
    grads = {"z4": d4, "a3": da3, "z3": d3, "a2": da2, "z2": d2, "x": d2 @ W2}
    grads |= {"W4": d4.T @ a3, "W3": d3.T @ a2, "W2": d2.T @ x}
    return grads | {"b4": d4.sum(0), "b3": d3.sum(0), "b2": d2.sum(0)}
