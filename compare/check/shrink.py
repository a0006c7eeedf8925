"""The smallest case that still fails, in numbers that can be checked with pen and paper."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward, call
from compare.check.conditions import Condition, Inputs, has_specs, realise
from compare.check.hooks import Forward, Graph, trace
from compare.check.inputs import Values, dimension_names
from compare.check.scale import Convention

CANDIDATES = 150  # sets of sizes and values that are tried, smallest first
CLEAR = 1e-2  # relative error from which a reader sees the mistake in three digits
SHOWN = 12  # entries of a tensor that fit on a line


def smallest(
    forward: Forward, backward: Backward, inputs: Inputs, name: str, failing: Condition, convention: Convention
) -> str:
    """A text with the smallest inputs at which the step that computes `name` is off; empty if none is found.

    Sizes from 1 up, values rounded to one decimal: only specifications can be drawn anew.
    """
    if callable(inputs) or not has_specs(inputs):
        return ""
    for condition in itertools.islice(_smaller(inputs, failing), CANDIDATES):
        try:
            drawn = realise(inputs, condition)
            graph = trace(forward, drawn)
            gradients = call(backward, graph.values(), graph.quantities).gradients
            if name not in gradients:
                continue
            given = gradients[name]
            expected = _expected(graph, gradients, name, convention)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError):
            continue  # sizes that the forward does not take
        size = float(expected.abs().max()) if expected.numel() else 0.0
        if size > 0 and float((given - expected).abs().max()) > CLEAR * size:
            return _told(condition, drawn, graph.values(), name, given, expected)
    return ""


def _expected(graph: Graph, gradients: Mapping[str, Tensor], name: str, convention: Convention) -> Tensor:
    """What the step should give, handed the deltas that it was handed, with the factor that they carry."""
    chained = graph.gradients({})
    deltas = {n: gradients[n] for n in chained if n in gradients and bool(torch.isfinite(gradients[n]).all())}
    factors = convention.factors(deltas, chained, graph.gradients, graph.inputs)
    handed = {n: delta / factors.get(n, 1.0) for n, delta in deltas.items()}
    return graph.gradients(handed)[name] * factors.get(name, 1.0)


def _smaller(inputs: Mapping[str, Any], failing: Condition) -> Iterator[Condition]:
    names = dimension_names(inputs)
    sizes = sorted(itertools.product((1, 2, 3), repeat=len(names)), key=lambda s: (sum(s), s)) if len(names) < 7 else []
    for chosen in sizes:
        for seed in (0, 1):
            yield Condition("smallest", seed, dict(zip(names, chosen, strict=True)), Values(coarse=True))
    yield failing


def _told(
    condition: Condition,
    drawn: Mapping[str, Any],
    values: Mapping[str, Any],
    name: str,
    given: Tensor,
    expected: Tensor,
) -> str:
    sizes = ", ".join(f"{n}={s}" for n, s in condition.sizes.items())
    lines = [f"smallest case found ({sizes}):"]
    lines += [f"  {n} = {_numbers(v)}" for n, v in drawn.items()]
    lines += [f"  {n} = {_numbers(v)}" for n, v in values.items() if n not in drawn]
    lines += [f"  dJ/d{name}: yours {_numbers(given)}", f"  {'':>{len(name) + 4}} true  {_numbers(expected)}"]
    return "\n".join(line for line in lines if line.strip())


def _numbers(value: Any) -> str:
    if not isinstance(value, Tensor):
        return str(value)
    if value.numel() > SHOWN:
        return f"(a tensor of shape {tuple(value.shape)})"
    rounded = value.detach().double() if value.is_floating_point() else value.detach()
    return _nested(rounded.tolist())


def _nested(entry: Any) -> str:
    if isinstance(entry, list):
        return f"[{', '.join(_nested(inner) for inner in entry)}]"
    return f"{entry:.4g}" if isinstance(entry, float) else str(entry)
