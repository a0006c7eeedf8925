"""One derivation at one set of inputs: what the user says, what autograd says, and what rounding explains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward, Given, call
from compare.check.constants import THRESHOLD
from compare.check.evaluation import Comparison, Evaluation
from compare.check.hooks import Forward, ForwardFailed, Graph, trace
from compare.check.noise import Jitter, deliberate_below, measure
from compare.check.scale import Convention
from compare.check.second_look import ask_for_digits, ask_the_oracle, excuse_low_precision, look_closer

CALLS = 2  # calls of the backward on the same values


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
    ask_for_digits(result, forward, inputs, fixed)
    look_closer(result, expected, seed)
    excuse_low_precision(result, expected, seed)
    ask_the_oracle(result, forward, inputs)
    return result


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
