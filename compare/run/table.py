"""A data set as its source gives it: before the task is chosen, the rows are split and the columns scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

MAX_COLUMNS = 2**20  # names of columns cost more memory than the numbers of a short, very wide array


@dataclass(frozen=True)
class Table:
    """m samples with d inputs each, and their target; all numbers are finite.

    `x` is (m, d) in the source's own dtype, so that images take one byte a pixel until they are scaled. `y` is
    (m,) or (m, k) numbers, or, where `classes` names them, (m,) indices (int64) into `classes`.
    `labelled` says that whole numbers in `y` are known to be class labels however many there are.
    `pixels` says that `x` is brightness in bytes, of images of any number of dimensions.
    `row` says where sample i stands in the source, for messages. Texts are escaped already.
    """

    source: str
    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    row: Callable[[int], str]
    labelled: bool = False
    pixels: bool = False
    image_shape: tuple[int, int] | None = None
    note: str = ""


def column_names(columns: int, image_shape: tuple[int, int] | None) -> tuple[str, ...]:
    """Names where a source has none: `pixel_r_c` for images, as in scikit-learn, else `x0`, `x1`, ..."""
    if image_shape is None:
        return tuple(f"x{j}" for j in range(columns))
    return tuple(f"pixel_{r}_{c}" for r in range(image_shape[0]) for c in range(image_shape[1]))
