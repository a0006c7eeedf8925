"""Nested parameters: every tensor has a path such as "0.W" (entry 0 of a tuple, key W of a dict)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from manualbp.layer import Params


def children(params: Params) -> Iterator[tuple[str, Any]]:
    """The direct entries of a dict or tuple, by name or position."""
    if isinstance(params, dict):
        yield from params.items()
    elif isinstance(params, tuple):
        yield from ((str(position), entry) for position, entry in enumerate(params))
    else:
        raise ValueError(f"parameters are nested dicts and tuples of tensors, got {type(params).__name__}")


def named(params: Params, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its path, depth first."""
    for name, entry in children(params):
        path = f"{prefix}{name}"
        if isinstance(entry, Tensor):
            yield path, entry
        else:
            yield from named(entry, f"{path}.")


def at(params: Params, path: str) -> Tensor:
    """The tensor at a path.

    Raises ValueError if there is none, naming those that there are.
    """
    entry = params
    for step in path.split("."):
        try:
            entry = entry[int(step) if isinstance(entry, tuple) else step]
        except (KeyError, IndexError, ValueError, TypeError):
            have = ", ".join(name for name, _ in named(params)) or "none"
            raise ValueError(f"no parameter {path!r}; there are: {have}") from None
    if not isinstance(entry, Tensor):
        raise ValueError(f"{path!r} is not one tensor but a nest of them")
    return entry


def prefixed(position: str | int, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths of a child's tensors as its parent sees them."""
    return tuple(f"{position}.{path}" for path in paths)
