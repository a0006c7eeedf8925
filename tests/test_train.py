"""The training run: both histories, the verdict, what is logged, how it ends."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import compare.run.loop
import manualbp as mbp
import torch_ref
from compare import GradientMismatch, TrainConfig, TrainResult, train
from compare.check.verdict import Match
from compare.names import names
from compare.run.history import best_epoch, overfitting_epoch
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.record import read_metrics
from compare.run.steps import Diverged, Mismatch, Step, Steps
from tests.planted import config, small_data, spoiled

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU is in reach")


def run(folder: Path, task: str = "binary", **options: Any) -> TrainResult:
    return train(config(folder, **options), data=small_data(task))


# --- what a run returns and logs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_twins_update_is_that_of_torchs_optimiser(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(5, 3, dtype=dtype) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.3)
    for _ in range(3):
        x = torch.randn(4, 5, dtype=dtype)
        for module in (ours, theirs):
            torch_ref.backward(module, module(x).square().sum())
        torch_ref.sgd_step_(ours, 0.3)
        optimiser.step()
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("task", ["binary", "classes", "regression"])
def test_both_histories(task: str, tmp_path: Path) -> None:
    result = run(tmp_path, task, epochs=4, l2=0.01)
    manual, autograd, gap = (result.history[name] for name in ("manual", "autograd", "gap"))
    assert manual.keys() == autograd.keys()
    assert {"loss/train", "loss/val", "cost/train", "gradient norm/layer 2", "gradient norm/layer 3"} <= manual.keys()
    assert ("accuracy/val" in manual) == (task != "regression")
    assert result.epochs == [0, 1, 2, 3, 4]
    for tag, values in manual.items():
        assert len(values) == (4 if tag.startswith(("gradient norm", "update to weight")) else 5), tag
        assert values == pytest.approx(autograd[tag], rel=1e-12), tag
    assert manual["cost/train"][0] > manual["loss/train"][0]
    assert manual["loss/train"][-1] < manual["loss/train"][0]
    assert gap["gap/ulp largest"] == [0.0] * 4
    assert result.verdict == "equal bit for bit"
    assert result.verdict_text == "equal bit for bit: every gradient at all 16 steps, 0 ulp apart"
    assert (result.exit_status, result.steps, result.report) == (0, 16, None)


def test_what_is_logged(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=3, name="logged", l2=0.01)
    assert result.folder == tmp_path / "logged"
    lines = read_metrics(result.folder)
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert [line["manual"]["loss/val"] for line in lines] == result.history["manual"]["loss/val"]
    assert [line["gap"]["gap/ulp worst so far"] for line in lines[1:]] == [0.0, 0.0, 0.0]
    kept = tomllib.loads((result.folder / "config.toml").read_text())["config"]
    assert kept["l2"] == 0.01
    assert kept["hidden"] == [16]
    assert kept["loss"] == "log-loss"
    texts = [json.loads(line) for line in (result.folder / "text.jsonl").read_text().splitlines()]
    assert {text["tag"]: text["text"] for text in texts}["verdict"] == result.verdict_text
    json.dumps(result.to_json())


def test_a_run_again_from_its_own_config(tmp_path: Path) -> None:
    from compare.run.config import from_toml

    first = run(tmp_path, epochs=2, name="first", l2=0.01, activation="tanh")
    again = dataclasses.replace(from_toml(first.folder / "config.toml"), name="again")
    assert train(again, data=small_data()).history == first.history


def test_loss_is_that_of_the_whole_part(tmp_path: Path) -> None:
    data = small_data()
    result = run(tmp_path, epochs=2, hidden=(), l2=0.1)
    W, b = result.params[0]["W"], result.params[0]["b"]
    z = data.x_val @ W.t() + b
    expected = nn.functional.binary_cross_entropy_with_logits(z, data.y_val)
    assert result.history["manual"]["loss/val"][-1] == pytest.approx(float(expected), rel=1e-12)
    accuracy = float(((z > 0) == (data.y_val > 0.5)).double().mean())
    assert result.history["manual"]["accuracy/val"][-1] == accuracy


def test_evaluation_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path, epochs=2).history
    monkeypatch.setattr("compare.run.evaluate.ROWS", 7)
    chunks = run(tmp_path, epochs=2).history
    assert chunks["manual"]["loss/train"] == pytest.approx(whole["manual"]["loss/train"], rel=1e-13)
    assert chunks["manual"]["accuracy/train"] == whole["manual"]["accuracy/train"]


def test_log_every(tmp_path: Path) -> None:
    assert run(tmp_path, epochs=7, log_every=3).epochs == [0, 3, 6, 7]


def test_no_epochs(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=0)
    assert (result.verdict, result.steps, result.epochs, result.best_epoch) == ("not checked", 0, [0], 0)


def test_callback(tmp_path: Path) -> None:
    seen: list[str] = []
    train(config(tmp_path, epochs=2), data=small_data(), callback=lambda report: seen.append(str(report)))
    assert len(seen) == 3
    assert seen[1].startswith("epoch 1/2  loss ")


def test_the_same_seed_is_the_same_run(tmp_path: Path) -> None:
    first, again, other = (run(tmp_path, epochs=2, seed=seed).history for seed in (1, 1, 2))
    assert first == again
    assert first["manual"]["loss/train"] != other["manual"]["loss/train"]


def test_global_state_is_left_alone(tmp_path: Path) -> None:
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cuda.matmul.allow_tf32)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    run(tmp_path, threads=2, activation="gelu")
    assert torch.equal(torch.rand(2), expected)
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cuda.matmul.allow_tf32) == before


# --- which steps are compared --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "text"),
    [("every", "at all 12 steps"), ("epoch", "at 3 of 12 steps"), (5, "at 3 of 12 steps"), ("off", "not checked")],
)
def test_check(check: Any, text: str, tmp_path: Path) -> None:
    result = run(tmp_path, epochs=3, check=check)
    assert text in result.verdict_text
    assert (result.verdict == "not checked") == (check == "off")
    assert bool(result.history["gap"]) == (check != "off")


@pytest.mark.parametrize("check", ["every", "epoch", 3])
def test_within_the_noise_floor(check: Any, tmp_path: Path) -> None:
    result = run(tmp_path, activation="gelu", epochs=3, check=check, hidden=(6, 6))
    assert result.verdict == "within the noise floor", result.verdict_text
    assert 0 < result.history["gap"]["gap/relative worst so far"][-1] < 1e-12


def test_one_ulp_is_not_equal_bit_for_bit(tmp_path: Path) -> None:
    calls = {"n": 0}

    def nudged(params: Any, cache: Any, dz: torch.Tensor, right: Any) -> Any:
        calls["n"] += 1
        if calls["n"] < 6:
            return right
        return right[0], right[1] | {"W": torch.nextafter(right[1]["W"], torch.full_like(right[1]["W"], math.inf))}

    net = mbp.Sequential([spoiled(mbp.Linear, nudged, n_in=5, n_out=4), mbp.Tanh(), mbp.Linear(4, 1)])
    result = train(config(tmp_path, epochs=3), net=net, data=small_data())
    assert result.verdict == "within the noise floor"
    assert result.history["gap"]["gap/ulp largest"][0] == 0.0
    assert result.history["gap"]["gap/ulp worst so far"][1:] == [1.0, 1.0]


def test_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = Match(ok=True, decided=False, excess=torch.zeros(1))  # as if rounding were as large as the gradients
    monkeypatch.setattr("compare.run.agreement.match", lambda *args: blind)
    with pytest.raises(GradientMismatch, match="undecided: rounding would explain any gradient of W2"):
        run(tmp_path, activation="gelu")


def test_digits_that_are_lost(tmp_path: Path) -> None:
    """A formula that is right, and computed so that float32 loses most of its digits."""

    def cancelling(params: Any, cache: Any, dz: torch.Tensor, right: Any) -> Any:
        return right[0], right[1] | {"b": ((dz + 1e4) - 1e4).sum(0)}

    net = mbp.Sequential([mbp.Linear(5, 4), mbp.Tanh(), spoiled(mbp.Linear, cancelling, n_in=4, n_out=1)])
    with pytest.raises(GradientMismatch) as info:
        train(config(tmp_path, dtype="float32"), net=net, data=small_data())
    assert "b3" in str(info.value).splitlines()[0]


# --- layers, costs and twins of the user's own ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Swish(mbp.SiLU):
    """A layer that no twin is known for."""


class Stubborn(mbp.Linear):
    """Draws its parameters in float64 whatever it is told."""

    def init(self, generator: torch.Generator, *, dtype: torch.dtype, device: torch.device | str) -> Any:
        return super().init(generator, dtype=torch.float64, device=device)


def net_of(layer: mbp.Layer) -> mbp.Sequential:
    return mbp.Sequential([mbp.Linear(5, 6, mbp.Xavier()), layer, mbp.Linear(6, 1, mbp.Xavier())])


def test_a_layer_of_ones_own(tmp_path: Path) -> None:
    result = train(config(tmp_path, epochs=2), net=net_of(Swish()), data=small_data())
    assert result.verdict in ("within the noise floor", "equal bit for bit")
    assert result.notes == ["a2 of layer 2 (Swish): autograd through its own forward"]
    assert result.notes[0] in result.verdict_text


def test_a_twin_of_ones_own(tmp_path: Path) -> None:
    twin = nn.Sequential(nn.Linear(5, 6), nn.SiLU(), nn.Linear(6, 1))
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    result = train(config(tmp_path, epochs=2), net=net_of(Swish()), twin=twin, data=small_data())
    assert result.verdict == "within the noise floor"
    assert "twin: Sequential, as given" in result.verdict_text
    assert all(torch.equal(before[name], tensor) for name, tensor in twin.state_dict().items())  # a copy was trained


def test_a_wrong_forward_is_seen_with_a_twin(tmp_path: Path) -> None:
    twin = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))
    with pytest.raises(GradientMismatch) as info:
        train(config(tmp_path), net=net_of(mbp.Sigmoid()), twin=twin, data=small_data())
    assert "step 0" in str(info.value)


def test_a_cost_of_ones_own(tmp_path: Path) -> None:
    class Own(mbp.SquaredError):
        """A cost that no twin is known for."""

    result = train(config(tmp_path, epochs=2), loss=Own(), data=small_data("regression"))
    assert result.exit_status == 0
    assert "loss Own: autograd through its own forward" in result.verdict_text


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"hidden": (3,)}, {"net": net_of(mbp.Tanh())}, "net= is given, and hidden"),
        ({}, {"net": mbp.Sequential([mbp.Linear(4, 1)])}, r"Linear\(4, 1\) takes x of shape \(m, 4\)"),
        ({}, {"net": mbp.Sequential([mbp.Linear(5, 2)])}, "LogLoss takes z and y of one shape"),
        ({}, {"net": net_of(mbp.Tanh()), "twin": nn.Linear(5, 1)}, "twin: the module's parameters have shapes"),
        (
            {"dtype": "float32"},
            {"net": mbp.Sequential([Stubborn(5, 1)])},
            "net.init gave parameter 0.W as torch.float64",
        ),
        ({"loss": "cross-entropy"}, {"net": mbp.Sequential([mbp.Linear(5, 1)])}, "1 outputs, small has 2 classes"),
    ],
)
def test_what_does_not_fit(options: Any, arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(config(tmp_path, **options), data=small_data(), **arguments)
    assert not list(tmp_path.iterdir())  # no folder of a run that never was


# --- how a run ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["every", "off"])
def test_divergence(check: Any, tmp_path: Path) -> None:
    options = {"activation": "relu", "init": "kaiming", "lr": 1e4, "epochs": 30, "hidden": (9, 9), "check": check}
    result = run(tmp_path, "regression", **options)
    assert (result.verdict, result.exit_status) == ("diverged", 4)
    assert "diverged at step " in result.verdict_text
    assert ", layer " in result.verdict_text
    assert "lower --lr 10000" in result.verdict_text
    assert len(read_metrics(result.folder)) >= 1
    json.dumps(result.to_json(), allow_nan=False)


def test_divergence_in_the_validation_part(tmp_path: Path) -> None:
    data = small_data("regression")
    data = dataclasses.replace(data, x_val=data.x_val * 1e200)
    result = train(config(tmp_path, activation="identity", lr=0.01), data=data)
    assert (result.verdict, result.exit_status) == ("diverged", 4)
    assert "on the validation part" in result.verdict_text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_where_autograd_is_finite_is_a_mismatch(value: float, tmp_path: Path) -> None:
    def poisoned(params: Any, cache: Any, dz: torch.Tensor, right: Any) -> Any:
        return right[0], right[1] | {"b": right[1]["b"] * value}

    net = mbp.Sequential([mbp.Linear(5, 3), mbp.Tanh(), spoiled(mbp.Linear, poisoned, n_in=3, n_out=1)])
    with pytest.raises(GradientMismatch, match="step 0, epoch 1: gradient of b3, layer 3"):
        train(config(tmp_path), net=net, data=small_data())


@pytest.mark.parametrize("check", ["every", "off"])
@pytest.mark.parametrize("number", [2, 3])
def test_a_parameter_that_nothing_shows(
    number: int, check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bias of -inf below a ReLU: outputs, loss and gradients are finite. Inside an epoch, and at its end."""
    update = Pair.update

    def overflowing(pair: Pair, gradients: Any) -> None:
        update(pair, gradients)
        calls.append(1)
        if len(calls) == number + 1:
            for b in (pair.params[0]["b"], next(p for path, p in pair.twin.parameters.items() if path == "0.b").data):
                b[0] = -math.inf

    calls: list[int] = []
    monkeypatch.setattr(Pair, "update", overflowing)
    result = run(tmp_path, epochs=3, check=check, activation="relu", hidden=(4,))
    assert (result.verdict, result.exit_status) == ("diverged", 4)
    assert "parameter b2, layer 2, after the update before this step, is not finite" in result.verdict_text
    assert f"at step {3}" in result.verdict_text, "four steps an epoch: the next step, or the evaluation after the last"


def test_patience(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=200, patience=4, lr=1.5, hidden=(30,), init="kaiming", activation="relu")
    assert result.best_epoch is not None
    assert result.epochs[-1] == result.best_epoch + 4 < 200


@pytest.mark.parametrize(("signal", "status"), [(KeyboardInterrupt, 130)])
def test_ctrl_c(signal: type[BaseException], status: int, tmp_path: Path) -> None:
    from compare.run.train import execute

    class Watcher:
        def started(self, plan: Any) -> None: ...
        def warned(self, line: str) -> None: ...
        def evaluated(self, report: Any) -> None:
            if report.epoch == 2:
                raise signal

    result = execute(config(tmp_path, epochs=9), Watcher(), data=small_data())
    assert result.exit_status == status
    assert result.verdict_text.startswith("stopped in epoch 2 after 8 steps; until then equal bit for bit")
    assert [line["step"] for line in read_metrics(result.folder)] == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path), data=small_data(), callback=_interrupt)


def _interrupt(report: Any) -> None:
    raise KeyboardInterrupt


def test_incomplete_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compare.run.jsonl import GrowingFile

    def full(self: GrowingFile, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GrowingFile, "append", _from_the_third_epoch(GrowingFile.append, full))
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        result = run(tmp_path, epochs=3)
    assert result.exit_status == 3
    assert result.verdict == "equal bit for bit"


def _from_the_third_epoch(right: Any, wrong: Any) -> Any:
    calls = {"n": 0}

    def append(self: Any, data: bytes) -> None:
        calls["n"] += 1
        return (right if calls["n"] < 12 else wrong)(self, data)

    return append


# --- steps that are looked at only now and then, as on a GPU -------------------------------------------------------


def steps(net: mbp.Layer, read_every: int, lr: float = 0.3) -> tuple[Steps, Iterator[Step]]:
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    pair = Pair(net, mbp.LogLoss(), params, lr=lr, l2=0.01)
    data = small_data()

    def batches() -> Iterator[Step]:
        for number in range(60):
            rows = slice(number % 6 * 5, number % 6 * 5 + 5)
            first = number % 6 == 0
            yield Step(number, number // 6 + 1, Part(data.x_train[rows], data.y_train[rows]), True, first or number < 2)

    return Steps(pair, names(net, params), read_every=read_every), batches()


def take_all(runner: Steps, batches: Iterator[Step]) -> None:
    for step in batches:
        runner.take(step)
    runner.look()


def later_wrong(from_call: int) -> mbp.Layer:
    order: dict[bytes, int] = {}

    def mistake(params: Any, cache: Any, da: torch.Tensor, right: Any) -> Any:
        number = order.setdefault(da.numpy().tobytes(), len(order))  # a step that is done again has its old number
        return (right[0] * 1.001, {}) if number >= from_call else right

    return spoiled(mbp.Sigmoid, mistake)


@pytest.mark.parametrize("layer", [mbp.Sigmoid(), mbp.GELU()], ids=["bit for bit", "noise floor"])
@pytest.mark.parametrize("read_every", [4, 64])
def test_looking_now_and_then_is_the_same_run(layer: mbp.Layer, read_every: int) -> None:
    (each, batches), (seldom, again) = steps(net_of(layer), 1), steps(net_of(layer), read_every)
    for one, other in zip(batches, again, strict=True):
        each.take(one)
        seldom.take(other)
    seldom.look()
    for ours, theirs in zip(mbp.named(each.pair.params), mbp.named(seldom.pair.params), strict=True):
        assert torch.equal(ours[1], theirs[1]), ours[0]
    assert each.agreement.exact == seldom.agreement.exact
    assert each.agreement.checked == seldom.agreement.checked == 60
    assert each.agreement.gap.worst() == seldom.agreement.gap.worst()


@pytest.mark.parametrize("read_every", [1, 4, 64])
@pytest.mark.parametrize("wrong_from", [0, 1, 9, 22, 59])
def test_the_exact_step_is_named(wrong_from: int, read_every: int) -> None:
    runner, batches = steps(net_of(later_wrong(wrong_from)), read_every)
    with pytest.raises(Mismatch) as info:
        take_all(runner, batches)
    assert info.value.step.number == wrong_from
    assert {difference.path for difference in info.value.differences} == {"0.W", "0.b"}


@pytest.mark.parametrize("read_every", [1, 16])
def test_the_exact_step_of_a_divergence(read_every: int) -> None:
    found = []
    for every in (1, read_every):
        runner, batches = steps(net_of(mbp.Identity()), every, lr=1e30)
        with pytest.raises(Diverged) as info:
            take_all(runner, batches)
        found.append((info.value.step.number, info.value.where))
    assert found[0] == found[1]


# --- reading the curves --------------------------------------------------------------------------------------------

losses = st.lists(st.floats(0, 10), min_size=1, max_size=30)


def test_overfitting_by_hand() -> None:
    epochs = list(range(8))
    falling = [8.0, 7, 6, 5, 4, 3, 2, 1]
    assert overfitting_epoch(epochs, falling, [9.0, 5, 4, 5, 6, 7, 8, 9]) == 3
    assert overfitting_epoch(epochs, falling, [9.0, 5, 4, 5, 6, 3, 4, 4]) is None  # a new minimum, and two epochs
    assert overfitting_epoch(epochs, falling, [9.0, 5, 4, 5, 6, 4.5, 4.5, 4.5]) == 3
    assert overfitting_epoch(epochs, [8.0, 7, 6, 5, 5, 5, 5, 5], [9.0, 5, 4, 5, 6, 7, 8, 9]) is None  # not falling
    assert overfitting_epoch(epochs, falling, falling) is None
    assert overfitting_epoch([0, 5, 10, 15, 20], falling[:5], [3.0, 2, 4, 4, 4]) == 10
    assert best_epoch([0, 5, 10], [3.0, 2.0, 2.0]) == 5


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=30))
def test_overfitting_by_its_definition(pairs: list[tuple[float, float]]) -> None:
    training, validation = [a for a, _ in pairs], [b for _, b in pairs]
    epochs = list(range(len(pairs)))
    least = min(validation)
    best = validation.index(least)
    candidates = [
        k
        for k in range(best + 1, len(pairs) - 2)
        if all(validation[i] > least and training[i] < training[i - 1] for i in (k, k + 1, k + 2))
    ]
    assert overfitting_epoch(epochs, training, validation) == (candidates[0] if candidates else None)


# --- on a GPU ------------------------------------------------------------------------------------------------------


@gpu
@needs_gpu
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cuda(dtype: str, activation: str, tmp_path: Path) -> None:
    result = run(tmp_path, device="cuda", dtype=dtype, activation=activation, epochs=3)
    assert result.exit_status == 0, result.verdict_text
    assert all(tensor.is_cuda for _, tensor in mbp.named(result.params))


@gpu
@needs_gpu
def test_cuda_names_the_exact_step(tmp_path: Path) -> None:
    net = net_of(spoiled(mbp.Sigmoid, lambda p, c, da, right: (da * c.a, {})))
    with pytest.raises(GradientMismatch, match="step 0, epoch 1: delta of z2, layer 2"):
        train(config(tmp_path, device="cuda"), net=net, data=small_data())


def test_cuda_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda: no CUDA GPU is in reach"):
        run(tmp_path, device="cuda")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("[enforce] can't allocate memory: 1 PB")]
)
def test_out_of_memory(error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Any, step: Any) -> None:
        raise error

    monkeypatch.setattr(compare.run.loop.Steps, "take", exhausted)
    with pytest.raises(ValueError, match="out of memory on cpu; use a smaller --batch-size"):
        run(tmp_path)


# --- configs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sigmod"}, r"--activation is 'sigmod'; choose one of .* \(did you mean sigmoid\?\)"),
        ({"hidden": (0,)}, "--hidden is 0; it must be whole numbers"),
        ({"batch_size": 0}, "--batch-size is 0; it must be a whole number, at least 1"),
        ({"batch_size": 31}, "the batch size must be from 1 to the 30 training samples, got 31"),
        ({"batch_size": 4, "update": "batch"}, "--batch-size 4 is for --update mini-batch"),
        ({"lr": math.nan}, "--lr is nan; it must be a finite number"),
        ({"lr": -1.0}, "--lr is -1.0"),
        ({"epochs": -1}, "--epochs is -1"),
        ({"epochs": 1.5}, "--epochs is 1.5"),
        ({"check": 0}, "--check is 0; choose every, epoch, off or a number"),
        ({"check": "never"}, "--check is 'never'"),
        ({"check": True}, "--check is True"),
        ({"log_every": 0}, "--log-every is 0"),
        ({"data": 3}, "--data is 3; it must be text"),
        ({"name": "../up"}, "--name must be a plain name"),
        ({"init_std": -0.1}, "--init-std is -0.1"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as info:
        run(tmp_path, **options)
    assert "\n" not in str(info.value)


def test_losses_that_do_not_suit_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--loss log-loss needs classes"):
        run(tmp_path, "regression", loss="log-loss")


def test_data_beyond_the_dtype(tmp_path: Path) -> None:
    data = small_data()
    data = dataclasses.replace(data, x_train=data.x_train * 1e300)
    with pytest.raises(ValueError, match="inputs of the training part hold numbers that are not finite in float32"):
        train(config(tmp_path, dtype="float32"), data=data)


def test_an_existing_run(tmp_path: Path) -> None:
    run(tmp_path, name="twice")
    with pytest.raises(ValueError, match="exists already"):
        run(tmp_path, name="twice")
    assert run(tmp_path, name="twice", overwrite=True).exit_status == 0


def test_defaults() -> None:
    assert TrainConfig().data == "breast-cancer"
    assert TrainConfig() == TrainConfig(hidden=None, batch_size=None)
