"""Which task a target poses: two classes, several, or regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compare.run.refusal import refusal, shown
from compare.run.table import Table

Task = Literal["binary", "classes", "regression"]
MOST_DISTINCT = 20  # whole numbers with at most so many different values are taken for class labels
EXACT = 2**53  # above it, neighbouring whole numbers share a float64


@dataclass(frozen=True)
class Targets:
    """The task, and y: (m,) class indices (int64) for binary and classes, (m, k) float64 for regression."""

    task: Task
    y: NDArray[Any]
    classes: tuple[str, ...]


def choose_targets(table: Table, task: Task | Literal["auto"]) -> Targets:
    """The task that is asked for, or with "auto" the one that the target suggests.

    - Text, booleans, one-hot rows and whole-number labels of IDX files are classes.
    - Other whole numbers are classes if they have at most 20 different values, on average two samples each.
    - Everything else is regression. Two classes are the task "binary", more are "classes".

    Raises `ValueError` where the target does not suit the task, a class has a single sample, or nothing varies.
    """
    if task == "regression" or (task == "auto" and not _are_labels(table)):
        return Targets("regression", _numbers(table), ())
    codes, classes = _classes(table)
    what = f"the target {shown(table.target)} holds {len(classes)} classes"
    if task == "binary" and len(classes) != 2:
        raise refusal(table.source, f"{what}, the task binary needs two", "use --task classes")
    return Targets("binary" if len(classes) == 2 and task != "classes" else "classes", codes, classes)


def _are_labels(table: Table) -> bool:
    if table.classes is not None or table.labelled or table.y.dtype.kind == "b":
        return True
    if table.y.ndim == 2:
        return _is_one_hot(table.y)
    whole = table.y.dtype.kind in "ui" or bool((np.floor(table.y) == table.y).all())
    return whole and len(np.unique(table.y)) <= min(MOST_DISTINCT, len(table.y) / 2)


def _is_one_hot(y: NDArray[Any]) -> bool:
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())


def _numbers(table: Table) -> NDArray[np.float64]:
    """The target as (m, k) float64."""
    what = f"the target {shown(table.target)}"
    if table.classes is not None:
        remedy = "use --task classes, or a target of numbers"
        raise refusal(table.source, f"{what} holds names of classes, regression needs numbers", remedy)
    y: NDArray[np.float64] = table.y.reshape(len(table.y), -1).astype(np.float64)
    if (y.min(axis=0) == y.max(axis=0)).any():
        raise refusal(table.source, f"{what} is constant: nothing to learn", "check the choice of target")
    return y


def _classes(table: Table) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices (m,) and class names; every class has two samples at least, one for each part."""
    y, names = table.y, table.classes
    what = f"the target {shown(table.target)}"
    if y.ndim == 2:
        if not _is_one_hot(y):
            remedy = "give class indices, one a row, or use --task regression"
            raise refusal(table.source, f"{what} has {y.shape[1]} columns that are not one-hot", remedy)
        names = tuple(str(j) for j in range(y.shape[1]))
        codes = y.argmax(axis=1)
    elif names is not None:
        codes = y
    else:
        if y.dtype.kind == "f" and np.abs(y).max() > EXACT:
            remedy = "number the classes from 0, or name them"
            raise refusal(table.source, f"{what} holds numbers above 2**53 as class labels", remedy)
        values, codes = np.unique(y, return_inverse=True)
        if 2 * len(values) <= len(y):  # else some class has one sample, and naming them all may take long
            names = tuple(str(int(v)) if v == int(v) and y.dtype.kind != "b" else str(v) for v in values.tolist())
    counts = np.bincount(codes, minlength=len(names or ()))
    if len(counts) == 1:
        raise refusal(table.source, f"{what} holds one class only", "check the choice of target, or add rows")
    if counts.min() < 2:
        rare = int(counts.argmin())
        name = shown(names[rare] if names else str(values[rare]))
        rows = f" ({table.row(int(np.argmax(codes == rare)))})" if counts[rare] else ""
        received = f"class {name} has {counts[rare]} sample{'s' if counts[rare] != 1 else ''}{rows}"
        remedy = "each class needs two, one to train and one to validate on: add rows or leave it out"
        raise refusal(table.source, f"{what}: {received}", f"{remedy}, or use --task regression for quantities")
    assert names is not None
    return codes.astype(np.int64), names
