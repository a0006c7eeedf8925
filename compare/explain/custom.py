"""What a backward that autograd calls is handed, and how its source is read: the part that explaining needs to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compare.explain.program import Program


@dataclass(frozen=True)
class Custom:
    """The backward of an autograd.Function."""

    program: Program | None
    why: str  # it has none
    handed: Callable[[Mapping[str, Any]], dict[str, Any]]  # from the inputs: context and deltas by their names
