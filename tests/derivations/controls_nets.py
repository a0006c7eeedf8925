"""Forwards and inputs that several files of controls share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compare.check.inputs import binary, one_hot, real

LAYER = {"x": real("m", "d"), "W": real("k", "d"), "b": real("k"), "c": real("m", "k")}
NET = {
    "x": real("m", "d"),
    "W2": real("h", "d"),
    "b2": real("h"),
    "W3": real("k", "h"),
    "b3": real("k"),
}
LOGISTIC = {**NET, "y": binary("m", "k")}
REGRESSION = {**NET, "y": real("m", "k")}
CLASSES = {**NET, "y": one_hot("m", "k")}


def layer(x, W, b, c):
    """A linear layer whose output is handed the delta c."""
    z = x @ W.T + b
    return (c * z).sum(), {"z": z}


def logistic(x, y, W2, b2, W3, b3):
    """Sigmoid hidden units and the stable log-loss, averaged over the batch."""
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W3.T + b3
    J = (F.softplus(z3) - y * z3).sum() / len(x)
    return J, {"z2": z2, "a2": a2, "z3": z3}


def regression(x, y, W2, b2, W3, b3):
    """Tanh hidden units and half the squared error, averaged over the batch."""
    z2 = x @ W2.T + b2
    a2 = torch.tanh(z2)
    z3 = a2 @ W3.T + b3
    J = ((z3 - y) ** 2).sum() / (2 * len(x))
    return J, {"z2": z2, "a2": a2, "z3": z3}


def classes(x, y, W2, b2, W3, b3):
    """Tanh hidden units, softmax and cross-entropy, averaged over the batch."""
    z2 = x @ W2.T + b2
    a2 = torch.tanh(z2)
    z3 = a2 @ W3.T + b3
    J = -(y * torch.log_softmax(z3, dim=1)).sum() / len(x)
    return J, {"z2": z2, "a2": a2, "z3": z3}


def normal(seed: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Normal float64 numbers of the given shapes, for inputs of fixed size."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
