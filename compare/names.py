"""The lecture's names for what flows through a network: x, z2, a2, z3, ...; W2, b2; layer 1 is the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import manualbp as mbp


@dataclass(frozen=True)
class Names:
    """Names of a network's quantities, by path."""

    outputs: dict[str, str]  # of a layer that is no composite, by its path: "0" -> "z2"; its delta has the same name
    parameters: dict[str, str]  # by the parameter's path: "0.W" -> "W2"


def names(net: mbp.Layer, params: mbp.Params) -> Names:
    """Number the layers that have parameters from 2 on: the output of such a layer is z, of the others a.

    A layer without parameters belongs to the one before it; a second one gets a mark: a2, a2', a2''. Before the first
    layer with parameters the number is 1.
    """
    outputs: dict[str, str] = {}
    parameters: dict[str, str] = {}
    number = 1
    taken: set[str] = set()

    def unused(name: str) -> str:
        while name in taken:
            name += "'"
        taken.add(name)
        return name

    for path, _, own in leaves(net, params):
        tensors = dict(mbp.named(own))
        if tensors:
            number += 1
            for inner in tensors:
                parameters[f"{path}.{inner}" if path else inner] = unused(f"{inner.replace('.', '_')}{number}")
        outputs[path] = unused(f"{'z' if tensors else 'a'}{number}")
    return Names(outputs, parameters)


def leaves(net: mbp.Layer, params: mbp.Params, path: str = "") -> Iterator[tuple[str, mbp.Layer, mbp.Params]]:
    """Every layer that is no composite, in the order of the forward pass, with its path and parameters."""
    if isinstance(net, mbp.Sequential):
        for i, (layer, own) in enumerate(zip(net.layers, params, strict=True)):
            yield from leaves(layer, own, f"{path}.{i}" if path else f"{i}")
    elif isinstance(net, mbp.Residual):
        yield from leaves(net.layer, params["layer"], f"{path}.layer" if path else "layer")
    else:
        yield path, net, params


@dataclass(frozen=True)
class Tap:
    """A layer that behaves as the one inside, and writes down what passes through it."""

    inner: mbp.Layer
    path: str
    values: dict[str, mbp.Value]
    deltas: dict[str, mbp.Value]

    @property
    def weights(self) -> tuple[str, ...]:
        """The inner layer's."""
        return self.inner.weights

    @property
    def buffers(self) -> tuple[str, ...]:
        """The inner layer's."""
        return self.inner.buffers

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> mbp.Params:
        """The inner layer's parameters."""
        return self.inner.init(generator, dtype=dtype, device=device)

    def forward(self, params: mbp.Params, x: mbp.Value, mode: mbp.Mode = mbp.EVAL) -> tuple[mbp.Value, mbp.Cache]:
        """Run and write down the output."""
        y, cache = self.inner.forward(params, x, mode)
        self.values[self.path] = y
        return y, cache

    def backward(self, params: mbp.Params, cache: mbp.Cache, dy: mbp.Value) -> tuple[mbp.Value, mbp.Grads]:
        """Write down the delta that arrives, and run."""
        self.deltas[self.path] = dy
        return self.inner.backward(params, cache, dy)


def tapped(net: mbp.Layer, values: dict[str, mbp.Value], deltas: dict[str, mbp.Value], path: str = "") -> mbp.Layer:
    """The network with a tap on every layer that is no composite; composites run their own code."""
    if isinstance(net, mbp.Sequential):
        return dataclasses.replace(
            net,
            layers=tuple(
                tapped(layer, values, deltas, f"{path}.{i}" if path else f"{i}") for i, layer in enumerate(net.layers)
            ),
        )
    if isinstance(net, mbp.Residual):
        return dataclasses.replace(net, layer=tapped(net.layer, values, deltas, f"{path}.layer" if path else "layer"))
    return Tap(net, path, values, deltas)
