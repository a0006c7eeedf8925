"""How verdicts become points: weights of the quantities, and the credit that each verdict earns. Read from TOML.

points = 10                # of a submission where everything is right; 100 by default

[weights]                  # by default 1 for each quantity of the reference's own backward
z2 = 2
W2 = 1

[credit]                   # shares of a quantity's weight; the defaults are these
inherited = 1.0
imprecise = 0.5
raises = 0.5               # right, but under some conditions the backward raises
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.check.verdict import WORST_FIRST
from compare.small_file import read_small
from compare.wire import one_line

MISSING = "missing"  # the verdict on a quantity that a submission does not return
RAISES = "raises"  # right where the backward runs, but elsewhere it raises
FORWARD = "forward"  # the quantity that stands for the submission's own forward
CREDIT = dict.fromkeys((*WORST_FIRST, MISSING, RAISES), 0.0) | {
    "right": 1.0,
    "rescaled": 1.0,
    "subgradient": 1.0,
    "inherited": 1.0,
    "imprecise": 0.5,
    RAISES: 0.5,
}


@dataclass(frozen=True)
class Weights:
    """Points of a whole submission, weight of each quantity, credit of each verdict."""

    points: float = 100.0
    weights: Mapping[str, float] = field(default_factory=dict)  # empty: not given, all alike
    credit: Mapping[str, float] = field(default_factory=lambda: CREDIT)

    def score(self, verdicts: Mapping[str, str]) -> float:
        """points * sum of weight times credit / sum of weights, to two decimals."""
        total = sum(self.weights.values())
        earned = sum(weight * self.credit[verdicts.get(name, MISSING)] for name, weight in self.weights.items())
        return round(self.points * earned / total, 2)


def read_weights(path: str | Path) -> Weights:
    """The weights in a TOML file. Raises ValueError, in one line that names the file and the key."""
    where = one_line(str(path), 300)
    try:
        table = tomllib.loads(read_small(path).decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(str(error), 200)
        raise ValueError(f"{where}: cannot be read as TOML: {reason}") from None
    unknown = table.keys() - {"points", "weights", "credit"}
    if unknown:
        raise ValueError(f"{where}: {one_line(min(unknown), 60)!r} is unknown; there are points, weights and credit")
    points = _number(where, "points", table.get("points", 100), low=0)
    weights = _numbers(where, "weights", table.get("weights", {}), low=0)
    credit = _numbers(where, "credit", table.get("credit", {}), low=0, high=1)
    if odd := credit.keys() - CREDIT.keys():
        raise ValueError(f"{where}: credit.{one_line(min(odd), 60)} is no verdict; there are {', '.join(CREDIT)}")
    if weights and sum(weights.values()) == 0:
        raise ValueError(f"{where}: all weights are 0; give one quantity a weight above 0")
    return Weights(points, weights, CREDIT | credit)


def _numbers(where: str, table: str, values: Any, *, low: float, high: float = math.inf) -> dict[str, float]:
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {table} is a table of numbers: [{table}]")
    return {name: _number(where, f"{table}.{name}", value, low=low, high=high) for name, value in values.items()}


def _number(where: str, name: str, value: Any, *, low: float, high: float = math.inf) -> float:
    if type(value) not in (int, float) or not low <= value <= high or math.isinf(value):
        bound = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise ValueError(f"{where}: {one_line(name, 60)} must be a number {bound}, got {one_line(repr(value), 60)}")
    return float(value)
