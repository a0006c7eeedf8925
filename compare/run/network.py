"""From a config and a data set to what is trained: network, cost, and the tensors of both parts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import manualbp as mbp
from compare.run.config import LossName, TrainConfig
from compare.run.data import Data, one_hot

ACTIVATIONS: dict[str, Callable[[], mbp.Layer]] = {
    "sigmoid": mbp.Sigmoid,
    "tanh": mbp.Tanh,
    "relu": mbp.ReLU,
    "leaky-relu": mbp.LeakyReLU,
    "elu": mbp.ELU,
    "silu": mbp.SiLU,
    "softplus": mbp.Softplus,
    "gelu": mbp.GELU,
    "identity": mbp.Identity,
}
LOSSES: dict[LossName, Callable[[], mbp.Loss]] = {
    "log-loss": mbp.LogLoss,
    "cross-entropy": mbp.CrossEntropy,
    "squared-error": mbp.SquaredError,
}
INITIALIZERS: dict[str, Callable[[TrainConfig], mbp.Initializer]] = {
    "normal": lambda config: mbp.Normal(config.init_std),
    "zeros": lambda config: mbp.Zeros(),
    "xavier": lambda config: mbp.Xavier(),
    "kaiming": lambda config: mbp.Kaiming(),
}
DEFAULT_LOSS: dict[str, LossName] = {"binary": "log-loss", "classes": "cross-entropy", "regression": "squared-error"}
DEFAULT_BATCH = 32


@dataclass(frozen=True)
class Part:
    """Training or validation samples in the form that the network and its cost take, on the device."""

    x: Tensor  # (m, d)
    y: Tensor  # (m, k), or (m,) int64 class indices for cross-entropy


def settled(config: TrainConfig, data: Data) -> TrainConfig:
    """`config` with what depends on the data filled in: loss, hidden units and batch size.

    Raises `ValueError` where a choice does not suit the data.
    """
    m, d = data.x_train.shape
    loss = DEFAULT_LOSS[data.task] if config.loss == "auto" else config.loss
    if data.task == "regression" and loss != "squared-error":
        raise ValueError(
            f"--loss {loss} needs classes, the target of {data.name} is regression; "
            "use --loss squared-error, or --task classes"
        )
    hidden = config.hidden
    if hidden is None:
        hidden = (3,) if data.name == "figure-1" else (16,) if d <= 50 else (64,)
    size = config.batch_size
    if config.update != "mini-batch":
        if size is not None:
            raise ValueError(
                f"--batch-size {size} is for --update mini-batch, this is --update {config.update}; drop it"
            )
    else:
        size = min(DEFAULT_BATCH, m) if size is None else mbp.batch_rows("mini-batch", m, size)
    return dataclasses.replace(config, loss=loss, hidden=hidden, batch_size=size)


def outputs(config: TrainConfig, data: Data) -> int:
    """Units of the output layer: one a class (two classes share one unit but for cross-entropy) or target column."""
    if data.task == "regression":
        return data.y_train.shape[1]
    if data.task == "binary" and config.loss != "cross-entropy":
        return 1
    return len(data.classes)


def build_network(config: TrainConfig, inputs: int, outputs: int) -> mbp.Sequential:
    """Linear layers with the activation between them; the last one is linear, as the cost takes z[L]."""
    initializer = INITIALIZERS[config.init](config)
    sizes = (inputs, *(config.hidden or ()), outputs)
    layers: list[mbp.Layer] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [mbp.Linear(n_in, n_out, initializer), ACTIVATIONS[config.activation]()]
    return mbp.Sequential(layers[:-1])


def parts(config: TrainConfig, data: Data, device: torch.device, dtype: torch.dtype) -> tuple[Part, Part]:
    """The training and the validation part. Raises `ValueError` for inputs beyond the range of the dtype."""
    both = []
    for which, x, y in (("training", data.x_train, data.y_train), ("validation", data.x_val, data.y_val)):
        y = _target(config, data, y)
        x = x.to(device=device, dtype=dtype)
        y = y.to(device=device) if y.dtype == torch.int64 else y.to(device=device, dtype=dtype)
        for name, tensor in (("inputs", x), ("targets", y)):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ValueError(
                    f"{data.name}: the {name} of the {which} part hold numbers that are not finite in {config.dtype}; "
                    "correct them, or use --dtype float64 and --scale standard"
                )
        both.append(Part(x, y))
    return both[0], both[1]


def _target(config: TrainConfig, data: Data, y: Tensor) -> Tensor:
    if data.task == "regression":
        return y
    if config.loss == "cross-entropy":
        return y.reshape(-1).to(torch.int64)
    return y if data.task == "binary" else one_hot(y, len(data.classes))


def correct(loss: mbp.Loss, z: Tensor, y: Tensor) -> Tensor:
    """How many samples are classified right, as a 0-d tensor."""
    said, true = answers(loss, z, y)
    return (said == true).sum()


def answers(loss: mbp.Loss, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The class that the network says and the true one: the most probable, or 1 where a > 1/2 for one output."""
    if y.dtype == torch.int64:
        return z.argmax(1), y
    if y.shape[1] > 1:
        return z.argmax(1), y.argmax(1)
    return (loss.predict(z) > 0.5)[:, 0].long(), (y > 0.5)[:, 0].long()


def described(net: mbp.Layer, loss: mbp.Loss) -> str:
    """The network in one line, such as `30-16-1, Sigmoid, LogLoss`."""
    name = type(loss).__name__
    layers = net.layers if isinstance(net, mbp.Sequential) else (net,)
    linear = [layer for layer in layers if isinstance(layer, mbp.Linear)]
    between = list(dict.fromkeys(type(layer).__name__ for layer in layers if not isinstance(layer, mbp.Linear)))
    if linear and all(a.n_out == b.n_in for a, b in itertools.pairwise(linear)):
        sizes = "-".join(map(str, (linear[0].n_in, *(layer.n_out for layer in linear))))
        return ", ".join((sizes, *between, name))
    return ", ".join((" - ".join(type(layer).__name__ for layer in layers), name))
