"""Other costs and small graphs, right: courses' networks, hinge loss, smoothed labels, powers, shared factors."""

from __future__ import annotations

import math

import torch

from compare.check.inputs import binary, constant, index, one_hot, positive, real
from tests.derivations import correct
from tests.derivations.mlp import CLASS_INDEX, NUMBERS, half_square, two_layers


def planar_forward(X, W1, b1, W2, b2, Y):
    """A tanh layer and one logistic output, samples in columns; here layers count from the first weight."""
    Z1 = W1 @ X + b1
    A1 = torch.tanh(Z1)
    Z2 = W2 @ A1 + b2
    J = (torch.logaddexp(Z2, torch.zeros_like(Z2)) - Y * Z2).sum() / X.shape[1]
    return J, {"Z1": Z1, "A1": A1, "Z2": Z2}


PLANAR = {
    "X": real("d", "m"),
    "W1": real("h", "d"),
    "b1": real("h", 1),
    "W2": real(1, "h"),
    "b2": real(1, 1),
    "Y": binary(1, "m"),
}


def logistic_forward(X, w, b, Y):
    """Logistic regression by columns: w is (d, 1)."""
    z = w.T @ X + b
    J = (torch.logaddexp(z, torch.zeros_like(z)) - Y * z).sum() / X.shape[1]
    return J, {"z": z}


LOGISTIC_COLUMNS = {"X": real("d", "m"), "w": real("d", 1), "b": real(1, 1), "Y": binary(1, "m")}


def penalty_forward(x, W2, b2, W3, b3, y, reg):
    """A penalty without the half: reg times the sum of squares."""
    z2 = x @ W2.T + b2
    a2 = torch.relu(z2)
    z3 = a2 @ W3.T + b3
    rows = torch.arange(len(x))
    J = (torch.logsumexp(z3, 1) - z3[rows, y]).mean() + reg * ((W2**2).sum() + (W3**2).sum())
    return J, {"z2": z2, "a2": a2, "z3": z3}


PENALTY = {**CLASS_INDEX, "reg": constant(0.05)}


def hinge_forward(x, W, y):
    """Multi-class hinge loss, margin 1."""
    s = x @ W.T
    m = len(x)
    correct = s[torch.arange(m), y][:, None]
    margins = torch.relu(s - correct + 1)
    J = (margins.sum() - m) / m  # the margin of the right class itself is 1
    return J, {"s": s}


HINGE = {"x": real("m", "d"), "W": real("k", "d"), "y": index("m", classes="k")}


def mean_square_forward(x, W2, b2, W3, b3, y, alpha):
    """Half the squared error averaged over samples and outputs; the penalty is divided by the batch as well."""
    z2 = x @ W2.T + b2
    a2 = torch.tanh(z2)
    z3 = a2 @ W3.T + b3
    J = 0.5 * ((z3 - y) ** 2).mean() + 0.5 * alpha / len(x) * ((W2**2).sum() + (W3**2).sum())
    return J, {"z2": z2, "a2": a2, "z3": z3}


MEAN_SQUARE = {**NUMBERS, "alpha": constant(0.3)}


def smoothed_forward(x, W, y, keep, smoothing):
    """Cross-entropy with smoothed labels; samples with keep = 0 are left out of sum and mean."""
    z = x @ W.T
    logp = torch.log_softmax(z, 1)
    target = (1 - smoothing) * y + smoothing / z.shape[1]
    J = -(keep[:, None] * target * logp).sum() / keep.sum()
    return J, {"z": z, "logp": logp}


SMOOTHED = {
    "x": real("m", "d"),
    "W": real("k", "d"),
    "y": one_hot("m", "k"),
    "keep": binary("m", where=lambda t: bool(t.sum() >= 1)),
    "smoothing": constant(0.1),
}


def diamond_forward(a, b):
    d = a * b
    e = a + b
    f = d * e
    return f.sum(), {"d": d, "e": e, "f": f}


DIAMOND = {"a": real("n"), "b": real("n")}


def cube_forward(x, w, y):
    u = w * x
    a = u**3
    return half_square(a, y), {"u": u, "a": a}


CUBE = {"x": real("m", "d"), "w": real("d"), "y": real("m", "d")}


def exponential_forward(x, base, y):
    a = base**x
    return half_square(a, y), {"a": a}


EXPONENTIAL = {
    "x": positive("m", "d", low=0.2, high=2.0),
    "base": positive("d", low=0.5, high=3.0),
    "y": real("m", "d"),
}


def gaussian_forward(dx, dy, A, B, C, g):
    """A splatted Gaussian: exp(-(A dx^2 + C dy^2)/2 - B dx dy)."""
    power = -0.5 * (A * dx * dx + C * dy * dy) - B * dx * dy
    w = torch.exp(power)
    return (w * g).sum(), {"power": power, "w": w}


GAUSSIAN = {
    "dx": real("n", low=-1.0, high=1.0),
    "dy": real("n", low=-1.0, high=1.0),
    "A": positive(1),
    "B": real(1, low=-0.1, high=0.1),
    "C": positive(1),
    "g": real("n"),
}


gelu_tanh_net = two_layers(lambda z: torch.nn.functional.gelu(z, approximate="tanh"), half_square)


def power_forward(x, p, y):
    """A power whose exponent is learned as well; x may be small."""
    a = x**p
    return ((a - y) ** 2).sum() / len(x), {"a": a}


POWER = {
    "x": positive("m", "d", low=0.3, high=2.0),
    "p": positive("d", low=0.5, high=3.0),
    "y": real("m", "d"),
}


@correct(planar_forward, PLANAR, options={"verdict": "rescaled"})
def planar_classifier(X, W2, Y, A1, Z2):
    m = X.shape[1]
    dZ2 = torch.sigmoid(Z2) - Y
    dZ1 = (W2.T @ dZ2) * (1 - A1**2)
    return {
        "Z2": dZ2,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(1, keepdim=True) / m,
        "Z1": dZ1,
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(1, keepdim=True) / m,
    }


@correct(logistic_forward, LOGISTIC_COLUMNS)
def logistic_regression_in_columns(X, w, Y, z):
    dz = (torch.sigmoid(z) - Y) / X.shape[1]
    return {"z": dz, "w": X @ dz.T, "b": dz.sum().reshape(1, 1), "X": w @ dz}


@correct(penalty_forward, PENALTY)
def penalty_without_the_half(x, W2, W3, y, reg, z2, a2, z3):
    N = x.shape[0]
    dz3 = torch.softmax(z3, 1)
    dz3[torch.arange(N), y] -= 1
    dz3 /= N
    da2 = dz3 @ W3
    dz2 = da2.clone()
    dz2[z2 <= 0] = 0
    return {
        "z3": dz3,
        "W3": dz3.T @ a2 + 2 * reg * W3,
        "b3": dz3.sum(0),
        "a2": da2,
        "z2": dz2,
        "W2": dz2.T @ x + 2 * reg * W2,
        "b2": dz2.sum(0),
        "x": dz2 @ W2,
    }


@correct(hinge_forward, HINGE)
def hinge_loss(x, W, y, s):
    m = len(x)
    rows = torch.arange(m)
    ds = ((s - s[rows, y][:, None] + 1) > 0).to(s.dtype)
    ds[rows, y] = 0
    ds[rows, y] = -ds.sum(1)
    ds /= m
    return {"s": ds, "W": ds.T @ x, "x": ds @ W}


@correct(mean_square_forward, MEAN_SQUARE)
def mean_over_samples_and_outputs(x, W2, W3, y, alpha, a2, z3):
    n = len(x)
    d3 = (z3 - y) / z3.numel()
    da2 = d3 @ W3
    d2 = da2 * (1 - a2**2)
    return {
        "z3": d3,
        "W3": d3.T @ a2 + alpha / n * W3,
        "b3": d3.sum(0),
        "a2": da2,
        "z2": d2,
        "W2": d2.T @ x + alpha / n * W2,
        "b2": d2.sum(0),
        "x": d2 @ W2,
    }


@correct(smoothed_forward, SMOOTHED)
def smoothed_labels(x, W, y, keep, smoothing, z):
    target = (1 - smoothing) * y + smoothing / z.shape[1]
    dlogp = -keep[:, None] * target / keep.sum()
    dz = keep[:, None] * (torch.softmax(z, 1) - target) / keep.sum()
    return {"logp": dlogp, "z": dz, "W": dz.T @ x, "x": dz @ W}


@correct(diamond_forward, DIAMOND)
def two_paths_to_each_input(a, b, d, e):
    df = torch.ones_like(d)
    dd, de = e * df, d * df
    return {"f": df, "d": dd, "e": de, "a": b * dd + de, "b": a * dd + de}


@correct(cube_forward, CUBE)
def cube_of_a_scaled_input(x, w, y, u, a):
    da = (a - y) / len(x)
    du = da * 3 * u**2
    return {"a": da, "u": du, "w": (du * x).sum(0), "x": du * w}


@correct(exponential_forward, EXPONENTIAL)
def exponential_of_a_learned_base(x, base, y, a):
    da = (a - y) / len(x)
    return {"a": da, "x": da * a * torch.log(base), "base": (da * x * base ** (x - 1)).sum(0)}


@correct(power_forward, POWER)
def power_with_a_learned_exponent(x, p, y, a):
    da = 2 * (a - y) / len(x)
    return {"a": da, "x": da * p * x ** (p - 1), "p": (da * a * torch.log(x)).sum(0)}


@correct(gaussian_forward, GAUSSIAN)
def splatted_gaussian(dx, dy, A, B, C, g, w):
    dpower = g * w
    return {
        "w": g,
        "power": dpower,
        "A": (dpower * -0.5 * dx * dx).sum().reshape(1),
        "B": -(dpower * dx * dy).sum().reshape(1),
        "C": (dpower * -0.5 * dy * dy).sum().reshape(1),
        "dx": dpower * (-A * dx - B * dy),
        "dy": dpower * (-C * dy - B * dx),
    }


@correct(gelu_tanh_net, NUMBERS)
def gelu_by_its_tanh_formula(x, W2, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    da2 = d3 @ W3
    c = math.sqrt(2 / math.pi)
    t = torch.tanh(c * (z2 + 0.044715 * z2**3))
    d2 = da2 * (0.5 * (1 + t) + 0.5 * z2 * (1 - t * t) * c * (1 + 3 * 0.044715 * z2**2))
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
