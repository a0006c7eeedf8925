"""Training and validation parts: which rows go where, and the scale of both, fitted on the training part."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compare.run.refusal import listed, refusal, shown
from compare.run.table import Table
from compare.run.targets import Targets

Scale = Literal["auto", "standard", "unit", "none"]
Rows = NDArray[np.int64]


def split(table: Table, targets: Targets, val_fraction: float, seed: int) -> tuple[Rows, Rows]:
    """The rows of the training part and of the validation part, shuffled with `seed`.

    Classes keep their shares in both parts (stratified), and each has a row in the training part. The validation
    part is `val_fraction` of the rows, rounded, and at least one. Raises `ValueError` if it cannot be so.
    """
    from sklearn.model_selection import train_test_split

    rows, classes = len(table.x), len(targets.classes)
    validation = min(max(1, round(val_fraction * rows)), rows - 1)
    training = rows - validation
    at_least = max(classes, 1)
    if min(training - (not classes), validation) < at_least:  # regression: two rows to take a deviation of
        what = f"{rows} rows split into {training} to train and {validation} to validate on"
        needed = f"each part needs a row of each of the {classes} classes" if classes else "they need two and one"
        low = math.ceil(100 * at_least / rows) / 100
        remedy = "add rows" + (f", or use --val-fraction {low:g}" if 2 * at_least <= rows and classes else "")
        raise refusal(table.source, f"{what}, and {needed}", remedy)
    codes = targets.y if classes else None
    train, val = train_test_split(np.arange(rows), test_size=validation, random_state=seed, stratify=codes)
    if classes:
        missing = np.flatnonzero(np.bincount(targets.y[train], minlength=classes) == 0)
        if len(missing):
            what = f"class {shown(targets.classes[int(missing[0])])} has no row in the training part"
            raise refusal(table.source, what, "lower --val-fraction, or add rows of that class")
    return train, val


def scale_inputs(table: Table, train: Rows, val: Rows, scale: Scale) -> tuple[Any, Any, str]:
    """The inputs of both parts as float64 (m, d), and a phrase that says how they were scaled.

    - "standard": mean 0 and standard deviation 1 in the training part, column by column.
    - "unit": 0..1. Pixels of one byte are divided by 255; other images have one range for all pixels, everything
      else a range for each column, from least to greatest in the training part.
    - "auto": "unit" for pixels of one byte, "standard" for everything else.

    A column that is constant in the training part is shifted to 0 and not scaled.
    """
    x_train, x_val = (table.x[rows].astype(np.float64, copy=False) for rows in (train, val))
    if scale == "none":
        return x_train, x_val, "inputs as they are"
    if scale == "auto":
        scale = "unit" if table.pixels else "standard"
    if scale == "unit" and table.pixels:
        x_train /= 255
        x_val /= 255
        return x_train, x_val, "pixels divided by 255"
    if scale == "unit":
        together = table.image_shape is not None
        constant = rescale(x_train, x_val, "range", together=together)
        phrase = "inputs scaled to 0..1 by the training part's least and greatest"
    else:
        constant = rescale(x_train, x_val, "deviation")
        phrase = "inputs standardised with the training part's mean and standard deviation"
    too_large = ~np.isfinite(x_val).all(axis=0)
    if too_large.any():
        name = table.features[int(np.argmax(too_large))]
        what = f"column {shown(name)} is too large in a validation row for the training part's scale"
        raise refusal(table.source, what, "correct the row, or use --scale none")
    names = [table.features[j] for j in np.flatnonzero(constant)]
    return x_train, x_val, phrase + (f"; constant: {listed(names, 4)}" if names else "")


def rescale(
    train: NDArray[np.float64],
    val: NDArray[np.float64],
    by: Literal["deviation", "range"],
    *,
    together: bool = False,
) -> NDArray[np.bool_]:
    """Shifts and scales both (m, d) arrays in place by figures of `train`; returns which columns are constant.

    By "deviation": (x - mean) / standard deviation; by "range": (x - least) / (greatest - least). Each column has
    its own figures, or with `together` they share them. A constant column is only shifted, to 0.
    """
    axis = None if together else 0
    least, greatest = np.atleast_1d(train.min(axis=axis)), np.atleast_1d(train.max(axis=axis))
    constant = least == greatest
    # A power of two brings each column to at most 1 first: exact, and then no square or difference overflows.
    exponent = np.frexp(np.maximum(np.abs(least), np.abs(greatest)))[1]
    exponent[constant] = 0
    with np.errstate(over="ignore", under="ignore"):
        for x in (train, val):
            np.ldexp(x, -exponent, out=x)
        least, greatest = np.ldexp(least, -exponent), np.ldexp(greatest, -exponent)
        shift = least if by == "range" else train.mean(axis=axis)
        shift = np.where(constant, least, shift)
        for x in (train, val):
            x -= shift
        if by == "range":
            spread = greatest - least
        else:
            spread = np.sqrt(np.einsum("ij,ij->j", train, train) / len(train))
        spread[constant] = 1
        for x in (train, val):
            x /= spread
    return np.broadcast_to(constant, train.shape[1:])
