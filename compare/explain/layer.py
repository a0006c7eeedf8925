"""Explaining a wrong layer or network: its backward is spread over layers, so that its numbers alone are looked at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import manualbp as mbp
from compare.check.layer import Sides, targets
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
    if params is None:
        params = layer.init(torch.Generator().manual_seed(seed), dtype=torch.float64, device=x.device)
    side = Sides(layer, params, loss, twin, l2)
    values = {side.names.parameters[path]: tensor.detach().double() for path, tensor in mbp.named(params)}
    with torch.no_grad():
        own = next((tensor.dtype for _, tensor in mbp.named(params)), x.dtype)
        z, _ = layer.forward(params, x.to(own) if x.is_floating_point() else x)

    def inputs(number: int) -> dict[str, Any]:
        draws = torch.Generator().manual_seed(number)
        made: dict[str, Any] = {"x": x.detach().double() if x.is_floating_point() else x}
        made |= {name: value * (1 + 0.2 * (number - seed)) for name, value in values.items()}
        if loss is None:
            made["cotangent"] = torch.randn(z.shape, generator=draws, dtype=torch.float64).to(z.device)
        else:
            made["y"] = targets(loss, z, draws) if y is None else y
            made["y"] = made["y"].double() if made["y"].is_floating_point() else made["y"]
        return made | ({"l2": l2} if l2 else {})

    def forward(l2: float = 0.0, **given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return side.forward(**given)

    def backward(**given: Any) -> dict[str, Tensor | None]:
        return side.backward(**{name: value for name, value in given.items() if name != "l2"})

    return explain(report, forward, backward, inputs, seconds=seconds, seed=seed)
