"""Whether a value of a program has changed, another value in its place, and whether two gradients are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.trial import gradient


def unchanged(before: Any, after: Any) -> bool:
    """Whether a copy is the same value: of programs that change in place, copies are compared."""
    if isinstance(after, Mapping):
        return (
            isinstance(before, Mapping)
            and before.keys() == after.keys()
            and all(before[n] is v or unchanged(before[n], v) for n, v in after.items())
        )
    if isinstance(after, tuple | list):
        return type(before) is type(after) and len(before) == len(after) and all(map(unchanged, before, after))
    if isinstance(after, Tensor):
        same = isinstance(before, Tensor) and before.shape == after.shape and before.dtype == after.dtype
        return same and torch.equal(before, after)
    if isinstance(after, np.ndarray):
        return isinstance(before, np.ndarray) and np.array_equal(before, after)
    return isinstance(after, int | float | str) and before == after


def moved(value: Any, before: Any) -> Any:
    """Another value of the same kind; of a collection, only what differs from before. None where there is none."""
    if gradient(value) is not None and not isinstance(value, float):
        return value * 1.37 + 0.11 if getattr(value, "dtype", None) != torch.bool else ~value
    if isinstance(value, float):
        return value * 1.37 + 0.11
    if isinstance(value, Mapping):
        old = before if isinstance(before, Mapping) else {}
        return {n: v if n in old and unchanged(old[n], v) else moved(v, old.get(n)) for n, v in value.items()}
    if isinstance(value, tuple | list):
        entries = [moved(entry, None) for entry in value]
        return None if any(entry is None for entry in entries) else type(value)(entries)
    return None


def equal(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two gradients are there and are the same."""
    return a is not None and b is not None and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
