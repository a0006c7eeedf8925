"""Where explanations look: observations under the conditions of a check, made when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward
from compare.check.conditions import Condition, Inputs, conditions, has_specs
from compare.check.hooks import Forward
from compare.check.scale import Convention
from compare.explain.custom import Custom
from compare.explain.observe import Observation, observe
from compare.explain.resized import resized

CONDITIONS = 7  # besides the one at which a step is wrong, under which a repair has to hold
FIRST = 3  # conditions at which a function's mistake is looked for
SATURATING = 5.0  # scale of the values beyond which units saturate
SPREAD = 0.2  # relative: how far inputs that are given as tensors are moved, so that nothing holds by chance


class Evidence:
    """What a derivation gives under each condition.

    Inputs that are given as tensors are moved as well; that may break what the derivation presupposes (targets that sum
    to one), so that it counts only where every step that is right as given is right there too.
    """

    def __init__(
        self,
        forward: Forward,
        backward: Backward,
        inputs: Inputs,
        wanted: list[str],
        seed: int,
        custom: Custom | None = None,
    ) -> None:
        fixed = not callable(inputs) and not has_specs(inputs)
        drawn = moved(inputs, seed) if fixed and isinstance(inputs, Mapping) else inputs
        drawn, self.smaller = resized(drawn, seed) if callable(drawn) else (drawn, [])
        # where units are saturated or tied, factors are 0 and formulas coincide: such inputs tell least of a cause
        every = sorted(conditions(drawn, seed), key=lambda c: c.values.scale > SATURATING or c.values.ties)
        self.by_name = {str(c): c for c in every}
        first = [self.by_name[name] for name in dict.fromkeys(wanted) if name in self.by_name]
        self.order: list[Condition] = [*first, *(c for c in every if c not in first)]
        convention = Convention()
        self._run: Callable[[Condition], Observation | None] = lambda c: observe(
            forward, backward, drawn, c, convention, custom
        )
        self._seen: dict[str, Observation | None] = {}
        self._right: set[str] = set()
        plain = self.at(every[0])  # where the check finds its convention as well
        self._presumed = set(plain.right) if plain is not None else set()
        self._right = self._presumed if fixed else set()

    def shows(self, name: str) -> bool:
        """Whether a gradient is wrong at the first conditions at which there is anything to see."""
        seen = next((found for condition in self.order[:FIRST] if (found := self.at(condition)) is not None), None)
        if seen is None:
            return False
        return name in seen.invalid or (name in seen.given and name in seen.local and name not in seen.right)

    def at(self, condition: Condition) -> Observation | None:
        """What this condition shows; None where the forward does not run there, or nothing is presupposed any more."""
        name = str(condition)
        if name not in self._seen:
            seen = self._run(condition)
            right = self._presumed if condition in self.smaller else self._right
            self._seen[name] = seen if seen is not None and right <= set(seen.right) else None
        return self._seen[name]

    def of_other_sizes(self, until: float) -> list[Observation]:
        """Observations at smaller sizes, where everything that is right as given is right there too."""
        found = []
        for condition in self.smaller:
            if time.monotonic() < until and (seen := self.at(condition)) is not None:
                found.append(seen)
                if condition is self.smaller[0]:
                    break  # all sizes at once: that is enough
        return found

    def others(self, but: Condition, until: float) -> Iterator[Observation]:
        """Observations under other conditions, the failing ones of any row first; one at least, others `until` then."""
        count = 0
        for condition in self.order:
            if condition == but or count >= CONDITIONS or (count and time.monotonic() > until):
                continue
            seen = self.at(condition)
            if seen is not None:
                count += 1
                yield seen


def moved(given: Mapping[str, Any], seed: int) -> Callable[[int], dict[str, Any]]:
    """Seed -> these tensors: as they are at `seed`, every entry moved a little elsewhere; zeros and ones stay."""

    def draw(number: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(number)
        if number == seed:
            return dict(given)
        return {name: _moved(value, generator) for name, value in given.items()}

    return draw


def _moved(value: Any, generator: torch.Generator) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point() or bool(((value == 0) | (value == 1)).all()):
        return value
    noise = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.device, value.dtype)
    return value.detach() * (1 + SPREAD * (2 * noise - 1))
