"""The harness: checks hand-written gradients, trains them next to autograd, and shows what was found.

Importing it loads torch and numpy only; what needs more is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare.check.derivation import check_derivation
    from compare.check.function import check_function
    from compare.check.inputs import (
        binary,
        constant,
        index,
        one_hot,
        permutation,
        positive,
        probability,
        real,
    )
    from compare.check.layer import check_layer
    from compare.check.report import GradientMismatch, Report, Row
    from compare.explain.explanation import explain_derivation
    from compare.explain.function import explain_function
    from compare.run.config import TrainConfig
    from compare.run.data import Data, load_data
    from compare.run.history import EpochReport, TrainResult
    from compare.run.replay import replay
    from compare.run.train import train

_WHERE = {
    "check_derivation": "compare.check.derivation",
    "check_function": "compare.check.function",
    "check_layer": "compare.check.layer",
    "GradientMismatch": "compare.check.report",
    "Report": "compare.check.report",
    "Row": "compare.check.report",
    "explain_derivation": "compare.explain.explanation",
    "explain_function": "compare.explain.function",
    "binary": "compare.check.inputs",
    "constant": "compare.check.inputs",
    "index": "compare.check.inputs",
    "one_hot": "compare.check.inputs",
    "permutation": "compare.check.inputs",
    "positive": "compare.check.inputs",
    "probability": "compare.check.inputs",
    "real": "compare.check.inputs",
    "TrainConfig": "compare.run.config",
    "Data": "compare.run.data",
    "load_data": "compare.run.data",
    "EpochReport": "compare.run.history",
    "TrainResult": "compare.run.history",
    "replay": "compare.run.replay",
    "resume": "compare.run.resume",
    "train": "compare.run.train",
}

__all__ = [
    "Data",
    "EpochReport",
    "GradientMismatch",
    "Report",
    "Row",
    "TrainConfig",
    "TrainResult",
    "binary",
    "check_derivation",
    "check_function",
    "check_layer",
    "constant",
    "explain_derivation",
    "explain_function",
    "index",
    "load_data",
    "one_hot",
    "permutation",
    "positive",
    "probability",
    "real",
    "replay",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, and keep it."""
    import importlib

    if name not in _WHERE:
        raise AttributeError(f"module 'compare' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
