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
from compare.check.constants import CONSTANTS, PRECISION, SHARED
from compare.check.hooks import Forward, Graph, trace
from compare.check.noise import Jitter, measure
from compare.check.scale import Convention


@dataclass(frozen=True)
class Loss:
    """Errors of one quantity in a dtype: their RMS relative to the RMS of its value, and what all entries share of it.

    The shared part is the best factor, sum(error truth) / sum(truth truth). Rounding falls out of it as entries are
    added up, so it shows a factor that is off by far less than any one entry does.
    """

    given: float
    twin: float
    floor: float
    shared: float = 0.0
    shared_floor: float = 0.0  # what autograd's own run, rounding on either side and a few rounded constants may share

    @property
    def scattered(self) -> bool:
        """More than `PRECISION` times what autograd's own run in this dtype, or rounding at large, explains."""
        return self.given > PRECISION * max(self.twin, self.floor)

    @property
    def excessive(self) -> bool:
        """Whether digits are lost that autograd keeps, or all entries are off together."""
        return self.scattered or abs(self.shared) > self.shared_floor


def losses(
    forward: Forward,
    backward: Backward,
    inputs: Mapping[str, Any],
    dtype: torch.dtype,
    *,
    seed: int = 0,
    convention: Convention | None = None,
) -> dict[str, Loss]:
    """What each gradient loses in `dtype`; empty where forward or backward do not run in it.

    `convention` knows which deltas carry a factor, as found when the formulas were judged.
    """
    low = {n: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in inputs.items()}
    high = {n: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in low.items()}
    try:
        graph = trace(forward, low)
        given = call(backward, graph.values(), graph.quantities).gradients
        usable = [n for n, g in given.items() if bool(torch.isfinite(g).all())]
        exact = trace(forward, high)
        scale = _factors(exact, backward, convention or Convention())

        def local(at: Graph, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
            """Autograd's gradients given the user's deltas, times the factors that these carry."""
            found = at.gradients({n: own[n] / scale.get(n, 1.0) for n in usable if n in own})
            return {n: g * scale.get(n, 1.0) for n, g in found.items()}

        twin = local(graph, given)
    except (RuntimeError, ValueError, TypeError):
        return {}
    truth = local(exact, {n: g.double() for n, g in given.items()})
    names = [n for n in given if n in twin and n in truth and truth[n].numel() and not truth[n].is_complex()]

    def run(jitter: Jitter) -> dict[str, Tensor]:
        moved = trace(forward, low, jitter)
        told = {f"floor {n}": g for n, g in local(moved, given).items() if n in names}
        own = call(backward, moved.values(), moved.quantities).gradients
        if all(n in own for n in names):
            at_own = local(moved, own)
            told |= {f"shared {n}": _shared(own[n].double() - at_own[n].double(), truth[n]) for n in names}
        return told

    floors = measure(run, seed=seed).floors
    found = {}
    for name in names:
        size = _rms(truth[name])
        if size > 0:
            error, lost = given[name].double() - truth[name], twin[name].double() - truth[name]
            floor = torch.maximum(floors[f"floor {name}"], truth[name].abs() * torch.finfo(dtype).eps)
            moved = float(floors.get(f"shared {name}", torch.tensor(math.inf)))
            found[name] = Loss(
                _rms(error) / size,
                _rms(lost) / size,
                _rms(floor.double()) / size,
                float(_shared(error, truth[name])),
                max(
                    SHARED * moved,
                    PRECISION * abs(float(_shared(lost, truth[name]))),
                    CONSTANTS * torch.finfo(dtype).eps / 2,
                ),
            )
    return found


def _factors(graph: Graph, backward: Backward, convention: Convention) -> dict[str, float]:
    """The factors that deltas carry, as they show in float64."""
    own = call(backward, graph.values(), graph.quantities).gradients
    finite = {n: g for n, g in own.items() if bool(torch.isfinite(g).all())}
    ends = graph.gradients({})
    on_path = {n: finite[n] for n in ends if n in finite}
    return convention.factors(on_path, ends, graph.gradients, frozenset(graph.inputs))


def _shared(error: Tensor, truth: Tensor) -> Tensor:
    """The factor that is common to all entries of an error; not finite where an entry is not."""
    scale = truth.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
    unit = truth / scale
    return ((error / scale) * unit).sum() / unit.square().sum()


def _rms(t: Tensor) -> float:
    """Infinite where an entry is not finite: digits are lost there, all of them."""
    return float(t.abs().nan_to_num(nan=math.inf).square().mean().sqrt())
