"""Explaining a wrong layer or network: its backward is spread over layers, so that its numbers alone are looked at."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import manualbp as mbp
from compare.check.layer import sides
from compare.check.report import Report
from compare.explain.explanation import SECONDS, explain


def explain_layer(
    report: Report,
    layer: mbp.Layer,
    x: Tensor,
    *,
    y: Tensor | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    params: mbp.Params | None = None,
    l2: float = 0.0,
    seed: int = 0,
    seconds: float = SECONDS,
) -> Report:
    """The report of `check_layer` with the cause of every wrong step; the other arguments are those of the check.

    A cause is named only where its repair makes the step right at these parameters and at others next to them.
    """
    side, z = sides(layer, x, loss=loss, twin=twin, params=params, l2=l2, seed=seed)
    parameters = side.names.parameters.values()

    def inputs(number: int) -> dict[str, Any]:
        made = side.inputs(x, z, y, number)
        made |= {name: made[name] * (1 + 0.2 * (number - seed)) for name in parameters}
        return made | ({"l2": l2} if l2 else {})

    def forward(l2: float = 0.0, **given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return side.forward(**given)

    def backward(**given: Any) -> dict[str, Tensor | None]:
        return side.backward(**{name: value for name, value in given.items() if name != "l2"})

    return explain(report, forward, backward, inputs, seconds=seconds, seed=seed)
