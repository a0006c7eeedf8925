"""The page "custom scalars" of TensorBoard: what stands on which chart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from compare.run.finite import layer_of

LAYOUT: dict[str, dict[str, list[str]]] = {
    "manual vs autograd": {
        "loss: training and validation of both runs": ["^loss/train$", "^loss/val$"],
        "gap of all gradients, log10 relative (-20: none at all)": ["^gap/log10 relative (largest|worst so far)$"],
        "overfitting: since which epoch (0: not)": ["^overfitting/since epoch$"],
        "overfitting: validation loss above its least": ["^overfitting/validation loss above its least$"],
    },
    "layers": {
        "gradient norm, log10: vanishing or exploding": ["^gradient norm/"],
        "weight norm": ["^weight norm/"],
        "size of an update relative to the weights, log10": ["^update to weight/"],
    },
}

WHERE = "where the gap is, layer by layer from the output on (log10 relative; -20: none, -2: 1 %)"
CHARTS = 12  # of layers; deeper networks get one for all


def charts(quantities: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Category -> title of a chart -> regular expressions of its tags.

    `quantities` are the deltas and parameters in the order of the forward pass. Each layer has a chart of its own, from
    the output on, so that the one that is wrong is seen without a legend.
    """
    layers: dict[str, list[str]] = {}
    for name in quantities:
        layers.setdefault(layer_of(name), []).append(name)
    gaps = {}
    for layer, its in reversed(layers.items()):
        gaps[f"{layer}: {', '.join(its)}; worst so far"] = [
            f"^gap of (parameters|deltas)/log10 relative ({'|'.join(map(re.escape, its))}) worst so far$"
        ]
    if len(gaps) > CHARTS:
        gaps = {"every parameter and delta; worst so far": ["^gap of (parameters|deltas)/log10 relative .* worst"]}
    gaps["every parameter, largest since the last point"] = ["^gap of parameters/log10 relative [^ ]+$"]
    gaps["every parameter in ulps, largest since the last point"] = ["^gap of parameters/ulp [^ ]+$"]
    first, *others = LAYOUT
    return {first: LAYOUT[first], WHERE: gaps} | {title: LAYOUT[title] for title in others}
