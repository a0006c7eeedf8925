"""Every built-in data set, update, activation, dtype, cost and L2: the two runs are the same bit for bit.

Few samples and epochs: the arithmetic of a step is the same at any number of them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path

import pytest
import torch

from compare.run.config import TrainConfig
from compare.run.data import BUILT_IN, Data, load_data
from compare.run.train import train

ROWS = 11  # of the training part; 3 batches of 4, of which the last one is smaller
LOSSES = {
    "binary": ("log-loss", "cross-entropy", "squared-error"),
    "classes": ("log-loss", "cross-entropy", "squared-error"),
    "regression": ("squared-error",),
}
EXACT = ("sigmoid", "tanh", "relu", "leaky-relu")


@functools.cache
def few(name: str) -> Data:
    data = load_data(name)
    return dataclasses.replace(
        data, x_train=data.x_train[:ROWS], y_train=data.y_train[:ROWS], x_val=data.x_val[:5], y_val=data.y_val[:5]
    )


def cases() -> list[tuple[str, str]]:
    tasks = dict.fromkeys(BUILT_IN, "classes")
    tasks |= {"breast-cancer": "binary", "xor": "binary", "figure-1": "binary", "diabetes": "regression"}
    return [(name, loss) for name, task in tasks.items() for loss in LOSSES[task]]


def short(folder: Path, **options: object) -> TrainConfig:
    return TrainConfig(runs=str(folder), threads=1, checkpoint_every="off", **options)  # type: ignore[arg-type]


COMBINATIONS = list(itertools.product(EXACT, ("float32", "float64"), (0.0, 1e-3)))


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("update", ["batch", "stochastic", "mini-batch"])
@pytest.mark.parametrize(("name", "loss"), cases())
def test_equal_bit_for_bit(name: str, loss: str, update: str, every: int, tmp_path: Path) -> None:
    """All 912; without the slow tests, one activation after the other, with a dtype and a penalty that go round."""
    data = few(name)
    first = cases().index((name, loss)) + len(update)
    for activation, dtype, l2 in COMBINATIONS[first % every :: every + 1 if every > 1 else 1]:
        config = short(
            tmp_path,
            data=name,
            loss=loss,
            update=update,
            batch_size=4 if update == "mini-batch" else None,
            activation=activation,
            dtype=dtype,
            l2=l2,
            hidden=(7, 5),
            epochs=3 if update == "batch" else 1,
            lr=0.3,
        )
        result = train(config, data=data)
        assert result.verdict == "equal bit for bit", (activation, dtype, l2, result.verdict_text)
        assert result.exit_status == 0
        assert set(result.history["gap"]["gap/ulp worst so far"]) == {0.0}
        ours = dict(zip(result.twin_params, _flat(result.params), strict=True))
        assert all(torch.equal(ours[path], theirs) for path, theirs in result.twin_params.items())


def _flat(params: tuple[dict[str, torch.Tensor], ...]) -> list[torch.Tensor]:
    return [tensor for layer in params for tensor in layer.values()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["silu", "softplus", "gelu", "elu"])
@pytest.mark.parametrize(
    ("name", "loss"), [("breast-cancer", "log-loss"), ("iris", "cross-entropy"), ("diabetes", "squared-error")]
)
def test_within_the_noise_floor(name: str, loss: str, activation: str, dtype: str, tmp_path: Path) -> None:
    config = short(
        tmp_path, data=name, loss=loss, activation=activation, dtype=dtype, hidden=(7, 5), lr=0.1, l2=1e-3, epochs=4
    )
    result = train(config, data=few(name))
    assert result.verdict in ("within the noise floor", "equal bit for bit"), result.verdict_text
    if activation in ("silu", "gelu"):
        assert result.verdict == "within the noise floor"
    limit = 1e-4 if dtype == "float32" else 1e-13
    assert result.history["gap"]["gap/relative worst so far"][-1] < limit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", EXACT)
def test_fused_cross_entropy(activation: str, dtype: str, tmp_path: Path) -> None:
    config = short(tmp_path, data="digits", activation=activation, dtype=dtype, twin_loss="stock", epochs=4, lr=0.1)
    result = train(config, data=few("digits"))
    assert result.verdict == "within the noise floor", result.verdict_text


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_whole_run_is_equal_bit_for_bit(dtype: str, threads: int, tmp_path: Path) -> None:
    config = TrainConfig(runs=str(tmp_path), threads=threads, dtype=dtype, epochs=5, l2=1e-3)  # type: ignore[arg-type]
    result = train(config)
    assert result.verdict == "equal bit for bit"
    assert result.steps == 5 * 15
    assert result.history["manual"]["accuracy/val"][-1] >= 0.95
