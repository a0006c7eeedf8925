"""What is known of a forward besides its values: it decides what a repair of the backward is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What one run of the forward shows of its graph."""

    averages: frozenset[float] = frozenset()  # numbers that the forward divides by
    means: frozenset[float] = frozenset()  # and those of them that count the entries of a mean
    beside: frozenset[frozenset[str]] = frozenset()  # pairs of quantities of which none leads to the other

    def sent(self) -> dict[str, Any]:
        """The facts as lists, as a child is sent them."""
        return {
            "averages": sorted(self.averages),
            "means": sorted(self.means),
            "beside": sorted(tuple(sorted(pair)) for pair in self.beside),
        }

    @classmethod
    def received(cls, sent: Mapping[str, Any]) -> Facts:
        """The facts that were sent."""
        pairs = frozenset(frozenset(pair) for pair in sent["beside"])
        return cls(frozenset(sent["averages"]), frozenset(sent["means"]), pairs)


NOTHING = Facts()
