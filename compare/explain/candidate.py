"""One edit of a program, at one place or at several at once: what a repair is looked for among."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from compare.explain.edits import Edit
from compare.explain.site import Proposal, Site


@dataclass(frozen=True)
class Elsewhere:
    """Other values, and what the gradient should be there."""

    values: dict[str, Any]
    expected: Tensor
    floor: float = 0.0  # what rounding leaves of a gradient that is zero


@dataclass(eq=False)
class Candidate:
    """One edit, at one place or at several at once."""

    changes: list[tuple[Site, Proposal]]
    edit: Edit
    cost: float
    statements: list[int]

    @property
    def cause(self) -> str:
        """The mistake that it mends."""
        return self.changes[0][1].cause or self.edit.cause

    @property
    def key(self) -> str:
        """Equal for the same edit elsewhere."""
        return f"{self.edit.name}: {self.changes[0][1].key}"

    @property
    def kind(self) -> str:
        """Equal for the same edit in another layer: `* a3 * (1 - a3)`, `* a2 * (1 - a2)`."""
        return re.sub(r"(?<=[A-Za-z_])\d+", "#", self.key)


def disjoint(group: list[Candidate]) -> list[Candidate]:
    """One candidate a place, none inside another's."""
    kept: list[Candidate] = []
    for candidate in group:
        place = candidate.changes[0][0].place
        nodes = {id(place.node)} | {id(above) for above in place.above}
        if all(
            id(other.changes[0][0].node) not in nodes
            and id(place.node) not in {id(a) for a in other.changes[0][0].place.above}
            for other in kept
        ):
            kept.append(candidate)
    return kept
