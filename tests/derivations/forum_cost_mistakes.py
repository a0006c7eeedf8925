"""Mistakes that were really made and reported: costs, penalties and elementwise rules of frameworks.

The code is written anew for the reported mistake; the causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import math

import torch

from compare.check.inputs import real
from tests.derivations import wrong
from tests.derivations.mlp import CLASS_INDEX, class_index_forward, weights
from tests.derivations.mlp_costs import (
    CUBE,
    DIAMOND,
    EXPONENTIAL,
    GAUSSIAN,
    HINGE,
    MEAN_SQUARE,
    PENALTY,
    SMOOTHED,
    cube_forward,
    diamond_forward,
    exponential_forward,
    gaussian_forward,
    gelu_tanh_net,
    hinge_forward,
    mean_square_forward,
    penalty_forward,
    smoothed_forward,
)


@wrong(penalty_forward, PENALTY, steps=("W3", "W2"), cause="wrong_l2", source="CS231n: with and without the half")
def gradient_of_the_other_penalty(x, W2, W3, y, reg, z2, a2, z3):
    N = x.shape[0]
    scores = torch.softmax(z3, 1)
    scores[torch.arange(N), y] -= 1
    dz3 = scores / N
    dz2 = dz3 @ W3
    dz2[z2 <= 0] = 0
    return {"z3": dz3, "W3": dz3.T @ a2 + reg * W3, "z2": dz2, "W2": dz2.T @ x + reg * W2, "b2": dz2.sum(0)}


@wrong(hinge_forward, HINGE, steps=("s",), cause="wrong_count", source="CS231n assignment 1, SVM")
def right_class_counted_once(x, W, y, s):
    """The score of the right class appears in every margin that is violated, not in one."""
    m = len(x)
    rows = torch.arange(m)
    ds = ((s - s[rows, y][:, None] + 1) > 0).to(s.dtype)
    ds[rows, y] = -1
    ds /= m
    return {"s": ds, "W": ds.T @ x, "x": ds @ W}


@wrong(hinge_forward, HINGE, steps=("s",), cause="missing_path", source="CS231n assignment 1, SVM")
def right_class_forgotten(x, W, y, s):
    m = len(x)
    rows = torch.arange(m)
    ds = ((s - s[rows, y][:, None] + 1) > 0).to(s.dtype)
    ds[rows, y] = 0
    ds /= m
    return {"s": ds, "W": ds.T @ x, "x": ds @ W}


@wrong(hinge_forward, HINGE, steps=("s",), cause="wrong_activation_derivative", source="CS231n assignment 1, SVM")
def margins_for_indicators(x, W, y, s):
    m = len(x)
    rows = torch.arange(m)
    ds = torch.relu(s - s[rows, y][:, None] + 1)
    ds[rows, y] = 0
    ds[rows, y] = -ds.sum(1)
    ds /= m
    return {"s": ds, "W": ds.T @ x, "x": ds @ W}


@wrong(mean_square_forward, MEAN_SQUARE, steps=("z3",), cause="wrong_count", source="scikit-learn 8349")
def not_averaged_over_outputs(x, W2, W3, y, alpha, a2, z3):
    n = len(x)
    d3 = (z3 - y) / n
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2 + alpha / n * W3, "z2": d2, "W2": d2.T @ x + alpha / n * W2}


@wrong(mean_square_forward, MEAN_SQUARE, steps=("W3", "W2"), cause="wrong_l2", source="scikit-learn 6780, 10477")
def penalty_taken_without_the_batch(x, W2, W3, y, alpha, a2, z3):
    d3 = (z3 - y) / z3.numel()
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2 + alpha * W3, "z2": d2, "W2": d2.T @ x + alpha * W2}


@wrong(smoothed_forward, SMOOTHED, steps=("z",), cause="wrong_mask", source="pytorch 73205: ignored samples smoothed")
def ignored_samples_smoothed(x, W, y, keep, smoothing, z):
    p = torch.softmax(z, 1)
    hard = keep[:, None] * (p - y) * (1 - smoothing)
    soft = (p - 1 / z.shape[1]) * smoothing
    dz = (hard + soft) / keep.sum()
    return {"z": dz, "W": dz.T @ x, "x": dz @ W}


@wrong(
    smoothed_forward, SMOOTHED, steps=("z",), cause="wrong_count", source="pytorch 69339 and its fix: the denominator"
)
def mean_over_ignored_samples(x, W, y, keep, smoothing, z):
    p = torch.softmax(z, 1)
    target = (1 - smoothing) * y + smoothing / z.shape[1]
    dz = keep[:, None] * (p - target) / len(x)
    return {"z": dz, "W": dz.T @ x, "x": dz @ W}


@wrong(smoothed_forward, SMOOTHED, steps=("z",), cause="missing_path", source="Liger-Kernel 198: smoothing's own share")
def smoothing_only_in_the_right_class(x, W, y, keep, smoothing, z):
    dz = torch.softmax(z, 1) - (1 - smoothing) * y
    dz = keep[:, None] * dz / keep.sum()
    return {"z": dz, "W": dz.T @ x, "x": dz @ W}


@wrong(diamond_forward, DIAMOND, steps=("b", "a"), cause="overwritten", source="micrograd's lecture: a node used twice")
def assigned_instead_of_added(a, b, d, e):
    grad = {"f": torch.ones_like(d)}
    grad["d"], grad["e"] = e * grad["f"], d * grad["f"]
    grad["a"], grad["b"] = grad["e"], grad["e"]
    grad["a"], grad["b"] = b * grad["d"], a * grad["d"]
    return grad


_kept: dict[str, torch.Tensor] = {}


@wrong(
    diamond_forward,
    DIAMOND,
    steps=("b", "a"),
    cause="stale_state",
    options={"stateful": True},
    source="micrograd 102: gradients of the last call are still there",
)
def gradients_never_zeroed(a, b, d, e):
    new = {"f": torch.ones_like(d), "d": e, "e": d, "a": d + e * b, "b": d + e * a}
    for name in ("a", "b"):
        if name in _kept and _kept[name].shape == new[name].shape:
            new[name] = _kept[name] + new[name]
        _kept[name] = new[name].clone()
    return new


@wrong(
    cube_forward, CUBE, steps=("u",), cause="wrong_activation_derivative", source="js-pytorch 42: 2 a for any exponent"
)
def derivative_of_the_square(x, w, y, u, a):
    da = (a - y) / len(x)
    du = da * 2 * u
    return {"a": da, "u": du, "w": (du * x).sum(0), "x": du * w}


@wrong(
    cube_forward, CUBE, steps=("u",), cause="wrong_activation_derivative", source="ocannl 73: ReLU's rule was copied"
)
def rule_of_relu_for_a_power(x, w, y, u, a):
    da = (a - y) / len(x)
    du = torch.where(a > 0, da, torch.zeros_like(da))
    return {"a": da, "u": du, "w": (du * x).sum(0), "x": du * w}


@wrong(cube_forward, CUBE, steps=("w",), cause="bias_not_reduced", source="nd4j 2424, burn 181: broadcasting")
def broadcast_factor_not_reduced(x, w, y, u, a):
    da = (a - y) / len(x)
    du = da * 3 * u**2
    return {"a": da, "u": du, "w": du * x, "x": du * w}


@wrong(exponential_forward, EXPONENTIAL, steps=("x",), cause="wrong_operand", source="tt-metal 55289: rpow")
def power_rule_for_an_exponential(x, base, y, a):
    da = (a - y) / len(x)
    return {"a": da, "x": da * base * x ** (base - 1), "base": (da * x * base ** (x - 1)).sum(0)}


@wrong(gaussian_forward, GAUSSIAN, steps=("B",), cause="wrong_factor", source="gaussian-splatting 551")
def half_in_the_mixed_term(dx, dy, A, B, C, g, w):
    dw = g
    dpower = dw * w
    return {
        "w": dw,
        "power": dpower,
        "A": (dpower * -0.5 * dx * dx).sum().reshape(1),
        "B": (dpower * -0.5 * dx * dy).sum().reshape(1),
        "C": (dpower * -0.5 * dy * dy).sum().reshape(1),
        "dx": dpower * (-A * dx - B * dy),
    }


@wrong(gelu_tanh_net, weights(real("m", "k")), steps=("z2",), cause="wrong_factor", source="GPT-2 ports: the 3 of z^3")
def cubic_term_not_differentiated(x, W3, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    c = math.sqrt(2 / math.pi)
    t = torch.tanh(c * (z2 + 0.044715 * z2**3))
    slope = 0.5 * (1 + t) + 0.5 * z2 * (1 - t * t) * c * (1 + 0.044715 * z2**2)
    d2 = (d3 @ W3) * slope
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(
    class_index_forward,
    CLASS_INDEX,
    steps=("z3",),
    cause="wrong_operand",
    source="threads on softmax: p of the label only",
)
def only_the_right_class_gets_a_gradient(x, W3, y, a2, z3):
    m = len(x)
    rows = torch.arange(m)
    p = torch.softmax(z3, 1)
    d3 = torch.zeros_like(z3)
    d3[rows, y] = (p[rows, y] - 1) / m
    d2 = (d3 @ W3) * (1 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}
