"""Derivatives of activations in other forms: from a instead of z, by identities, without overflow."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import real
from tests.derivations import control
from tests.derivations.controls_nets import LAYER

LIMITED = {
    "x": real("m", "d", low=-1, high=1),
    "W": real("k", "d", low=-1, high=1),
    "b": real("k", low=-1, high=1),
    "c": real("m", "k"),
}


def unit(activation):
    """A linear layer, an activation and a delta c that is handed to it."""

    def forward(x, W, b, c):
        z = x @ W.T + b
        a = activation(z)
        return (c * a).sum(), {"z": z, "a": a}

    return forward


def through(slope):
    """The backward of `unit` by a formula for the slope, given z and a."""

    def backward(x, W, c, z, a):
        dz = c * slope(z, a)
        return {"a": c, "z": dz, "W": dz.T @ x, "b": dz.sum(0), "x": dz @ W}

    return backward


def logistic_slope_without_overflow(z, a):
    e = torch.exp(-z.abs())
    return e / (1 + e) ** 2


def tanh_slope_without_overflow(z, a):
    e = torch.exp(-2 * z.abs())
    return 4 * e / (1 + e) ** 2


def gaussian(z):
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def gelu_tanh_slope(z, a):
    u = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
    t = torch.tanh(u)
    return (1 + t) / 2 + z / 2 * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z)


def mish_slope(z, a):
    t, s = torch.tanh(F.softplus(z)), torch.sigmoid(z)
    return t + z * s * (1 - t) * (1 + t)


SLOPES = {
    "sigmoid_from_a": (torch.sigmoid, lambda z, a: a * (1 - a)),
    "sigmoid_from_a_expanded": (torch.sigmoid, lambda z, a: a - a * a),
    "sigmoid_both_sides": (torch.sigmoid, lambda z, a: torch.sigmoid(z) * torch.sigmoid(-z)),
    "sigmoid_by_cosh": (torch.sigmoid, lambda z, a: 1 / (2 + 2 * torch.cosh(z))),
    "sigmoid_without_overflow": (torch.sigmoid, logistic_slope_without_overflow),
    "sigmoid_by_softplus": (torch.sigmoid, lambda z, a: torch.exp(-F.softplus(z) - F.softplus(-z))),
    "sigmoid_by_logsigmoid": (torch.sigmoid, lambda z, a: a * F.logsigmoid(-z).exp()),
    "tanh_from_a": (torch.tanh, lambda z, a: 1 - a**2),
    "tanh_factored": (torch.tanh, lambda z, a: (1 - a) * (1 + a)),
    "tanh_by_cosh": (torch.tanh, lambda z, a: torch.cosh(z) ** -2),
    "tanh_by_sigmoids": (torch.tanh, lambda z, a: 4 * torch.sigmoid(2 * z) * torch.sigmoid(-2 * z)),
    "tanh_without_overflow": (torch.tanh, tanh_slope_without_overflow),
    "tanh_recomputed": (torch.tanh, lambda z, a: 1 - torch.tanh(z) * torch.tanh(z)),
    "relu_mask": (torch.relu, lambda z, a: (z > 0).to(z.dtype)),
    "relu_from_a": (torch.relu, lambda z, a: (a > 0) * 1.0),
    "relu_sign_of_a": (torch.relu, lambda z, a: torch.sign(a)),
    "relu_half_sum": (torch.relu, lambda z, a: (1 + torch.sign(z)) / 2),
    "relu_heaviside": (torch.relu, lambda z, a: torch.heaviside(z, z.new_zeros(()))),
    "relu_numpy": (torch.relu, lambda z, a: torch.from_numpy(np.where(z.numpy() > 0, 1.0, 0.0)).to(z.dtype)),
    "leaky_where": (
        lambda z: F.leaky_relu(z, 0.1),
        lambda z, a: torch.where(z > 0, torch.ones_like(z), torch.full_like(z, 0.1)),
    ),
    "leaky_from_a": (lambda z: F.leaky_relu(z, 0.1), lambda z, a: 0.1 + 0.9 * (a > 0)),
    "leaky_as_maximum": (lambda z: torch.maximum(z, 0.2 * z), lambda z, a: 0.2 + 0.8 * (z >= 0)),
    "elu_from_a": (F.elu, lambda z, a: torch.where(a > 0, torch.ones_like(a), a + 1)),
    "elu_exp_of_clamp": (F.elu, lambda z, a: torch.exp(z.clamp(max=0))),
    "celu": (lambda z: F.celu(z, 0.5), lambda z, a: torch.exp(2 * z.clamp(max=0))),
    "selu": (
        F.selu,
        lambda z, a: 1.0507009873554805 * torch.where(z > 0, 1.0, 1.6732632423543772 * z.clamp(max=0).exp()),
    ),
    "softplus": (F.softplus, lambda z, a: torch.sigmoid(z)),
    "softplus_from_a": (F.softplus, lambda z, a: -torch.expm1(-a)),
    "softplus_by_logaddexp": (
        lambda z: torch.logaddexp(z, torch.zeros_like(z)),
        lambda z, a: torch.exp(z - a),
    ),
    "softplus_by_log1p": (
        lambda z: z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())),
        lambda z, a: (1 + torch.tanh(z / 2)) / 2,
    ),
    "silu": (F.silu, lambda z, a: torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))),
    "silu_from_a": (F.silu, lambda z, a: a + torch.sigmoid(z) * (1 - a)),
    "gelu_erf": (F.gelu, lambda z, a: (1 + torch.erf(z / math.sqrt(2))) / 2 + z * gaussian(z)),
    "gelu_erfc": (F.gelu, lambda z, a: torch.erfc(-z / math.sqrt(2)) / 2 + z * gaussian(z)),
    "gelu_ndtr": (F.gelu, lambda z, a: torch.special.ndtr(z) + z * gaussian(z)),
    "gelu_tanh": (lambda z: F.gelu(z, approximate="tanh"), gelu_tanh_slope),
    "mish": (F.mish, mish_slope),
    "softsign": (F.softsign, lambda z, a: (1 - a.abs()) ** 2),
    "softsign_from_z": (F.softsign, lambda z, a: 1 / (1 + z.abs()).square()),
    "hardtanh": (F.hardtanh, lambda z, a: ((z > -1) & (z < 1)).to(z.dtype)),
    "hardtanh_from_a": (F.hardtanh, lambda z, a: (a == z) * 1.0),
    "relu6": (F.relu6, lambda z, a: torch.logical_and(a > 0, a < 6) * torch.ones_like(a)),
    "hardsigmoid": (F.hardsigmoid, lambda z, a: (z.abs() < 3) / 6),
    "hardswish": (F.hardswish, lambda z, a: torch.where(z.abs() < 3, z / 3 + 0.5, (z >= 3).to(z.dtype))),
    "softshrink": (F.softshrink, lambda z, a: (a != 0).to(z.dtype)),
    "hardshrink": (F.hardshrink, lambda z, a: (z.abs() > 0.5).to(z.dtype)),
    "threshold_at_zero": (lambda z: z * (z > 0), lambda z, a: (z > 0).to(z.dtype)),
    "abs": (torch.abs, lambda z, a: torch.sign(z)),
    "abs_as_a_choice": (torch.abs, lambda z, a: 1 - 2.0 * (z < 0)),
    "square_relu": (lambda z: torch.relu(z) ** 2, lambda z, a: 2 * z.clamp(min=0)),
    "square_relu_from_a": (lambda z: z * torch.relu(z), lambda z, a: z + z.abs()),
    "sine": (torch.sin, lambda z, a: torch.sin(z + math.pi / 2)),
    "snake": (lambda z: z + torch.sin(z) ** 2, lambda z, a: 1 + torch.sin(2 * z)),
    "arctan": (torch.arctan, lambda z, a: 1 / (1 + z * z)),
    "arctan_from_a": (torch.arctan, lambda z, a: torch.cos(a) ** 2),
    "asinh": (torch.asinh, lambda z, a: torch.rsqrt(1 + z * z)),
    "erf": (torch.erf, lambda z, a: math.sqrt(2) * 2 * gaussian(math.sqrt(2) * z)),
    "log1p_of_square": (lambda z: torch.log1p(z * z), lambda z, a: 2 * z * torch.exp(-a)),
    "root_of_one_plus_square": (lambda z: torch.sqrt(1 + z * z), lambda z, a: z / a),
    "logit_free_gate": (lambda z: z * torch.sigmoid(1.702 * z), lambda z, a: _quick_gelu(z)),
}

BOUNDED = {
    "exp_from_a": (torch.exp, lambda z, a: a),
    "expm1": (torch.expm1, lambda z, a: a + 1),
    "sinh": (torch.sinh, lambda z, a: torch.sqrt(1 + a * a)),
    "cosh": (torch.cosh, lambda z, a: (torch.exp(z) - torch.exp(-z)) / 2),
    "cube": (lambda z: z**3, lambda z, a: 3 * z * z),
    "power_of_two": (lambda z: 2**z, lambda z, a: a * math.log(2)),
    "quartic_horner": (
        lambda z: ((0.1 * z - 0.2) * z + 0.3) * z * z,
        lambda z, a: ((0.4 * z - 0.6) * z + 0.6) * z,
    ),
    "root_of_positive": (lambda z: torch.sqrt(z * z + 0.5), lambda z, a: z * torch.reciprocal(a)),
    "log_of_positive": (lambda z: torch.log(z * z + 0.5), lambda z, a: 2 * z * torch.exp(-a)),
    "tanh_half_angle": (torch.sigmoid, lambda z, a: (1 - torch.tanh(z / 2) ** 2) / 4),
}


def _quick_gelu(z):
    s = torch.sigmoid(1.702 * z)
    return s * (1 + 1.702 * z * (1 - s))


for _name, (_activation, _slope) in SLOPES.items():
    control(unit(_activation), LAYER, name=_name)(through(_slope))
for _name, (_activation, _slope) in BOUNDED.items():
    control(unit(_activation), LIMITED, name=_name)(through(_slope))


@control(unit(torch.tanh), LIMITED)
def tanh_by_complex_step(x, W, c, z):
    step = 1e-30
    dz = c * torch.tanh(torch.complex(z.double(), torch.full_like(z, step).double())).imag / step
    return {"z": dz, "W": dz.T @ x.to(dz.dtype)}


@control(unit(torch.sigmoid), LIMITED)
def sigmoid_by_complex_step(x, W, c, z):
    step = 1e-30
    w = torch.complex(z.double(), torch.full_like(z, step).double())
    dz = c * (1 / (1 + torch.exp(-w))).imag / step
    return {"z": dz, "b": dz.sum(0), "x": dz @ W.to(dz.dtype)}


@control(unit(lambda z: torch.exp(-z * z / 2)), LIMITED)
def bell_by_complex_step_of_the_layer(x, W, b, c):
    """The derivative of every weight by its own complex step, from the inputs alone."""
    step = 1e-30
    dW = np.zeros(W.shape)
    X, V, B, C = (t.double().numpy().astype(complex) for t in (x, W, b, c))
    for index in np.ndindex(*V.shape):
        moved = V.copy()
        moved[index] += 1j * step
        dW[index] = (C * np.exp(-((X @ moved.T + B) ** 2) / 2)).sum().imag / step
    return {"W": dW}


class Dual:
    """value + slope * e, with e * e = 0: forward differentiation written out."""

    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __mul__(self, other):
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def tanh(self):
        t = torch.tanh(self.value)
        return Dual(t, self.slope * (1 - t * t))


@control(unit(lambda z: torch.tanh(z) * z), LIMITED)
def dual_numbers(x, W, c, z):
    w = Dual(z, torch.ones_like(z))
    dz = c * (w.tanh() * w).slope
    return {"z": dz, "x": dz @ W, "W": dz.T @ x, "b": dz.sum(0)}


@control(unit(torch.tanh), LIMITED)
def tanh_by_its_differential_equation(x, c, a):
    dz = (c - c * a * a).mul_(1)
    return {"z": dz, "W": torch.einsum("mk,md->kd", dz, x), "c": a}


@control(unit(lambda z: torch.exp(-torch.exp(-z))), LIMITED)
def gompertz_by_logarithms(x, c, z, a):
    dz = c * torch.exp(torch.log(a) - z)
    return {"z": dz, "W": dz.T @ x}
