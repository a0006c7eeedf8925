"""Layers and costs that are right but for one mistake in their backward, and small data to train them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import manualbp as mbp
from compare.run.config import TrainConfig
from compare.run.data import Data
from manualbp.loss import LossCache


def small_data(task: str = "binary", *, rows: int = 40, features: int = 5, outputs: int = 3, seed: int = 0) -> Data:
    """Random samples with a target that depends on them; three quarters are for training."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=g, dtype=torch.float64)
    scores = x @ torch.randn(features, outputs, generator=g, dtype=torch.float64)
    y = {
        "binary": (scores[:, :1] > 0).double(),
        "classes": scores.argmax(1),
        "regression": scores / scores.std(0),
    }[task]
    m = 3 * rows // 4
    names = {"binary": ("0", "1"), "classes": tuple(map(str, range(outputs))), "regression": ()}[task]
    features_ = tuple(f"x{j}" for j in range(features))
    return Data("small", task, x[:m], y[:m], x[m:], y[m:], features_, names, "y", None, "generated")  # type: ignore[arg-type]


def config(folder: Path, **options: Any) -> TrainConfig:
    """A short run in `folder`."""
    return TrainConfig(**({"runs": str(folder), "epochs": 1, "batch_size": 8, "threads": 1} | options))


def spoiled(kind: type, mistake: Callable[..., tuple[Tensor, dict[str, Any]]], **fields: Any) -> mbp.Layer:
    """A layer of a subclass of `kind` with another backward."""

    @torch.no_grad()
    def backward(self: Any, params: Any, cache: Any, dy: Tensor) -> Any:
        return mistake(params, cache, dy, kind(**fields).backward(params, cache, dy))

    made: mbp.Layer = dataclass(frozen=True)(type(f"My{kind.__name__}", (kind,), {"backward": backward}))(**fields)
    return made


def spoiled_loss(kind: type, mistake: Callable[[LossCache, Tensor], Tensor]) -> mbp.Loss:
    """A cost of a subclass of `kind` with another delta."""

    @torch.no_grad()
    def backward(self: Any, cache: LossCache) -> Tensor:
        return mistake(cache, kind().backward(cache))

    made: mbp.Loss = type(f"My{kind.__name__}", (kind,), {"backward": backward})()
    return made


# activation -> mistakes: (params, cache, da, what is right) -> what backward returns
ACTIVATION_MISTAKES: dict[str, tuple[type, Callable[..., Any]]] = {
    "sigmoid without its (1 - a)": (mbp.Sigmoid, lambda p, c, da, right: (da * c.a, {})),
    "sigmoid's derivative of a for z": (
        mbp.Sigmoid,
        lambda p, c, da, right: (da * torch.sigmoid(c.a) * (1 - torch.sigmoid(c.a)), {}),
    ),
    "tanh with 1 - a": (mbp.Tanh, lambda p, c, da, right: (da * (1 - c.a), {})),
    "tanh off by one percent": (mbp.Tanh, lambda p, c, da, right: (right[0] * 1.01, {})),
    "relu without its mask": (mbp.ReLU, lambda p, c, da, right: (da, {})),
    "relu with the mask turned": (mbp.ReLU, lambda p, c, da, right: (da * (c.z < 0), {})),
    "leaky relu as relu": (mbp.LeakyReLU, lambda p, c, da, right: (da * (c.z > 0), {})),
    "elu without alpha exp(z)": (mbp.ELU, lambda p, c, da, right: (da * (c.z > 0), {})),
    "silu as sigmoid": (mbp.SiLU, lambda p, c, da, right: (da * torch.sigmoid(c.z), {})),
    "softplus' derivative squared": (mbp.Softplus, lambda p, c, da, right: (da * torch.sigmoid(c.z) ** 2, {})),
    "gelu without z phi(z)": (
        mbp.GELU,
        lambda p, c, da, right: (da * 0.5 * torch.erfc(-c.z / 2**0.5), {}),
    ),
    "identity doubled": (mbp.Identity, lambda p, c, da, right: (2 * da, {})),
}

# of the first Linear, by the quantity that must be named
LINEAR_MISTAKES: dict[str, tuple[str, Callable[..., Any]]] = {
    "dW averaged": ("W2", lambda p, c, dz, right: (right[0], right[1] | {"W": right[1]["W"] / len(dz)})),
    "dW of |x|": ("W2", lambda p, c, dz, right: (right[0], right[1] | {"W": dz.t() @ c.x.abs()})),
    "one entry of dW off by 1e-6": (
        "W2",
        lambda p, c, dz, right: (right[0], right[1] | {"W": right[1]["W"] + _one(right[1]["W"], 1e-6)}),
    ),
    "db averaged": ("b2", lambda p, c, dz, right: (right[0], right[1] | {"b": dz.mean(0)})),
    "db of the first sample": ("b2", lambda p, c, dz, right: (right[0], right[1] | {"b": dz[0].clone()})),
    "db left out": ("b2", lambda p, c, dz, right: (right[0], {"W": right[1]["W"]})),
    "db not summed": ("b2", lambda p, c, dz, right: (right[0], right[1] | {"b": dz.clone()})),
}

LOSS_MISTAKES: dict[str, tuple[type, str, Callable[[LossCache, Tensor], Tensor]]] = {
    "log-loss without 1/m": (mbp.LogLoss, "binary", lambda c, right: right * len(c.z)),
    "log-loss with the sign turned": (mbp.LogLoss, "binary", lambda c, right: -right),
    "log-loss times sigma'": (
        mbp.LogLoss,
        "binary",
        lambda c, right: right * torch.sigmoid(c.z) * (1 - torch.sigmoid(c.z)),
    ),
    "cross-entropy without the one-hot": (
        mbp.CrossEntropy,
        "classes",
        lambda c, right: torch.softmax(c.z, 1) / len(c.z),
    ),
    "cross-entropy with sigmoid": (
        mbp.CrossEntropy,
        "classes",
        lambda c, right: (torch.sigmoid(c.z) - torch.nn.functional.one_hot(c.y, c.z.shape[1])) / len(c.z),
    ),
    "squared error without its half": (mbp.SquaredError, "regression", lambda c, right: 2 * right),
    "squared error averaged over outputs": (mbp.SquaredError, "regression", lambda c, right: right / c.z.shape[1]),
}


def _one(like: Tensor, relative: float) -> Tensor:
    off = torch.zeros_like(like)
    off[0, 0] = relative * like.abs().max()
    return off
