"""What a check must leave as it found it: random states, and the buffers of the caller's modules."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextlib.contextmanager
def same_randomness() -> Iterator[Callable[[], None]]:
    """Restore the random state of torch, NumPy and Python on leaving; the value given rewinds it at any time."""
    states = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def rewind() -> None:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)

    try:
        yield rewind
    finally:
        rewind()


@contextlib.contextmanager
def same_buffers() -> Iterator[None]:
    """Restore on leaving the buffers (running statistics) of every torch module that is called inside."""
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(module: torch.nn.Module, args: Any) -> None:
        for buffer in module.buffers(recurse=False):
            kept.setdefault(id(buffer), (buffer, buffer.detach().clone()))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()
        with torch.no_grad():
            for buffer, value in kept.values():
                buffer.copy_(value)
