"""Data sets for a run: built in or out of a file, split into training and validation parts, and scaled.

data = load_data("breast-cancer")
data = load_data("houses.csv", target="price", val_fraction=0.1)
data = load_data("train-images-idx3-ubyte.gz")       # labels are found beside it
"""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from compare.run.builtin import BUILT_IN
from compare.run.files import read_file
from compare.run.refusal import refusal, shown
from compare.run.split import Scale, rescale, scale_inputs, split
from compare.run.table import Table
from compare.run.targets import Task, choose_targets

__all__ = ["BUILT_IN", "Data", "Scale", "Task", "load_data", "one_hot"]


@dataclass(frozen=True)
class Data:
    """A data set that is ready to train on; all tensors are on the CPU and finite.

    `x_*` is (m, d) float64. `y_*` is (m, 1) float64 of 0 and 1 for the task "binary", (m,) int64 class indices
    for "classes", and (m, k) float64, standardised with the training part's figures, for "regression".
    `classes` names the classes in the order of their indices, and is () for regression; `target` names the
    target. `image_shape` is (rows, columns) where a sample is an image. `note` says in one line what was done to
    the rows and columns. Texts from files are escaped: they are safe to print.
    """

    name: str
    task: Task
    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    features: tuple[str, ...]
    classes: tuple[str, ...]
    target: str
    image_shape: tuple[int, int] | None
    note: str
    images_val: Tensor | None = None  # (m, rows, columns), the validation part's images before scaling


def load_data(
    name_or_path: str | os.PathLike[str],
    *,
    target: str | None = None,
    labels: str | None = None,
    task: Task | Literal["auto"] = "auto",
    scale: Scale = "auto",
    val_fraction: float = 0.2,
    seed: int = 0,
    max_bytes: int = 2 * 2**30,
) -> Data:
    """A built-in data set, or one out of a CSV, NPZ or IDX file; a built-in name goes before a file of that name.

    `target` is the column of a CSV file to predict, `labels` the file of labels for IDX images if it is not beside
    them. `task`, `scale`: see `choose_targets` and `scale_inputs`. `val_fraction` of the rows are for validation,
    chosen by `seed`, stratified by class. `max_bytes` bounds each file and its numbers as float64 before anything
    is allocated.

    Raises `ValueError`, of one line: what is wrong, the file with row and column, and the remedy.
    """
    name = os.fspath(name_or_path)
    where = shown(name)
    for option, value, allowed in (
        ("--task", task, ("auto", *get_args(Task))),
        ("--scale", scale, get_args(Scale)),
    ):
        if value not in allowed:
            raise refusal(where, f"{option} is {shown(str(value))}", f"choose one of {', '.join(allowed)}")
    if not 0 < val_fraction < 1:
        raise refusal(where, f"--val-fraction is {val_fraction}", "choose a number between 0 and 1, such as 0.2")
    if not 0 <= seed < 2**32:
        raise refusal(where, f"--seed is {seed}", "choose a whole number from 0 to 4294967295")
    try:
        table = _table(name, target, labels, task, max_bytes)
        return _prepared(table, task, scale, val_fraction, seed)
    except MemoryError:
        raise refusal(where, "does not fit into memory", "take fewer rows or columns") from None


def _table(name: str, target: str | None, labels: str | None, task: str, max_bytes: int) -> Table:
    if name in BUILT_IN:
        for option, value in (("--target", target), ("--labels", labels)):
            if value is not None:
                remedy = f"drop it, or write ./{name} if a file is meant"
                raise refusal(shown(name), f"{option} is for files, this data set is built in", remedy)
        return BUILT_IN[name]()
    path = Path(name)
    looks_like_path = path.suffix != "" or any(mark in name for mark in ("/", os.sep))
    if name and (looks_like_path or os.path.exists(name)):
        return read_file(path, target=target, labels=labels, task=task, max_bytes=max_bytes)
    near = difflib.get_close_matches(name.lower(), BUILT_IN, n=1)
    what = "is neither a built-in data set nor a file" + (f" (did you mean {near[0]}?)" if near else "")
    raise refusal(shown(name), what, f"choose one of {', '.join(BUILT_IN)}, or the path of a file")


def _prepared(table: Table, task: Task | Literal["auto"], scale: Scale, val_fraction: float, seed: int) -> Data:
    targets = choose_targets(table, task)
    train, val = split(table, targets, val_fraction, seed)
    stratified = "stratified, " if targets.classes else ""
    shape = table.image_shape
    images = None if shape is None else torch.from_numpy(np.ascontiguousarray(table.x[val])).reshape(-1, *shape)
    x_train, x_val, scaled = scale_inputs(table, train, val, scale)
    notes = [f"{len(train):,} training and {len(val):,} validation rows ({stratified}seed {seed})", scaled]
    y_train, y_val = targets.y[train], targets.y[val]
    if targets.task == "regression":
        rescale(y_train, y_val, "deviation")
        if not np.isfinite(y_val).all():
            what = f"target {shown(table.target)} is too large in a validation row for the training part's scale"
            raise refusal(table.source, what, "correct the row")
        notes.append("target standardised likewise")
    elif targets.task == "binary":
        y_train, y_val = (y.astype(np.float64).reshape(-1, 1) for y in (y_train, y_val))
    if table.note:
        notes.append(table.note)
    return Data(
        name=table.name,
        task=targets.task,
        x_train=torch.from_numpy(x_train),
        y_train=torch.from_numpy(y_train),
        x_val=torch.from_numpy(x_val),
        y_val=torch.from_numpy(y_val),
        features=table.features,
        classes=targets.classes,
        target=table.target,
        image_shape=table.image_shape,
        note="; ".join(notes),
        images_val=images,
    )


def fingerprint(data: Data) -> str:
    """SHA-256 of every number of a data set, their shapes and the names of the classes: equal data, equal text."""
    found = hashlib.sha256(repr((data.task, data.classes)).encode())
    for tensor in (data.x_train, data.y_train, data.x_val, data.y_val):
        found.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def one_hot(y: Tensor, classes: int) -> Tensor:
    """(m, classes) float64: a one in column y_i of row i, zeros elsewhere; targets of log-loss on several classes.

    `y` is (m,) int64. Raises `ValueError` unless its entries lie in 0..classes-1.
    """
    if y.ndim != 1 or y.dtype != torch.int64:
        what = f"class indices must be (m,) int64, received {tuple(y.shape)} {y.dtype}"
        raise refusal("one_hot", what, "pass y of the task classes")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        what = f"class indices run from {int(y.min())} to {int(y.max())}, the classes from 0 to {classes - 1}"
        raise refusal("one_hot", what, "pass the number of classes of the data set")
    return torch.nn.functional.one_hot(y, classes).to(torch.float64)
