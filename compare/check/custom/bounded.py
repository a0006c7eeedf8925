"""How much memory a float64 reference would take, and a batch that stays within a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from compare.check.custom.calls import cast, differentiable

PASSES = 3  # results of the forward are held about three times: for the backward, as gradients, and under noise
PAIRS = 16  # results as large as all pairs of the inputs' numbers that are taken to fit without an estimate


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of every result that is no view."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not any(r.alias_info is not None for r in func._schema.returns):
            for entry in out if isinstance(out, tuple | list) else (out,):
                self.total += entry.numel() * entry.element_size() if isinstance(entry, Tensor) else 0
        return out


def estimated_bytes(reference: Callable[..., Any], values: Mapping[str, Any]) -> int:
    """Memory for a float64 forward and backward, from shapes alone; nothing is computed.

    A reference whose shapes depend on its numbers cannot be run so: it counts as sixteen copies of its inputs.
    """
    wide = [v for v in values.values() if isinstance(v, Tensor)]
    held = sum(8 * v.numel() for v in wide)
    counter = _Bytes()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
            fakes = {n: mode.from_tensor(v.detach()) if isinstance(v, Tensor) else v for n, v in values.items()}
            fakes = cast(fakes, torch.float64)
            with counter:
                reference(*fakes.values())
    except Exception:
        return 16 * held
    return held + PASSES * counter.total


def fitting(reference: Callable[..., Any], values: Mapping[str, Any], max_bytes: int) -> tuple[dict[str, Any], str]:
    """The values, cut to the first rows that fit the limit, and a note that says so (empty if all fit).

    Raises ValueError where even one row does not fit.
    """
    kept = dict(values)
    if PAIRS * 8 * sum(v.numel() for v in kept.values() if isinstance(v, Tensor)) ** 2 <= max_bytes:
        return kept, ""
    needed = estimated_bytes(reference, kept)
    if needed <= max_bytes:
        return kept, ""
    whole, batch = needed, batch_size(values)
    rows = batch
    while needed > max_bytes and rows > 1:
        rows //= 2
        kept = first_rows(values, batch, rows)
        needed = estimated_bytes(reference, kept)
    if needed > max_bytes:
        raise ValueError(
            f"the float64 reference needs about {needed / 2**30:.2g} GiB, more than max_bytes allows "
            f"({max_bytes / 2**30:.2g} GiB); give smaller inputs or a higher limit"
        )
    return kept, (
        f"inputs cut to their first {rows} of {batch} rows: the float64 reference would need about "
        f"{whole / 2**30:.2g} GiB of memory"
    )


def batch_size(values: Mapping[str, Any]) -> int:
    """Size of the first dimension of the first floating input that has one."""
    return next((v.shape[0] for v in values.values() if differentiable(v) and v.ndim > 1), 1)


def first_rows(values: Mapping[str, Any], batch: int, rows: int) -> dict[str, Any]:
    """Cut every tensor whose first dimension is the batch."""
    return {
        n: v[:rows].clone() if isinstance(v, Tensor) and v.ndim and v.shape[0] == batch else v
        for n, v in values.items()
    }
