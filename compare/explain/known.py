"""Which quantity of the forward a value is, by whatever name it goes in a loop or in a function that is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compare.explain.named import tensor


class Known:
    """The values of the forward's quantities, to be found again by value."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.own: dict[tuple[int, ...], list[tuple[str, Tensor]]] = defaultdict(list)
        for name, value in values.items():
            found = tensor(value)
            if found is not None and found.ndim:
                self.own[tuple(found.shape)].append((name, found))

    def names(self, space: Mapping[str, Any]) -> dict[str, str]:
        """{local name: quantity} for each local that is one of the quantities."""
        found = {}
        for local, value in space.items():
            here = tensor(value)
            if here is None or not here.ndim:
                continue
            same = [name for name, own in self.own.get(tuple(here.shape), ()) if bool((own == here).all())]
            if same:
                found[local] = local if local in same else same[0]
        return found
