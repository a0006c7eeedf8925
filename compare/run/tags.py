"""The tags under which a run logs its numbers, and those that are computed from others.

The part of a tag before its first slash is the group in which TensorBoard shows it.
"""

from __future__ import annotations

from collections.abc import Mapping

from compare.run.history import Overfitting

GAPS = {"parameters": "gap of parameters", "deltas": "gap of deltas"}
WORST = " worst so far"


def gap_tags(group: str, gaps: Mapping[str, tuple[float, float]], so_far: Mapping[str, float]) -> dict[str, float]:
    """Each quantity's largest gap since the last evaluation, and the worst so far, in ulps and relative.

    `so_far` holds the latest values by tag.
    """
    tags: dict[str, float] = {}
    for name, both in gaps.items():
        for unit, value in zip(("ulp", "relative"), both, strict=True):
            tag = f"{group}/{unit} {name}"
            tags[tag] = value
            tags[tag + WORST] = max(so_far.get(tag + WORST, value), value)
    return tags


def mismatch_tags(gaps: Mapping[str, tuple[float, float]], so_far: Mapping[str, float]) -> dict[str, float]:
    """The gaps at the step whose gradients are not equal, under every tag that gaps have."""
    of = {group: {n: gap for n, gap in gaps.items() if is_delta(n) == (group == "deltas")} for group in GAPS}
    tags = {tag: value for group, title in GAPS.items() for tag, value in gap_tags(title, of[group], so_far).items()}
    for k, unit in enumerate(("ulp", "relative")):
        if of["parameters"]:
            largest = max(gap[k] for gap in of["parameters"].values())
            tags |= {f"gap/{unit} largest": largest, f"gap/{unit}{WORST}": largest}
    return tags


def is_delta(name: str) -> bool:
    """Whether a name is that of a pre-activation, so that its gradient is a delta."""
    return name.startswith("z") and name[1:].rstrip("'").isdigit()


def update_tags(norms: Mapping[str, float], lr: float) -> dict[str, float]:
    """The size of the last update of each layer relative to that of its parameters: lr ||dJ/dW|| / ||W||, eq. (1).

    `norms` holds `gradient norm/...` and `weight norm/...`. About 1e-3 is usual; far more trains unsteadily, far less
    hardly at all.
    """
    tags = {}
    for tag, norm in norms.items():
        kind, _, layer = tag.partition("/")
        size = norms.get(f"weight norm/{layer}", 0.0)
        if kind == "gradient norm" and size > 0:
            tags[f"update to weight/{layer}"] = lr * norm / size
    return tags


def overfitting_tags(overfitting: Overfitting, validation: float) -> dict[str, float]:
    """How far the latest validation loss is above its least, and since when the run overfits (0: it does not)."""
    return {
        "overfitting/validation loss above its least": validation - overfitting.least,
        "overfitting/since epoch": float(overfitting.since or 0),
    }
