"""A training run catches one planted mistake in any layer, cost or penalty at its first step, and names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import manualbp as mbp
from compare import GradientMismatch, replay, train
from compare.run.config import TrainConfig
from tests.planted import (
    ACTIVATION_MISTAKES,
    LINEAR_MISTAKES,
    LOSS_MISTAKES,
    config,
    small_data,
    spoiled,
    spoiled_loss,
)
from tests.spread import spread

XAVIER = mbp.Xavier()


def caught(config: TrainConfig, **arguments: Any) -> GradientMismatch:
    with pytest.raises(GradientMismatch) as info:
        train(config, **arguments)
    (folder,) = Path(config.runs).iterdir()
    assert {path.name for path in (folder / "mismatch").iterdir()} == {
        "tensors.safetensors",
        "mismatch.json",
        "report.txt",
    }
    assert (folder / "metrics.jsonl").read_text().count("\n") == 1  # epoch 0 is logged
    return info.value


def first_line(error: GradientMismatch) -> str:
    return str(error).splitlines()[0]


@pytest.mark.parametrize(
    ("name", "dtype"),
    spread([*((name, "float64") for name in ACTIVATION_MISTAKES), ("tanh off by one percent", "float32")], 4),
)
def test_activation(name: str, dtype: str, tmp_path: Path) -> None:
    kind, mistake = ACTIVATION_MISTAKES[name]
    wrong = spoiled(kind, mistake)
    net = mbp.Sequential([mbp.Linear(5, 7, XAVIER), kind(), mbp.Linear(7, 6, XAVIER), wrong, mbp.Linear(6, 1)])
    error = caught(config(tmp_path, dtype=dtype), net=net, data=small_data())
    # the delta of z3 is the first one that the activation of layer 3 computes
    assert first_line(error).startswith("mismatch at step 0, epoch 1: delta of z3, layer 3 is wrong")
    verdicts = {row.name: row.verdict for row in error.report.rows}
    assert verdicts["z4"] == "right"
    assert verdicts["W2"] == "inherited"


@pytest.mark.parametrize("given", [False, True], ids=["own forward", "given twin"])
@pytest.mark.parametrize("name", spread(LINEAR_MISTAKES, 3))
def test_linear(name: str, given: bool, tmp_path: Path) -> None:
    quantity, mistake = LINEAR_MISTAKES[name]
    first = spoiled(mbp.Linear, mistake, n_in=5, n_out=7, initializer=XAVIER)
    net = mbp.Sequential([first, mbp.Tanh(), mbp.Linear(7, 1, XAVIER)])
    twin = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)) if given else None
    error = caught(config(tmp_path), net=net, twin=twin, data=small_data())
    assert first_line(error).startswith(f"mismatch at step 0, epoch 1: gradient of {quantity}, layer 2")


def test_linear_that_passes_a_wrong_delta_on(tmp_path: Path) -> None:
    last = spoiled(
        mbp.Linear, lambda p, c, dz, right: (dz.abs() @ p["W"], right[1]), n_in=7, n_out=1, initializer=XAVIER
    )
    net = mbp.Sequential([mbp.Linear(5, 7, XAVIER), mbp.Sigmoid(), last])
    error = caught(config(tmp_path), net=net, data=small_data())
    assert first_line(error).startswith("mismatch at step 0, epoch 1: delta of a2, layer 2 is wrong")


@pytest.mark.parametrize("name", spread(LOSS_MISTAKES, 2))
def test_loss(name: str, tmp_path: Path) -> None:
    kind, task, mistake = LOSS_MISTAKES[name]
    error = caught(config(tmp_path, hidden=(4,)), loss=spoiled_loss(kind, mistake), data=small_data(task))
    assert first_line(error).startswith("mismatch at step 0, epoch 1: delta of z3, layer 3 is wrong")


def decay(change: Callable[[mbp.Layer, mbp.Grads, mbp.Params, float], None]) -> Callable[..., None]:
    return torch.no_grad()(change)


def _halved(net: mbp.Layer, grads: mbp.Grads, params: mbp.Params, l2: float) -> None:
    for path in net.weights:
        mbp.at(grads, path).add_(mbp.at(params, path) * (l2 / 2))


def _negative(net: mbp.Layer, grads: mbp.Grads, params: mbp.Params, l2: float) -> None:
    for path in net.weights:
        mbp.at(grads, path).sub_(mbp.at(params, path) * l2)


def _of_biases_too(net: mbp.Layer, grads: mbp.Grads, params: mbp.Params, l2: float) -> None:
    for path, tensor in mbp.named(params):
        mbp.at(grads, path).add_(tensor * l2)


def _of_the_last_layer_alone(net: mbp.Layer, grads: mbp.Grads, params: mbp.Params, l2: float) -> None:
    path = net.weights[-1]
    mbp.at(grads, path).add_(mbp.at(params, path) * l2)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        (_halved, "gradient of W3, layer 3, in its L2 part"),
        pytest.param(_negative, "gradient of W3, layer 3, in its L2 part", marks=pytest.mark.slow),
        (_of_biases_too, "gradient of b3, layer 3, in its L2 part"),
        pytest.param(_of_the_last_layer_alone, "gradient of W2, layer 2, in its L2 part", marks=pytest.mark.slow),
        (lambda net, grads, params, l2: None, "gradient of W3, layer 3, in its L2 part"),
    ],
    ids=["halved", "negative", "biases too", "last layer alone", "forgotten"],
)
def test_l2(mistake: Callable[..., None], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbp.l2, "add_gradient_", decay(mistake))
    error = caught(config(tmp_path, l2=0.01, hidden=(4,)), data=small_data())
    assert first_line(error).startswith(f"mismatch at step 0, epoch 1: {named} is wrong")


@pytest.mark.parametrize("activation", ["tanh", "gelu"])  # equal bit for bit, and not
@pytest.mark.parametrize(
    "mistake",
    [lambda p, g, lr: 2 * lr, lambda p, g, lr: -lr, lambda p, g, lr: lr * (1 + 1e-9)],
    ids="2x - 1e-9".split(),
)
def test_update(activation: str, mistake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = mbp.sgd_step_
    monkeypatch.setattr(mbp, "sgd_step_", lambda p, g, lr: right(p, g, mistake(p, g, lr)))
    error = caught(config(tmp_path, activation=activation, hidden=(4,)), data=small_data())
    assert first_line(error).startswith("mismatch at step 0, epoch 1: update of ")
    assert "is not W - lr dJ/dW" in first_line(error)


@pytest.mark.parametrize("check", ["every", "epoch", 7])
def test_mistake_that_begins_later(check: Any, tmp_path: Path) -> None:
    """From step 20 on one layer is one percent off; the step named is the first one compared from there on."""
    calls = {"n": 0}

    def later(params: Any, cache: Any, dy: Any, right: Any) -> Any:
        calls["n"] += len(dy) == 1  # a step; the run also looks at larger batches
        return (right[0] * 1.01, {}) if calls["n"] > 20 else right

    net = mbp.Sequential([mbp.Linear(5, 7, XAVIER), spoiled(mbp.Sigmoid, later), mbp.Linear(7, 1, XAVIER)])
    options = config(tmp_path, epochs=9, update="stochastic", batch_size=None, check=check)
    with pytest.raises(GradientMismatch) as info:
        train(options, net=net, data=small_data())
    assert f"step {({'every': 20, 'epoch': 30, 7: 21})[check]}, " in str(info.value).splitlines()[0]


def test_replay_reproduces_it(tmp_path: Path) -> None:
    kind, mistake = ACTIVATION_MISTAKES["sigmoid without its (1 - a)"]
    net = mbp.Sequential([mbp.Linear(5, 7, XAVIER), spoiled(kind, mistake), mbp.Linear(7, 1, XAVIER)])
    caught(config(tmp_path, name="wrong"), net=net, data=small_data())
    with pytest.raises(ValueError, match="a net of your own"):
        replay("wrong", runs=tmp_path)
    again = replay("wrong", runs=tmp_path, net=net)
    assert again.exit_status == 1
    assert "delta of z2, layer 2 is wrong" in str(again)
    mended = mbp.Sequential([mbp.Linear(5, 7), mbp.Sigmoid(), mbp.Linear(7, 1)])
    assert replay("wrong", runs=tmp_path, net=mended).exit_status == 0


def test_replay_of_a_built_in_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(mbp.l2, "add_gradient_", decay(_halved))
        caught(config(tmp_path, name="wrong", l2=0.01, hidden=(4,)), data=small_data())
        assert replay("wrong", runs=tmp_path).exit_status == 1
    assert replay("wrong", runs=tmp_path).exit_status == 0


def test_replay_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no runs there"):
        replay("none", runs=tmp_path)
    train(config(tmp_path, name="right"), data=small_data())
    with pytest.raises(ValueError, match="no run 'none' there"):
        replay("none", runs=tmp_path)
    with pytest.raises(ValueError, match="holds no mismatch"):
        replay("right", runs=tmp_path)


@pytest.mark.parametrize("damage", ["json", "tensors", "parameter"])
def test_replay_of_a_damaged_bundle(damage: str, tmp_path: Path) -> None:
    wrong = spoiled_loss(*[LOSS_MISTAKES["log-loss without 1/m"][k] for k in (0, 2)])
    caught(config(tmp_path, name="wrong", hidden=(4,)), loss=wrong, data=small_data())
    bundle = tmp_path / "wrong" / "mismatch"
    if damage == "json":
        (bundle / "mismatch.json").write_text('{"step": -1}')
    elif damage == "tensors":
        whole = (bundle / "tensors.safetensors").read_bytes()
        (bundle / "tensors.safetensors").write_bytes(whole[: len(whole) // 2])
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(bundle / "tensors.safetensors")
        tensors["parameter 0.W"] = torch.zeros(3, 3)
        save_file(tensors, bundle / "tensors.safetensors")
    with pytest.raises(ValueError, match=str(bundle)) as info:
        replay("wrong", runs=tmp_path, loss=wrong)
    assert "\n" not in str(info.value)
