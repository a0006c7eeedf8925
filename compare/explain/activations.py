"""Elementwise functions that a forward may apply, with their derivatives: value and derivative side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """An elementwise function, and its derivative in its output a or its input z, as text and as a function of both."""

    function: Callable[[Tensor], Tensor]
    call: str  # its value at z
    text: str
    derivative: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS = {
    "sigmoid": Activation(torch.sigmoid, "torch.sigmoid({z})", "{a} * (1 - {a})", lambda a, z: a * (1 - a)),
    "tanh": Activation(torch.tanh, "torch.tanh({z})", "(1 - {a} ** 2)", lambda a, z: 1 - a * a),
    "relu": Activation(torch.relu, "torch.relu({z})", "({z} > 0)", lambda a, z: (z > 0).double()),
    "exp": Activation(torch.exp, "torch.exp({z})", "{a}", lambda a, z: a),
    "log": Activation(torch.log, "torch.log({z})", "(1 / {z})", lambda a, z: 1 / z),
    "sqrt": Activation(torch.sqrt, "torch.sqrt({z})", "(0.5 / {a})", lambda a, z: 0.5 / a),
    "square": Activation(torch.square, "{z} ** 2", "(2 * {z})", lambda a, z: 2 * z),
    "softplus": Activation(
        torch.nn.functional.softplus,
        "torch.nn.functional.softplus({z})",
        "torch.sigmoid({z})",
        lambda a, z: torch.sigmoid(z),
    ),
    "elu": Activation(
        torch.nn.functional.elu,
        "torch.nn.functional.elu({z})",
        "torch.where({z} > 0, 1.0, torch.exp({z}))",
        lambda a, z: torch.where(z > 0, torch.ones_like(z), torch.exp(z)),
    ),
    "gelu": Activation(
        torch.nn.functional.gelu,
        "torch.nn.functional.gelu({z})",
        "(0.5 * (1 + torch.erf({z} * 0.5 ** 0.5)) + {z} * torch.exp(-0.5 * {z} ** 2) / (2 * torch.pi) ** 0.5)",
        lambda a, z: 0.5 * (1 + torch.erf(z * 0.5**0.5)) + z * torch.exp(-0.5 * z * z) / (2 * math.pi) ** 0.5,
    ),
    "gelu_tanh": Activation(
        lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        "torch.nn.functional.gelu({z}, approximate='tanh')",
        "(0.5 * (1 + torch.tanh(0.7978845608 * ({z} + 0.044715 * {z} ** 3))) + 0.5 * {z} * (1 - torch.tanh("
        "0.7978845608 * ({z} + 0.044715 * {z} ** 3)) ** 2) * 0.7978845608 * (1 + 0.134145 * {z} ** 2))",
        lambda a, z: _gelu_tanh_slope(z),
    ),
    "cube": Activation(lambda z: z**3, "{z} ** 3", "(3 * {z} ** 2)", lambda a, z: 3 * z * z),
    "silu": Activation(
        torch.nn.functional.silu,
        "torch.nn.functional.silu({z})",
        "torch.sigmoid({z}) * (1 + {z} * (1 - torch.sigmoid({z})))",
        lambda a, z: torch.sigmoid(z) * (1 + z * (1 - torch.sigmoid(z))),
    ),
    "quick_gelu": Activation(
        lambda z: z * torch.sigmoid(1.702 * z),
        "{z} * torch.sigmoid(1.702 * {z})",
        "torch.sigmoid(1.702 * {z}) * (1 + 1.702 * {z} * (1 - torch.sigmoid(1.702 * {z})))",
        lambda a, z: torch.sigmoid(1.702 * z) * (1 + 1.702 * z * (1 - torch.sigmoid(1.702 * z))),
    ),
    "hardswish": Activation(
        torch.nn.functional.hardswish,
        "torch.nn.functional.hardswish({z})",
        "torch.where({z} <= -3, 0.0, torch.where({z} >= 3, 1.0, {z} / 3 + 0.5))",
        lambda a, z: torch.where(z <= -3, 0.0, torch.where(z >= 3, 1.0, z / 3 + 0.5)),
    ),
    "mish": Activation(
        torch.nn.functional.mish,
        "torch.nn.functional.mish({z})",
        "(torch.tanh(torch.nn.functional.softplus({z})) + {z} * torch.sigmoid({z}) * (1 - torch.tanh("
        "torch.nn.functional.softplus({z})) ** 2))",
        lambda a, z: _mish_slope(z),
    ),
    "softsign": Activation(
        torch.nn.functional.softsign,
        "torch.nn.functional.softsign({z})",
        "(1 / (1 + {z}.abs()) ** 2)",
        lambda a, z: 1 / (1 + z.abs()) ** 2,
    ),
}


def _gelu_tanh_slope(z: Tensor) -> Tensor:
    """The derivative of 0.5 z (1 + tanh(u)), with u = sqrt(2 / pi) (z + 0.044715 z^3)."""
    root = math.sqrt(2 / math.pi)
    t = torch.tanh(root * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * root * (1 + 3 * 0.044715 * z * z)


def _mish_slope(z: Tensor) -> Tensor:
    """The derivative of z tanh(softplus(z))."""
    t = torch.tanh(torch.nn.functional.softplus(z))
    return t + z * torch.sigmoid(z) * (1 - t * t)
