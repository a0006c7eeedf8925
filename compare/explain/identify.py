"""A mistake told from its numbers: what has to be done to the given gradient, or what it is, under every condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from compare.explain.formulas import Formulas
from compare.explain.named import tensor
from compare.explain.numbers import Candidate, OutOfTime, multiple, rounded_to, same
from compare.explain.observe import Observation, alike
from compare.explain.paths import contributions, within_function

PARTLY = 4  # the stage of what is right in some entries only


@dataclass(frozen=True)
class Finding:
    """A mistake, and the words that say what makes the step right."""

    cause: str
    says: str


def exchanged(observations: Sequence[Observation], target: str) -> Finding | None:
    """The mistake of having returned one quantity's gradient as another's, and the reverse."""
    telling = [seen for seen in observations if Formulas(seen, target).tells]
    for other in telling[0].given if telling else ():
        if other != target and all(_crossed(seen, target, other) for seen in telling):
            return Finding("wrong_operand", f"it is dJ/d{other}: the two are exchanged")
    return None


def lower_precision(observations: Sequence[Observation], target: str) -> Finding | None:
    """The mistake of a gradient that is right but for the roundings of a lower dtype, which it has been through."""
    pairs = [(seen.given.get(target), seen.local[target]) for seen in observations if target in seen.local]
    wrong = [(given, right) for given, right in pairs if given is not None and not alike(given, right)]
    found = {rounded_to(given, right) for given, right in wrong}
    if len(found) != 1 or None in found:
        return None
    return Finding("low_precision", f"it has been through {found.pop()}: compute it in the dtype of its inputs")


def unfinished(observations: Sequence[Observation], target: str) -> Finding | None:
    """The mistake of returning the gradient of what the forward makes of a quantity for that of the quantity itself."""
    telling = [seen for seen in observations if Formulas(seen, target).tells]
    common: set[str] | None = None
    for seen in telling:
        nearer = seen.order[: seen.order.index(target)] if target in seen.order else []
        inner = [n for n in nearer if n not in seen.inputs and n in seen.local]
        given = seen.given.get(target)  # None where it has another shape than its quantity
        here = {n for n in inner if given is not None and seen.alike(given, seen.local[n])}
        common = here if common is None else common & here
    if not common:
        return None
    last = max(common, key=telling[0].order.index)
    return Finding("missing_activation_derivative", f"it is dJ/d{last} still: the derivative of {last} is left out")


def forgotten_path(observations: Sequence[Observation], target: str) -> Finding | None:
    """The mistake of a gradient that is exactly what some of the uses of its quantity send back, not all of them."""
    telling = [numbers for seen in observations if (numbers := Formulas(seen, target)).tells]
    common: set[str] | None = None
    told: Candidate | None = None
    for numbers in telling:
        if numbers.given is not None and multiple(numbers.expected, numbers.given.double()) is not None:
            return None  # one number tells as much
        here = {each.key: each for each in numbers.paths() if each.cause in ("missing_path", "overwritten")}
        common = set(here) if common is None else common & set(here)
        told = next((here[key] for key in sorted(common)), told)
    if not common or told is None:
        return None
    return Finding(_of_uses(told.cause, observations, target), told.says)


def of_the_penalty(observations: Sequence[Observation], target: str) -> str:
    """`missing_l2` where a gradient lacks all that J's penalties send to it, `wrong_l2` where it lacks some; or ""."""
    found = set()
    for seen in observations:
        lacking, own = seen.decay(target), tensor(seen.values.get(target))
        if lacking is None or own is None:
            continue
        parts = [multiple(part.double(), own) for part, _ in contributions(seen.graph, target, dict(seen.given))]
        sent = sum(c for c in parts if c is not None)
        if sent and None in parts:
            found.add("missing_l2" if same(lacking, sent * seen.scale.get(target, 1.0)) else "wrong_l2")
    return found.pop() if len(found) == 1 else ""


def nearly(observations: Sequence[Observation], target: str) -> Finding | None:
    """The mistake of a gradient that is not finite in some entries, and right in all others."""
    told = False
    for seen in observations:
        given, expected = seen.given.get(target), seen.local.get(target)
        if given is None or expected is None or given.shape != expected.shape:
            return None
        finite = torch.isfinite(given)
        if not bool(torch.isfinite(expected).all()):
            continue
        told = told or (not bool(finite.all()) and bool(finite.any()))
        size = float(expected.double().square().mean().sqrt()) if expected.numel() else 0.0
        if not bool(((given - expected).abs()[finite] <= 1e-7 * size + seen.floor).all()):
            return None
    return (
        Finding("special_case", "it is right wherever it is finite; derive the other entries apart") if told else None
    )


def _crossed(seen: Observation, one: str, other: str) -> bool:
    if not {one, other} <= seen.given.keys() & seen.local.keys() or seen.alike(seen.local[one], seen.local[other]):
        return False
    return seen.alike(seen.given[one], seen.local[other]) and seen.alike(seen.given[other], seen.local[one])


def identify(observations: Sequence[Observation], target: str, until: float = math.inf) -> Finding | None:
    """The mistake in a step, if one repair makes it right under every condition at which it is wrong.

    `until`, by time.monotonic(), it is looked for.
    """
    numbers = [Formulas(seen, target, until) for seen in observations if target in seen.local]
    telling = [each for each in numbers if each.tells]
    for each in telling:
        each.alone = len(telling) < 2
    if all(each.nothing for each in telling):
        return None  # of a parameter's gradient that was never computed, anything could be said
    staged = [each.stages() for each in telling]
    for position, stage in enumerate(zip(*staged, strict=False)):
        if position == PARTLY and len(telling) < 3:
            break  # too little to tell a rule from chance
        common: list[Candidate] | None = None  # of all looked at so far, as the first tells them
        for candidates in stage:
            try:
                here = list(candidates())
            except OutOfTime:
                return None
            keys = {candidate.key for candidate in here}
            common = here if common is None else [candidate for candidate in common if candidate.key in keys]
            if not common:
                break
        if common:
            return Finding(_of_uses(common[0].cause, observations, target), common[0].says)
    return None


def _of_uses(cause: str, observations: Sequence[Observation], target: str) -> str:
    """A path left out or counted twice is a term of a derivative, where the uses are those of one function."""
    uses = cause in ("missing_path", "path_twice")
    of_one = uses and all(within_function(seen.graph, target) for seen in observations)
    return "wrong_activation_derivative" if of_one else cause
