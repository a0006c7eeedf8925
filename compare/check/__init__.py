"""The check: is a hand-written derivative right, and if not, which step is wrong?"""

from compare.check.derivation import check_derivation
from compare.check.inputs import (
    Spec,
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

__all__ = [
    "GradientMismatch",
    "Report",
    "Row",
    "Spec",
    "binary",
    "check_derivation",
    "check_layer",
    "constant",
    "index",
    "one_hot",
    "permutation",
    "positive",
    "probability",
    "real",
]
