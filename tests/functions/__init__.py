"""Functions with backwards of their own, right and wrong, each with its reference in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from compare.check import real

Backward = Callable[..., Any]
NORMAL = torch.Generator().manual_seed(0)


@dataclass(frozen=True)
class Case:
    """A function, its reference and inputs; of a wrong one, the row that must say so and words that it must use."""

    name: str
    fn: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: Any
    row: str = ""
    verdict: str = "wrong"
    says: str = ""  # in the row's condition or explanation


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal numbers, the same in every run."""
    return torch.randn(shape, generator=NORMAL, dtype=dtype)


def function(forward: Callable[..., Any], backward: Backward, *, once: bool = False) -> Callable[..., Any]:
    """An autograd.Function of these two, with ctx as their first argument; `once`: once_differentiable."""
    last = torch.autograd.function.once_differentiable(backward) if once else backward
    made = type("Made", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(last)})
    return made.apply


def saving(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that saves its tensor arguments and keeps the others."""

    def saved(ctx: Any, *args: Any) -> Any:
        ctx.save_for_backward(*(a for a in args if isinstance(a, torch.Tensor)))
        ctx.constants = [a for a in args if not isinstance(a, torch.Tensor)]
        return forward(*args)

    return saved


X = {"x": real("m", "d")}
XW = {"x": real("m", "d"), "W": real("k", "d")}
XWB = {**XW, "b": real("k")}
