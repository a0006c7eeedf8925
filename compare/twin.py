"""The twin of a hand-written network: the same function as stock torch.nn modules, with its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import manualbp as mbp
import torch_ref
from compare.names import leaves
from manualbp.params import named


@dataclass(frozen=True)
class Twin:
    """A module, and where each hand-written parameter and layer is found in it."""

    module: nn.Module
    parameters: dict[str, nn.Parameter]  # by path of the hand-written parameter, in the order of that side
    leaves: dict[str, nn.Module]  # by path of the hand-written layer
    through_forward: tuple[str, ...] = ()  # layers judged by autograd through their own forward: no known twin


def _stock(build: Callable[[Any], nn.Module]) -> Callable[[Any, mbp.Params], Twin]:
    """A layer without parameters and its module."""
    return lambda layer, params: _leaf(build(layer), {})


def _leaf(module: nn.Module, parameters: dict[str, Any]) -> Twin:
    return Twin(module, parameters, {"": module})


def _linear(layer: mbp.Linear, params: mbp.Params) -> Twin:
    # weights are copied in later: none are drawn, so that torch's random state stays as it is
    module = nn.Linear(layer.n_in, layer.n_out, bias=layer.bias, device="meta")
    module.weight = nn.Parameter(torch.empty_like(params["W"]))
    if not layer.bias:
        return _leaf(module, {"W": module.weight})
    module.bias = nn.Parameter(torch.empty_like(params["b"]))
    return _leaf(module, {"W": module.weight, "b": module.bias})


def _sequential(layer: mbp.Sequential, params: mbp.Params) -> Twin:
    return _composed(
        nn.Sequential, {str(i): build(*both) for i, both in enumerate(zip(layer.layers, params, strict=True))}
    )


def _residual(layer: mbp.Residual, params: mbp.Params) -> Twin:
    return _composed(torch_ref.Residual, {"layer": build(layer.layer, params["layer"])})


def _composed(module: Callable[..., nn.Module], parts: Mapping[str, Twin]) -> Twin:
    def under(name: str, path: str) -> str:
        return f"{name}.{path}" if path else name

    return Twin(
        module(*(twin.module for twin in parts.values())),
        {f"{name}.{path}": p for name, twin in parts.items() for path, p in twin.parameters.items()},
        {under(name, path): leaf for name, twin in parts.items() for path, leaf in twin.leaves.items()},
        tuple(under(name, path) for name, twin in parts.items() for path in twin.through_forward),
    )


def _through_forward(layer: mbp.Layer, params: mbp.Params) -> Twin:
    trained = {path: tensor for path, tensor in named(params) if path not in layer.buffers}
    fixed = {path: tensor for path, tensor in named(params) if path in layer.buffers}

    def forward(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return layer.forward(nested(params, values | fixed), x)[0]  # type: ignore[no-any-return]

    module = torch_ref.ThroughForward(forward, trained)
    return Twin(module, dict(zip(trained, module.values, strict=True)), {"": module}, ("",))


def nested(like: mbp.Params, values: Mapping[str, Tensor], prefix: str = "") -> mbp.Params:
    """`values`, by path, in the nest of `like`."""
    if isinstance(like, dict):
        return {name: nested(entry, values, f"{prefix}{name}.") for name, entry in like.items()}
    if isinstance(like, tuple):
        return tuple(nested(entry, values, f"{prefix}{i}.") for i, entry in enumerate(like))
    return values[prefix[:-1]]


TWINS: dict[type, Callable[[Any, mbp.Params], Twin]] = {
    mbp.Linear: _linear,
    mbp.Identity: _stock(lambda layer: nn.Identity()),
    mbp.Sigmoid: _stock(lambda layer: nn.Sigmoid()),
    mbp.Tanh: _stock(lambda layer: nn.Tanh()),
    mbp.ReLU: _stock(lambda layer: nn.ReLU()),
    mbp.LeakyReLU: _stock(lambda layer: nn.LeakyReLU(layer.slope)),
    mbp.ELU: _stock(lambda layer: nn.ELU(layer.alpha)),
    mbp.SiLU: _stock(lambda layer: nn.SiLU()),
    # beyond the threshold torch returns z itself; 40 leaves nothing out in float64, torch's default of 20 does
    mbp.Softplus: _stock(lambda layer: nn.Softplus(threshold=40.0)),
    mbp.GELU: _stock(lambda layer: nn.GELU()),
    mbp.Sequential: _sequential,
    mbp.Residual: _residual,
}

LOSSES: dict[type, Callable[[Any], nn.Module]] = {
    mbp.LogLoss: lambda loss: nn.BCEWithLogitsLoss(reduction="sum"),
    mbp.CrossEntropy: lambda loss: torch_ref.LogSumExpLoss(),
    mbp.SquaredError: lambda loss: torch_ref.HalfSquaredError(),
}


def build(layer: mbp.Layer, params: mbp.Params) -> Twin:
    """The twin of a layer or network, its parameters copied across.

    A layer whose type is not in `TWINS` is judged by autograd through its own forward; its path is then in
    `through_forward`. (A subclass of a known layer is a layer of its own: its forward may differ.)
    """
    twin = TWINS.get(type(layer), _through_forward)(layer, params)
    copy_(twin, params)
    return twin


def adopt(module: nn.Module, layer: mbp.Layer, params: mbp.Params) -> Twin:
    """A user's own module as the twin: its parameters stand in the order of the hand-written ones.

    Raises ValueError where number or shapes differ.
    """
    trained = {path: tensor for path, tensor in named(params) if path not in layer.buffers}
    theirs = list(module.parameters())
    ours = [tuple(tensor.shape) for tensor in trained.values()]
    if ours != [tuple(p.shape) for p in theirs]:
        raise ValueError(
            f"twin: the module's parameters have shapes {[tuple(p.shape) for p in theirs]}, the layer's {ours}; "
            "they must be the same, in the same order"
        )
    twin = Twin(module, dict(zip(trained, theirs, strict=True)), _matched(module, layer, params))
    copy_(twin, params)
    return twin


def _matched(module: nn.Module, layer: mbp.Layer, params: mbp.Params) -> dict[str, nn.Module]:
    """Which of the module's parts stands for which layer, where both are plain sequences of equal length; else none."""
    paths = [path for path, _, _ in leaves(layer, params)]
    parts = _parts(module)
    return dict(zip(paths, parts, strict=True)) if len(parts) == len(paths) else {}


def _parts(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential):
        return [part for child in module for part in _parts(child)]
    return [module]


def copy_(twin: Twin, params: mbp.Params) -> None:
    """Set the twin's parameters to the hand-written ones, in place."""
    values = dict(named(params))
    for path, parameter in twin.parameters.items():
        parameter.data.copy_(values[path])


def loss_module(loss: mbp.Loss, *, stock: bool = False) -> nn.Module:
    """The twin of a loss, summed over the batch.

    With `stock`, cross-entropy is torch's fused `nn.CrossEntropyLoss`, which equals ours only up to rounding.
    """
    if stock and isinstance(loss, mbp.CrossEntropy):
        return nn.CrossEntropyLoss(reduction="sum")
    if type(loss) not in LOSSES:
        known = ", ".join(kind.__name__ for kind in LOSSES)
        raise ValueError(f"no twin is known for the loss {type(loss).__name__}; there are twins of {known}")
    return LOSSES[type(loss)](loss)
