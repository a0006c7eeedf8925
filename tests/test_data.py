"""Data sets: the built-in ones, the task that is chosen, the split and the scale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from compare.run.data import BUILT_IN, Data, load_data, one_hot
from compare.run.split import rescale


def refused(name: str, **options: Any) -> str:
    with pytest.raises(ValueError, match=r": .*; ") as caught:
        load_data(name, **options)
    assert str(caught.value).isprintable(), "one line"
    return str(caught.value)


def csv(path: Path, targets: list[object]) -> str:
    """A file with a column `a` of distinct numbers and the column `t` of `targets`."""
    path.write_text("a,t\n" + "".join(f"{i}.25,{t}\n" for i, t in enumerate(targets)))
    return str(path)


def tensors(data: Data) -> tuple[Tensor, ...]:
    return data.x_train, data.y_train, data.x_val, data.y_val


# --- built in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task", "rows", "inputs", "classes"),
    [
        ("breast-cancer", "binary", 569, 30, 2),
        ("digits", "classes", 1797, 64, 10),
        ("iris", "classes", 150, 4, 3),
        ("wine", "classes", 178, 13, 3),
        ("diabetes", "regression", 442, 10, 0),
        ("xor", "binary", 400, 2, 2),
        ("figure-1", "binary", 300, 3, 2),
    ],
)
def test_built_in(name: str, task: str, rows: int, inputs: int, classes: int) -> None:
    data = load_data(name)
    assert (data.name, data.task, len(data.features), len(data.classes)) == (name, task, inputs, classes)
    assert data.image_shape == ((8, 8) if name == "digits" else None)
    n = round(0.2 * rows)
    assert data.x_train.shape == (rows - n, inputs)
    assert data.x_val.shape == (n, inputs)
    for x, y in ((data.x_train, data.y_train), (data.x_val, data.y_val)):
        assert x.dtype == torch.float64
        assert x.is_contiguous()
        if task == "classes":
            assert (y.shape, y.dtype) == ((len(x),), torch.int64)
            assert set(y.tolist()) == set(range(classes))
        else:
            assert (y.shape, y.dtype) == ((len(x), 1), torch.float64)
            assert task == "regression" or set(y.ravel().tolist()) == {0.0, 1.0}
    assert f"{rows - n:,} training and {n:,} validation rows" in data.note
    assert data.note.isprintable()


def test_the_table_of_built_in_sets_is_the_documented_one() -> None:
    assert list(BUILT_IN) == ["breast-cancer", "digits", "iris", "wine", "diabetes", "xor", "figure-1"]


def test_generated_rows_do_not_depend_on_the_seed() -> None:
    for name in ("xor", "figure-1"):
        one, other = (load_data(name, seed=seed, scale="none") for seed in (0, 5))
        rows = [torch.cat([d.x_train, d.x_val]).sort(dim=0).values for d in (one, other)]
        assert torch.equal(*rows)
        assert not torch.equal(one.x_train, other.x_train)
    assert ((one.x_train[:, 0] * one.x_train[:, 1] < 0) != one.y_train[:, 0].bool()).any(), "figure-1 is no xor"
    data = load_data("xor", scale="none")
    assert torch.equal(data.y_train[:, 0].bool(), data.x_train[:, 0] * data.x_train[:, 1] < 0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("breast_cancer", {}, ["did you mean breast-cancer?", "choose one of breast-cancer, digits"]),
        ("Iris", {}, ["did you mean iris?"]),
        ("zzz", {}, ["neither a built-in data set nor a file", "figure-1"]),
        ("", {}, ["neither"]),
        ("iris.csv", {}, ["no such file"]),
        ("some/folder", {}, ["no such file"]),
        ("a\nb", {}, ["a\\nb"]),
        ("iris", {"target": "species"}, ["--target", "built in", "./iris"]),
        ("iris", {"labels": "file"}, ["--labels", "built in"]),
        ("iris", {"task": "ranking"}, ["--task", "'ranking'", "auto, binary, classes, regression"]),
        ("iris", {"scale": "log"}, ["--scale", "'log'", "auto, standard, unit, none"]),
        ("iris", {"task": "binary"}, ["3 classes", "--task classes"]),
        ("iris", {"task": "regression"}, ["'species'", "names of classes", "--task classes"]),
        ("diabetes", {"task": "classes"}, ["has 1 sample", "row ", "--task regression"]),
        ("iris", {"val_fraction": 0.0}, ["--val-fraction is 0.0", "0.2"]),
        ("iris", {"val_fraction": 1.0}, ["--val-fraction is 1.0"]),
        ("iris", {"val_fraction": float("nan")}, ["--val-fraction is nan"]),
        ("iris", {"val_fraction": 0.01}, ["148 to train and 2 to validate", "--val-fraction 0.02"]),
        ("iris", {"val_fraction": 0.99}, ["2 to train and 148 to validate", "--val-fraction 0.02"]),
        ("iris", {"seed": -1}, ["--seed is -1", "4294967295"]),
        ("iris", {"seed": 2**32}, ["--seed"]),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], said: list[str]) -> None:
    message = refused(name, **options)
    for words in said:
        assert words in message


def test_the_fraction_that_a_refusal_recommends_works() -> None:
    fraction = re.search(r"--val-fraction ([\d.]+)", refused("iris", val_fraction=0.01))
    assert fraction is not None
    assert len(load_data("iris", val_fraction=float(fraction[1])).x_val) == 3


# --- the task -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "task", "classes"),
    [
        (["no", "yes"] * 5, "binary", ("no", "yes")),
        (["False", "True"] * 5, "binary", ("False", "True")),
        (["c", "a", "b"] * 5, "classes", ("a", "b", "c")),
        ([-1, 1] * 5, "binary", ("-1", "1")),
        (["1.0", "0.0"] * 5, "binary", ("0", "1")),
        ([10, 9, 2] * 5, "classes", ("2", "9", "10")),
        (list(range(20)) * 5, "classes", tuple(map(str, range(20)))),
        (list(range(21)) * 5, "regression", ()),
        (list(range(10)), "regression", ()),
        ([0.5, 1] * 5, "regression", ()),
    ],
    ids=str,
)
def test_the_task_is_chosen_from_the_target(
    tmp_path: Path, targets: list[object], task: str, classes: tuple[str, ...]
) -> None:
    data = load_data(csv(tmp_path / "d.csv", targets), target="t", val_fraction=0.5)
    assert (data.task, data.classes, data.target, data.name) == (task, classes, "t", "d")


def test_the_task_can_be_overridden(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", [0, 1] * 10)
    data = load_data(path, target="t", task="classes")
    assert (data.task, data.y_train.dtype, data.classes) == ("classes", torch.int64, ("0", "1"))
    assert load_data(path, target="t", task="regression").task == "regression"
    data = load_data(csv(tmp_path / "d.csv", [0.5, 2.5, 1e3] * 5), target="t", task="classes")
    assert data.classes == ("0.5", "2.5", "1000")
    path = csv(tmp_path / "d.csv", [2**53 + 2, 2**54] * 5)
    assert "2**53" in refused(path, target="t", task="classes")


def test_targets_of_an_npz(tmp_path: Path) -> None:
    path = str(tmp_path / "d.npz")
    x = np.arange(40.0).reshape(20, 2)
    labels = np.arange(20) % 3
    np.savez(path, x=x, y=np.eye(3)[labels])
    data = load_data(path, scale="none")
    assert (data.task, data.classes) == ("classes", ("0", "1", "2"))
    assert torch.equal(data.y_train, (data.x_train[:, 0] / 2).long() % 3), "each label stays with its row"
    np.savez(path, x=x, y=labels > 0)
    assert load_data(path).classes == ("False", "True")
    np.savez(path, x=x, y=x + 0.5)
    assert load_data(path).y_train.shape == (16, 2)
    np.savez(path, x=x, y=np.eye(4)[labels])
    assert "class '3' has 0 samples" in refused(path)


# --- the split ----------------------------------------------------------------------------------------------


def test_the_split_is_seeded() -> None:
    one, same, other = (load_data("wine", seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(same), strict=True))
    assert not torch.equal(one.x_train, other.x_train)


def test_every_row_is_in_one_part_with_its_target(tmp_path: Path) -> None:
    targets = [i + 0.5 for i in range(30)]
    data = load_data(csv(tmp_path / "d.csv", targets), target="t", scale="none", val_fraction=0.3)
    assert (len(data.x_train), len(data.x_val)) == (21, 9)
    x, y = torch.cat([data.x_train, data.x_val])[:, 0], torch.cat([data.y_train, data.y_val])[:, 0]
    assert sorted(x.tolist()) == [i + 0.25 for i in range(30)]
    assert torch.equal(x.argsort(), y.argsort())


def test_classes_keep_their_shares(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", ["a"] * 80 + ["b"] * 20)
    for seed in range(5):
        data = load_data(path, target="t", seed=seed)
        assert (data.y_train.sum(), data.y_val.sum()) == (16, 4)


def test_a_class_of_two_is_in_the_training_part_or_refused(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", ["a"] * 60 + ["b"] * 30 + ["c"] * 2)
    for seed in range(10):
        data = load_data(path, target="t", seed=seed)
        assert set(data.y_train.tolist()) == {0, 1, 2}
    message = refused(path, target="t", val_fraction=0.9)
    assert "class 'c' has no row in the training part" in message
    assert "--val-fraction" in message


# --- the scale ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["breast-cancer", "diabetes", "digits"])
def test_standardisation_is_fitted_on_the_training_part(name: str) -> None:
    data, raw = load_data(name), load_data(name, scale="none")
    mean, std = raw.x_train.mean(0), raw.x_train.std(0, correction=0)
    constant = raw.x_train.amin(0) == raw.x_train.amax(0)
    std[constant] = 1
    torch.testing.assert_close(data.x_train, (raw.x_train - mean) / std, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(data.x_val, (raw.x_val - mean) / std, rtol=1e-11, atol=1e-11)
    assert (data.x_train[:, constant] == 0).all()
    names = [f for f, c in zip(data.features, constant.tolist(), strict=True) if c]
    assert ("constant: " + ", ".join(names) in data.note) == bool(names)
    if data.task == "regression":
        assert "target standardised" in data.note
        assert data.y_train.mean().abs() < 1e-12
        torch.testing.assert_close(data.y_train.std(correction=0), torch.tensor(1.0, dtype=torch.float64))


def test_unit_scale(tmp_path: Path) -> None:
    data = load_data("digits", scale="unit")
    raw = load_data("digits", scale="none")
    assert torch.equal(data.x_train, raw.x_train / 16), "one range for all pixels"
    data = load_data("wine", scale="unit")
    assert (data.x_train.amin(0) == 0).all()
    assert (data.x_train.amax(0) == 1).all()
    images = (np.arange(20 * 6) * 2).reshape(20, 2, 3).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(20) % 2)
    raw = load_data(str(tmp_path / "d.npz"), scale="none")
    assert raw.x_train.max() > 200
    data = load_data(str(tmp_path / "d.npz"))
    assert torch.equal(data.x_train, raw.x_train / 255)
    assert torch.equal(data.x_val, raw.x_val / 255)
    assert data.image_shape == (2, 3)
    assert "divided by 255" in data.note
    assert load_data(str(tmp_path / "d.npz"), scale="standard").x_train.mean().abs() < 1e-12


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(x=hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=FINITE), unit=st.booleans())
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_no_finite_numbers_overflow_when_scaled(x: np.ndarray, unit: bool) -> None:
    train, val = x.copy(), x[:1].copy()
    constant = rescale(train, val, "range" if unit else "deviation")
    assert np.isfinite(train).all()
    assert np.array_equal(val, train[:1])
    assert (constant == (x == x[0]).all(axis=0)).all()
    assert (train[:, constant] == 0).all()
    if unit:
        assert (train.min(axis=0) == 0).all()
        assert (train.max(axis=0) == np.where(constant, 0, 1)).all()
    else:
        np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(train.std(axis=0), np.where(constant, 0, 1), atol=1e-6)


def test_a_validation_row_out_of_all_proportion_is_refused(tmp_path: Path) -> None:
    x = np.arange(20.0) * 1e-300
    for row in range(20):  # whichever rows the split takes for validation
        x[row] = 1e300
        np.savez(tmp_path / "d.npz", x=x, y=np.arange(20) % 2)
        try:
            data = load_data(str(tmp_path / "d.npz"))
        except ValueError as error:
            assert "'x0' is too large in a validation row" in str(error)  # noqa: PT017
            break
        assert data.x_val.isfinite().all()
        x[row] = row * 1e-300
    else:
        pytest.fail("no split put the large row into the validation part")


# --- targets for log-loss -----------------------------------------------------------------------------------


def test_one_hot() -> None:
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot(torch.tensor([0]), 2).dtype == torch.float64
    assert one_hot(torch.empty(0, dtype=torch.int64), 3).shape == (0, 3)
    data = load_data("iris")
    assert torch.equal(one_hot(data.y_train, 3).argmax(1), data.y_train)
    for y in (torch.tensor([0.0]), torch.tensor([[0]]), torch.tensor([3]), torch.tensor([-1])):
        with pytest.raises(ValueError, match=r"one_hot: class indices .*; pass "):
            one_hot(y, 3)
