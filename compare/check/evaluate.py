"""One derivation at one set of inputs: what the user says, what autograd says, and what rounding explains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward, Given, call
from compare.check.constants import THRESHOLD
from compare.check.hooks import Forward, ForwardFailed, Graph, trace
from compare.check.noise import Jitter, deliberate_below, measure, pooled, same_randomness
from compare.check.oracle import witness
from compare.check.precise import precise_gradient, precise_gradient_of
from compare.check.scale import Convention
from compare.check.suspicion import around, attainable, bounds, coherence

PRECISE_SECONDS = 3.0  # of the processor, for all quantities at one set of inputs, where float64 fails
COARSE = 1e-2  # relative error that rounding in the coarsest dtype explains; above it no rounding is looked for
CALLS = 2  # calls of the backward on the same values


@dataclass
class Comparison:
    """One quantity: its gradient as given, as it should be given the deltas upstream, and end to end."""

    given: tuple[Tensor, ...]  # of every call of the backward: a state that it keeps shows in the second
    local: Tensor  # autograd's, given the user's deltas upstream
    chained: Tensor  # autograd's, end to end
    local_floor: Tensor  # what rounding explains of the difference to `local`
    chained_floor: Tensor
    dtype: torch.dtype  # that the backward returned it in
    scale: float = 1.0  # a constant that the derivation carries here and undoes later
    coherence: float = 1.0  # of the error to `local` under small changes of the inputs: 1 a formula, 0 rounding
    hull: tuple[Tensor, Tensor] | None = (
        None  # least and largest local gradient next to these inputs, if they explain it
    )
    witness: str = ""  # whom differences of J itself confirm: "given", "autograd" or nobody


@dataclass
class Evaluation:
    """Everything that one run of a derivation tells. Tensors and words only: it can cross a process."""

    order: list[str]  # quantities on the path to J, nearest to J first
    inputs: frozenset[str] = frozenset()  # those of them that are inputs: their gradients are final
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    spoilt: dict[str, str] = field(default_factory=dict)  # not finite because a delta upstream was not
    notes: list[str] = field(default_factory=list)
    failed: str = ""  # why the reference gives nothing to compare with here


def evaluate(
    forward: Forward,
    backward: Backward,
    inputs: Mapping[str, Any],
    *,
    seed: int = 0,
    convention: Convention | None = None,
) -> Evaluation:
    """Run forward, backward and autograd at these inputs, and measure the floor of every difference.

    `convention` keeps from one set of inputs to the next which deltas carry a factor.

    Raises ValueError for a forward that cannot be differentiated or gives another J in a second call.
    """
    graph, fixed = traced(forward, backward, inputs)
    quantities = graph.quantities
    calls = [call(backward, graph.values(), quantities) for _ in range(CALLS)]
    again = trace(forward, inputs, fixed=fixed).J
    if not (again == graph.J or (again.isnan() and graph.J.isnan())):
        raise ValueError("forward gives another J when it is called again with the same inputs; make it deterministic")
    chained = graph.gradients({})
    result = Evaluation(
        order=list(chained),
        inputs=frozenset(graph.inputs) & frozenset(quantities),
        notes=list(calls[0].notes)
        + [
            f"{n!r} is changed in place after it was computed: the name stands for its last value"
            for n in graph.changed
        ],
        failed="" if torch.isfinite(graph.J) else f"J is {graph.J.item()}",
    )
    _drop_incomparable(result, calls, chained)
    names = [name for name in chained if all(name in each.gradients for each in calls)]
    first = {name: calls[0].gradients[name] for name in names}
    usable = {n: g for n, g in first.items() if bool(torch.isfinite(g).all())}
    handed = graph.gradients(usable)

    def local_of(deltas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return handed if deltas is usable else graph.gradients(deltas)

    scale = (convention or Convention()).factors(usable, chained, local_of, result.inputs)
    finest = min(
        (t.dtype for t in quantities.values()), key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64
    )

    def given_own(graph: Graph, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Autograd's gradients given the user's deltas."""
        return graph.gradients({n: own[n] / scale.get(n, 1.0) for n in usable})

    def told(
        graph: Graph, local: Mapping[str, Tensor], ends: Mapping[str, Tensor], own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Autograd's gradients, and the differences to the user's answer to the same values."""
        tagged = {"J": graph.J.detach()}
        tagged |= {f"local {n}": g * scale.get(n, 1.0) for n, g in local.items()}
        tagged |= {f"chained {n}": g for n, g in ends.items()}
        if all(name in own for name in names):
            at_own = local if own is first else given_own(graph, own)
            tagged |= {f"local error {n}": own[n] - at_own[n] * scale.get(n, 1.0) for n in names}
            tagged |= {f"chained error {n}": own[n] - ends[n] for n in names}
        return tagged

    def expected(jitter: Jitter, finest: torch.dtype = finest) -> dict[str, Tensor]:
        """What is told at moved inputs."""
        moved = trace(forward, inputs, jitter, fixed)
        local, ends = given_own(moved, first), moved.gradients({})
        with deliberate_below(finest):
            own = call(backward, moved.values(), moved.quantities).gradients
        return told(moved, local, ends, own)

    plain = told(graph, given_own(graph, first) if scale else handed, chained, first)
    measured = measure(expected, plain=plain, seed=seed)
    for name in names:
        result.comparisons[name] = _compared(name, calls, measured.values, measured.floors, scale)
    _ask_for_digits(result, forward, inputs, fixed)
    _look_closer(result, expected, seed)
    _excuse_low_precision(result, expected, seed)
    with same_randomness() as rewind:
        for name, suspect in _suspects(result).items():
            rewind()
            suspect.witness = _confirmed(forward, inputs, name, suspect)
    return result


def _ask_for_digits(result: Evaluation, forward: Forward, inputs: Mapping[str, Any], fixed: frozenset[str]) -> None:
    """Where autograd's gradient is not finite, take that of arithmetic with more digits, if it can be had.

    It is a gradient end to end, and the local one too as long as all deltas nearer to J are right; behind a wrong one
    nothing can be told.
    """
    deadline = time.process_time() + PRECISE_SECONDS
    for name, c in result.comparisons.items():
        if bool(torch.isfinite(c.chained).all()) and bool(torch.isfinite(c.local).all()):
            continue
        ask = precise_gradient if name in result.inputs else precise_gradient_of
        exact = ask(forward, inputs, name, fixed=fixed, seconds=deadline - time.process_time())
        if exact is None:
            continue
        exact = exact.to(c.chained.dtype)
        c.chained, c.local = exact, exact * c.scale
        c.chained_floor = pooled(exact.abs() * torch.finfo(exact.dtype).eps, exact)
        c.local_floor = c.chained_floor * abs(c.scale)
        result.notes.append(f"autograd fails at {name!r}: judged by arithmetic with more digits instead")
        result.failed = ""
        if bool(((c.given[0] - c.local).abs() > THRESHOLD * c.local_floor).any()):
            return


def traced(forward: Forward, backward: Backward, inputs: Mapping[str, Any]) -> tuple[Graph, frozenset[str]]:
    """The graph, and the inputs without a gradient, where the forward refuses one (a loss's class weights).

    These are then all inputs whose gradient the backward does not return.
    """
    try:
        return trace(forward, inputs), frozenset()
    except ForwardFailed as error:
        if "differentiable with respect to" not in str(error) and "derivative for" not in str(error):
            raise
    with torch.no_grad():
        _, intermediates = forward(**inputs)
    values = {**inputs, **intermediates}
    wanted = call(backward, values, {name: value for name, value in values.items() if isinstance(value, Tensor)})
    fixed = frozenset(inputs) - frozenset(wanted.gradients)
    return trace(forward, inputs, fixed=fixed), fixed


def _compared(
    name: str,
    calls: list[Given],
    values: Mapping[str, Tensor],
    floors: Mapping[str, Tensor],
    scale: Mapping[str, float],
) -> Comparison:
    given = tuple(each.gradients[name] for each in calls)

    def floor(kind: str) -> Tensor:
        alone = floors[f"{kind} {name}"]
        drift = max(((other - given[0]).abs().amax() for other in given[1:] if other.numel()), default=torch.zeros(()))
        keeps_state = bool(drift > THRESHOLD * alone.max()) if alone.numel() else False
        return alone if keeps_state else torch.maximum(alone, floors.get(f"{kind} error {name}", alone))

    return Comparison(
        given,
        values[f"local {name}"],
        values[f"chained {name}"],
        floor("local"),
        floor("chained"),
        calls[0].dtypes[name],
        scale.get(name, 1.0),
    )


def _drop_incomparable(result: Evaluation, calls: list[Given], chained: Mapping[str, Tensor]) -> None:
    for each in calls:
        result.invalid |= {name: reason for name, reason in each.invalid.items() if name not in result.invalid}
        for name in [name for name in each.gradients if name not in chained]:
            if bool((each.gradients.pop(name) != 0).any()):
                result.invalid[name] = "is not on the path to J (nor is a view of it that J uses): dJ/d of it is 0"
        first = ""
        for name in chained:
            if name not in each.gradients:
                continue
            bad = ~torch.isfinite(each.gradients[name]) & torch.isfinite(chained[name])
            if not bool(bad.any()):
                continue
            where = tuple(bad.nonzero()[0].tolist())
            reason = f"is {each.gradients[name][where].item()} at {list(where)}, where autograd's is finite"
            if first and name not in result.invalid:
                result.spoilt[name] = f"{reason}; {first} upstream is not finite either"
            elif not first:
                result.invalid.setdefault(name, reason)
                first = name


def _look_closer(
    result: Evaluation,
    expected: Callable[[Jitter], dict[str, Tensor]],
    seed: int,
) -> None:
    """For each error that rounding does not explain: is it coherent, and do the inputs sit at a kink?"""
    suspects = _suspects(result)
    if not suspects:
        return
    errors = {name: c.given[0] - c.local for name, c in suspects.items()}
    sizes = {name: relative_size(errors[name], c.local) for name, c in suspects.items()}
    for name, value in coherence(expected, errors, sizes, seed).items():
        suspects[name].coherence = value
    ordered = [name for name, c in suspects.items() if not c.local.is_complex()]  # with a least and a largest value
    for name, seen in around(expected, ordered, seed).items() if ordered else ():
        c = suspects[name]
        off = torch.stack([(g - c.local).abs() for g in c.given]).amax(0) > THRESHOLD * c.local_floor
        seen = torch.cat([seen, c.local[None]])
        if all(attainable(g, seen, off) for g in c.given):
            c.hull = bounds(seen[:-1])


def _excuse_low_precision(result: Evaluation, expected: Callable[..., dict[str, Tensor]], seed: int) -> None:
    """An error that roundings in a lower dtype explain, where the backward computes in one, is no wrong formula.

    A saturated unit rounds to 1 whatever its inputs: there such an error stands as if it were a formula's.
    """
    small = {
        name: c
        for name, c in _suspects(result).items()
        if c.coherence >= 0.5 and all(relative_size(g - c.local, c.local) < COARSE for g in c.given)
    }
    if not small:
        return
    floors = measure(lambda jitter: expected(jitter, torch.bfloat16), seed=seed).floors
    for name, c in small.items():
        floor = floors.get(f"local error {name}")
        if floor is not None and all(bool(((g - c.local).abs() <= THRESHOLD * floor).all()) for g in c.given):
            c.coherence = 0.0


def _suspects(result: Evaluation) -> dict[str, Comparison]:
    return {
        name: c
        for name, c in result.comparisons.items()
        if any(bool(((g - c.local).abs() > THRESHOLD * c.local_floor).any()) for g in c.given)
    }


def _confirmed(forward: Forward, inputs: Mapping[str, Any], name: str, c: Comparison) -> str:
    """Whom differences of J confirm; nobody where they are too coarse, or where the deltas upstream are off."""
    upstream_off = bool(((c.local / c.scale - c.chained).abs() > THRESHOLD * (c.chained_floor + c.local_floor)).any())
    heard = (
        None
        if upstream_off or c.local.is_complex()
        else witness(forward, inputs, name, c.given[0] / c.scale, c.chained)
    )
    if heard is None:
        return ""
    derivative, given, expected = heard
    if 4 * derivative.error > abs(given - expected):
        return ""
    return "given" if abs(derivative.value - given) < abs(derivative.value - expected) / 4 else "autograd"


def relative_size(error: Tensor, value: Tensor) -> float:
    """RMS of an error relative to the RMS of the value; infinite where the value is zero."""
    if not error.numel():
        return 0.0
    largest = float(value.abs().max())
    if largest == 0 or not math.isfinite(largest):
        return math.inf
    return float((error / largest).abs().square().mean().sqrt() / (value / largest).abs().square().mean().sqrt())
