"""The data sets that need no file: real ones that ship inside scikit-learn, and two that are generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.run.table import Table


def _from_sklearn(name: str, loader: str, target: str, **options: Any) -> Table:
    """A data set of `sklearn.datasets`, imported when it is asked for."""
    from sklearn import datasets

    bunch = getattr(datasets, loader)(**options)
    classes = getattr(bunch, "target_names", None)
    return Table(
        source=name,
        name=name,
        x=bunch.data,
        y=bunch.target,
        features=tuple(str(feature) for feature in bunch.feature_names),
        target=target,
        classes=None if classes is None else tuple(str(c) for c in classes),
        row=lambda sample: f"row {sample}",
        image_shape=(8, 8) if name == "digits" else None,
    )


def _generated(name: str, x: NDArray[np.float64], y: NDArray[np.bool_], classes: tuple[str, str]) -> Table:
    return Table(
        source=name,
        name=name,
        x=x,
        y=y.astype(np.int64),
        features=tuple(f"x{j}" for j in range(1, x.shape[1] + 1)),
        target="y",
        classes=classes,
        row=lambda sample: f"row {sample}",
    )


def _xor() -> Table:
    """400 points of [-1, 1]^2; the class is 1 where the signs differ.

    The exclusive or of the truth table's four corners, spread out so that there are rows to validate on: no line
    separates the classes, so a network without a hidden layer stays near one half.
    """
    random = np.random.RandomState(0)  # a stream that no version of numpy changes
    x = random.uniform(-1.0, 1.0, size=(400, 2))
    return _generated("xor", x, x[:, 0] * x[:, 1] < 0, ("same sign", "signs differ"))


def _figure_1() -> Table:
    """300 samples of 3 inputs, labelled by a random network of the lecture's Figure 1: 3-3-1, sigmoid.

    The teacher's output is cut at its median, so the classes are equal in size, and one label in eight is turned
    over: a network that fits them all overfits.
    """
    random = np.random.RandomState(1)
    x = random.standard_normal(size=(300, 3))
    w2, b2 = random.normal(0, 3.0, size=(3, 3)), random.normal(0, 1.0, size=3)
    w3, b3 = random.normal(0, 3.0, size=(1, 3)), random.normal(0, 1.0, size=1)
    a2 = 1 / (1 + np.exp(-(x @ w2.T + b2)))
    z3 = (a2 @ w3.T + b3)[:, 0]
    y = (z3 > np.median(z3)) ^ (random.uniform(size=len(x)) < 1 / 8)
    return _generated("figure-1", x, y, ("0", "1"))


BUILT_IN: dict[str, Callable[[], Table]] = {
    "breast-cancer": lambda: _from_sklearn("breast-cancer", "load_breast_cancer", "diagnosis"),
    "digits": lambda: _from_sklearn("digits", "load_digits", "digit"),
    "iris": lambda: _from_sklearn("iris", "load_iris", "species"),
    "wine": lambda: _from_sklearn("wine", "load_wine", "cultivar"),
    "diabetes": lambda: _from_sklearn("diabetes", "load_diabetes", "progression", scaled=False),
    "xor": _xor,
    "figure-1": _figure_1,
}
"""The data sets by name; scikit-learn's rows, and the generated ones, are the same at every call."""
