"""A right formula may still lose digits: its error in the user's dtype beside the twin's own.

Truth is the float64 run at the same rounded inputs. Each step is judged given the deltas that it was handed, so that
a loss of digits upstream is not counted again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward, call
from compare.check.constants import PRECISION
from compare.check.hooks import Forward, trace
from compare.check.noise import Jitter, measure


@dataclass(frozen=True)
class Loss:
    """RMS errors of one quantity, relative to the RMS of its value."""

    given: float
    twin: float
    floor: float

    @property
    def excessive(self) -> bool:
        """More than `PRECISION` times what autograd's own run in this dtype, or rounding at large, explains."""
        return self.given > PRECISION * max(self.twin, self.floor)


def losses(
    forward: Forward, backward: Backward, inputs: Mapping[str, Any], dtype: torch.dtype, *, seed: int = 0
) -> dict[str, Loss]:
    """What each gradient loses in `dtype`; empty where forward or backward do not run in it."""
    low = {n: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in inputs.items()}
    high = {n: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in low.items()}
    try:
        graph = trace(forward, low)
        given = call(backward, graph.values(), graph.quantities).gradients
        deltas = {n: g for n, g in given.items() if bool(torch.isfinite(g).all())}
        twin = graph.gradients(deltas)
    except (RuntimeError, ValueError, TypeError):
        return {}
    truth = trace(forward, high).gradients({n: g.double() for n, g in deltas.items()})

    def run(jitter: Jitter) -> dict[str, Tensor]:
        return trace(forward, low, jitter).gradients(deltas)

    floors = measure(run, seed=seed).floors
    found = {}
    for name in given:
        if name in twin and name in truth and truth[name].numel():
            size = _rms(truth[name])
            if size > 0:
                found[name] = Loss(
                    _rms(given[name].double() - truth[name]) / size,
                    _rms(twin[name].double() - truth[name]) / size,
                    _rms(floors[name].double()) / size,
                )
    return found


def _rms(t: Tensor) -> float:
    """Infinite where an entry is not finite: digits are lost there, all of them."""
    return float(t.abs().nan_to_num(nan=math.inf).square().mean().sqrt())
