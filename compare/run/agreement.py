"""Whether the hand-written gradient equals autograd's: bit for bit, or within what rounding explains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compare.check.constants import THRESHOLD
from compare.check.verdict import largest_at, match
from compare.run.network import Part
from compare.run.pair import Gradients, Pair

UPDATE_ULPS = 4.0  # a product and a difference, rounded once or twice, of the size of the larger operand


@dataclass(frozen=True)
class Difference:
    """One parameter's gradient, or update, where rounding does not explain how far it is from what it should be."""

    path: str
    reason: str  # of a gradient that cannot be compared, else empty
    quantity: str = "gradient"
    relative: float = 0.0  # largest error over the RMS of the expected gradient
    ulps: float = 0.0
    floors: float = 0.0  # largest error in floors
    index: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0


class Gap:
    """The largest difference of two gradients so far, by parameter, kept on the device."""

    def __init__(self) -> None:
        self.ulps: dict[str, Tensor] = {}
        self.relative: dict[str, Tensor] = {}

    def include(self, path: str, error: Tensor, expected: Tensor) -> None:
        """Widen the gap by one parameter's |error|; in units in the last place, and relative to the RMS expected."""
        if not error.numel():
            return
        magnitude = expected.abs()
        spacing = torch.nextafter(magnitude, torch.full_like(magnitude, math.inf)) - magnitude
        relative = error.max() / _norm(expected) * math.sqrt(expected.numel())
        self._raise(self.ulps, path, (error / spacing).max())
        self._raise(self.relative, path, torch.where(error.max() > 0, relative, torch.zeros_like(relative)))

    def worst(self) -> tuple[float, float]:
        """The largest over all parameters, in ulps and relative; 0 where nothing differed."""
        return (
            max((float(value) for value in self.ulps.values()), default=0.0),
            max((float(value) for value in self.relative.values()), default=0.0),
        )

    def each(self, paths: Iterable[str]) -> dict[str, tuple[float, float]]:
        """The largest of each parameter, in ulps and relative; 0 where nothing differed. One wait for the device."""
        paths = [*paths]
        seen = [kept[path] for path in paths for kept in (self.ulps, self.relative) if path in kept]
        numbers = iter(torch.stack([value.to(torch.float64) for value in seen]).tolist() if seen else [])
        return {path: (next(numbers), next(numbers)) if path in self.ulps else (0.0, 0.0) for path in paths}

    def copy(self) -> Gap:
        """A copy that later differences leave alone."""
        other = Gap()
        other.ulps, other.relative = dict(self.ulps), dict(self.relative)
        return other

    def _raise(self, kept: dict[str, Tensor], path: str, value: Tensor) -> None:
        kept[path] = torch.maximum(kept[path], value) if path in kept else value


class Agreement:
    """Compares two gradients at each checked step.

    As long as all were equal in every bit, that is the test, and both runs have the same weights. From the first
    difference on, autograd's gradient is taken at the hand-written weights and judged by the noise floor: entry by
    entry where it is measured, and in between by the ratio of the RMS floor to the RMS gradient found there.
    """

    def __init__(self, pair: Pair, *, waits: bool = True) -> None:
        self.pair = pair
        self.waits = waits  # whether `differ` may wait for the device
        self.exact = True
        self.gap = Gap()
        self.checked = 0
        self._ratios: dict[str, float] = {}
        self._decided: set[str] = set()

    @property
    def undecided(self) -> tuple[str, ...]:
        """Parameters whose gradients rounding explained whatever they were, at every step where it was measured."""
        return () if self.exact else tuple(path for path in self.pair.paths if path not in self._decided)

    def take_gap(self) -> tuple[float, float]:
        """The largest gap since the last call, in ulps and relative to the RMS gradient."""
        worst, self.gap = self.gap.worst(), Gap()
        return worst

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What later verdicts depend on: tensors by name, and what JSON can hold."""
        tensors = {f"ulps {path}": value for path, value in self.gap.ulps.items()}
        tensors |= {f"relative {path}": value for path, value in self.gap.relative.items()}
        return tensors, {
            "exact": self.exact,
            "checked": self.checked,
            "ratios": dict(self._ratios),
            "decided": sorted(self._decided),
        }

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.gap = Gap()
        for name, value in tensors.items():
            kind, _, path = name.partition(" ")
            (self.gap.ulps if kind == "ulps" else self.gap.relative)[path] = value
        self.exact, self.checked = bool(state["exact"]), int(state["checked"])
        self._ratios = {path: float(ratio) for path, ratio in state["ratios"].items()}
        self._decided = set(state["decided"])

    def differ(self, ours: Gradients, theirs: Gradients) -> bool | Tensor:
        """Whether this step must be looked at closely; a tensor, unless this may wait for the device."""
        if not comparable(ours, theirs):
            return True
        pairs = [(path, ours[path], expected) for path, expected in theirs.items()]
        if self.exact and self.waits:
            return not all(torch.equal(own, expected) for _, own, expected in pairs)
        flags = []
        for path, own, expected in pairs:
            error = (own - expected).abs()
            if self.exact:
                flags.append(~(error == 0).all())
                continue
            self.gap.include(path, error, expected)
            flags.append(~(_norm(error) <= THRESHOLD * self._ratios.get(path, 0.0) * _norm(expected)))
        return torch.stack(flags).any() if flags else False

    def judge(self, part: Part, ours: Gradients) -> list[Difference]:
        """Measure the floor at this step and compare entry by entry; what rounding does not explain is returned."""
        measured = self.pair.measured(part)
        found = []
        for path, expected in measured.values.items():
            floor = measured.floors[path]
            own = ours.get(path)
            reason = _incomparable(own, expected)
            if own is None or reason:
                found.append(Difference(path, reason))
                continue
            seen = match((own,), expected, floor)
            error = (own - expected).abs()
            if not seen.ok:
                found.append(described(path, own, expected, error, seen.excess))
                continue
            if self.exact:  # the comparison that brought us here was between both runs' own weights
                self.gap.include(path, error, expected)
            size = float(_norm(expected))
            self._ratios[path] = float(_norm(floor)) / size if size > 0 else 0.0
            if seen.decided:
                self._decided.add(path)
        unknown = sorted(ours.keys() - measured.values.keys())
        return found + [Difference(path, "is the gradient of no trained parameter") for path in unknown]


def comparable(ours: Gradients, theirs: Gradients) -> bool:
    """Whether there is a gradient of every parameter and no other, each of its shape and dtype."""
    return ours.keys() == theirs.keys() and all(
        ours[path].shape == expected.shape and ours[path].dtype == expected.dtype for path, expected in theirs.items()
    )


def _incomparable(own: Tensor | None, expected: Tensor) -> str:
    if own is None:
        return "is missing from what backward returned"
    if own.shape != expected.shape:
        return f"has shape {tuple(own.shape)}, the parameter {tuple(expected.shape)}"
    if own.dtype != expected.dtype:
        return f"is {str(own.dtype)[6:]}, the parameter {str(expected.dtype)[6:]}"
    return ""


def described(path: str, own: Tensor, expected: Tensor, error: Tensor, excess: Tensor) -> Difference:
    """Where one parameter's values are furthest off, in floors."""
    index = largest_at(excess)
    gap = Gap()
    gap.include(path, error.nan_to_num(nan=math.inf), expected)
    ulps, relative = gap.worst()
    return Difference(
        path,
        "",
        relative=relative,
        ulps=ulps,
        floors=float(excess.max()) * THRESHOLD,
        index=index,
        expected=float(expected[index]),
        got=float(own[index]),
    )


def wrong_updates(
    before: dict[str, Tensor], gradients: Gradients, after: dict[str, Tensor], lr: float
) -> list[Difference]:
    """Parameters that are not W - lr dJ/dW after the update, eq. (1), but for the rounding of two operations."""
    found = []
    for path, gradient in gradients.items():
        expected = before[path] - lr * gradient
        error = (after[path] - expected).abs()
        size = torch.maximum(before[path].abs(), (lr * gradient).abs())
        floor = size * torch.finfo(size.dtype).eps + torch.finfo(size.dtype).smallest_normal
        if bool((error > UPDATE_ULPS * floor).any()):
            off = described(path, after[path], expected, error, error / floor)
            found.append(dataclasses.replace(off, quantity="update"))
    return found


def _norm(t: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(t, dtype=torch.float64)
    return norm
