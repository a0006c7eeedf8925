"""What layers and quantities are called: the lecture's numbers, where the input is layer 1."""

from __future__ import annotations

from dataclasses import dataclass

import manualbp as mbp


@dataclass(frozen=True)
class LayerNames:
    """The number of each top-level layer, by its path: a layer with parameters opens the next one."""

    numbers: dict[str, int]

    def layer(self, path: str) -> int:
        """The number of the layer that a parameter, or a layer inside another, belongs to."""
        return self.numbers.get(path.split(".")[0], 2)

    def parameter(self, path: str) -> str:
        """`W2` for the parameter at "0.W"; inside a composite layer its path stays, as in `layer.0.W3`."""
        if not self.numbers:
            return f"{path}2"
        return f"{path.partition('.')[2] or path}{self.layer(path)}"


def layer_names(net: mbp.Layer, params: mbp.Params) -> LayerNames:
    """Number the layers of a network; one that is no `Sequential` is layer 2 as a whole."""
    if not isinstance(net, mbp.Sequential):
        return LayerNames({})
    numbers, number = {}, 1
    for position, own in enumerate(params):
        if own or number == 1:
            number += 1
        numbers[str(position)] = number
    return LayerNames(numbers)
