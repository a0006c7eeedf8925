"""Where the first number that is not finite stands: layer and quantity."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor

from compare.names import Names, tapped
from compare.run.network import Part
from compare.run.pair import Gradients, Pair
from manualbp import named


def sums_not_finite(tensors: list[Tensor], *, waits: bool) -> bool | Tensor:
    """Whether a sum is not finite, as where an entry is not (and, rarely, where a sum of finite entries overflows).

    A tensor, unless this may wait for the device.
    """
    if waits:
        return not math.isfinite(sum(float(t.sum()) for t in tensors))
    return ~torch.isfinite(torch.stack([t.sum().to(torch.float64) for t in tensors])).all()


def entries_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every entry of every tensor is finite."""
    return not any(_bad(tensor) for tensor in tensors)


def layer_of(name: str) -> str:
    """`layer 2` for z2, a2', W2 and x's own layer 1."""
    number = re.search(r"(\d+)'*$", name)
    return f"layer {number[1] if number else 1}"


def first_not_finite(pair: Pair, names: Names, part: Part, gradients: Gradients) -> str:
    """The first quantity of the hand-written step that holds a NaN or infinity, in the order of computation.

    Such as `z3, layer 3`; empty where all are finite.
    """
    for path, tensor in named(pair.params):
        if _bad(tensor):
            name = names.parameters[path]
            return f"parameter {name}, {layer_of(name)}, after the update before this step,"
    if _bad(part.x):
        return "input x, layer 1"
    values: dict[str, Tensor] = {}
    deltas: dict[str, Tensor] = {}
    net = tapped(pair.net, values, deltas)
    with torch.no_grad():
        z, cache = net.forward(pair.params, part.x)
        for path, value in values.items():
            if _bad(value):
                return f"{names.outputs[path]}, {layer_of(names.outputs[path])}"
        J, loss_cache = pair.loss.forward(z, part.y)
        if _bad(J):
            last = names.outputs[next(reversed(names.outputs))]
            return f"loss J of {last}, {layer_of(last)}"
        net.backward(pair.params, cache, pair.loss.backward(loss_cache))
    for path in deltas:  # as they came: nearest to J first
        if _bad(deltas[path]):
            return f"delta of {names.outputs[path]}, {layer_of(names.outputs[path])}"
    for path in reversed(list(gradients)):
        if _bad(gradients[path]):
            name = names.parameters.get(path, path)
            return f"gradient of {name}, {layer_of(name)}"
    return ""


def _bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
