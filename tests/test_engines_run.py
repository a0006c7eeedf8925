"""Engines in a training run: what is chosen, refused, compared and told."""

from __future__ import annotations

import contextlib
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import manualbp as mbp
from compare import GradientMismatch, train
from compare.names import names
from compare.run.engine_steps import EngineSteps
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.steps import Diverged, Mismatch, Step, Steps
from manualbp.engines import auto, build
from manualbp.engines.fused import Fused
from manualbp.engines.products import BFloat16Products, OneDNNProducts, TorchProducts, onednn, products, tensor_float_32
from tests.planted import config, small_data, spoiled

AUTO = sys.modules["manualbp.engines.auto"]  # the function bears the name of its file


@pytest.mark.parametrize("engine", ["fused", "compiled"])
def test_within_the_noise_floor(engine: str, tmp_path: Path) -> None:
    if engine == "compiled":
        pytest.importorskip("numba")
    result = train(config(tmp_path, engine=engine, check="epoch", epochs=2, l2=1e-3, name="run"), data=small_data())
    assert result.verdict == "within the noise floor", result.verdict_text
    assert "at 2 of 8 steps" in result.verdict_text
    assert result.history["manual"]["loss/val"] == pytest.approx(result.history["autograd"]["loss/val"], rel=1e-9)
    kept = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert kept["config"]["engine"] == kept["machine"]["engine"] == engine
    assert kept["config"]["product"] != "auto"
    assert kept["config"]["threads"] == 1


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use --check epoch or --check off"):
        train(config(tmp_path, engine="fused"), data=small_data())
    with pytest.raises(ValueError, match="--matmul tf32 is for --device cuda"):
        train(config(tmp_path, matmul="tf32", check="off", device="cpu"), data=small_data())
    with pytest.raises(ValueError, match="the graph engine needs CUDA"):
        train(config(tmp_path, engine="graph", check="off", device="cpu"), data=small_data())
    own = mbp.Sequential([spoiled(mbp.Linear, lambda p, c, dy, right: right, n_in=5, n_out=1)])
    with pytest.raises(ValueError, match="engines train Linear layers"):
        train(config(tmp_path, engine="fused", check="off"), data=small_data(), net=own)


def test_short_runs_take_the_reference(tmp_path: Path) -> None:
    result = train(config(tmp_path, check="epoch"), data=small_data())
    assert (result.config.engine, result.verdict) == ("reference", "equal bit for bit")


@pytest.mark.parametrize("quantity", ["gradient", "update"])
def test_a_wrong_engine_is_caught(quantity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Fused.step

    def wrong(self: Any, weights: Any, to: Any, x: Any, y: Any, rows: Any, buffers: Any, factors: Any) -> Any:
        if (weights is to) == (quantity == "update"):
            factors = (factors[0] * 1.001, *factors[1:])
        return right(self, weights, to, x, y, rows, buffers, factors)

    monkeypatch.setattr(Fused, "step", wrong)
    with pytest.raises(GradientMismatch, match=f"mismatch at step 0, epoch 1: {quantity} of "):
        train(config(tmp_path, engine="fused", check="epoch", hidden=(4,)), data=small_data())


def test_diverged(tmp_path: Path) -> None:
    options = config(tmp_path, engine="fused", check="off", lr=1e200, activation="relu", epochs=3)
    result = train(options, data=small_data())
    assert result.verdict == "diverged"
    assert "is not finite" in result.verdict_text


def test_auto_says_what_it_took() -> None:
    net, loss = mbp.Sequential([mbp.Linear(5, 4), mbp.Tanh(), mbp.Linear(4, 1)]), mbp.LogLoss()
    choice = auto(net, loss, torch.randn(8, 5).double(), torch.ones(8, 1).double(), 4)
    assert choice.why.startswith(f"{choice.engine.name} {choice.engine.product}: a step takes fused torch ")
    residual = mbp.Residual(mbp.Linear(5, 5))
    assert auto(residual, loss, torch.zeros(2, 5), torch.zeros(2, 5), 1).engine.name == "reference"
    with pytest.raises(ValueError, match="no engine 'fastest'"):
        build("fastest", net, loss, device=torch.device("cpu"), dtype=torch.float64)  # type: ignore[arg-type]


def test_auto_tries_large_networks_out_on_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUTO, "WEIGHTS", 100)
    monkeypatch.setattr(AUTO, "LARGEST", 16)
    net, loss = mbp.Sequential([mbp.Linear(40, 200), mbp.Tanh(), mbp.Linear(200, 3)]), mbp.CrossEntropy()
    choice = auto(net, loss, torch.randn(60, 40), torch.arange(60) % 3, 40)
    assert ": a step of 16 samples and at most 16 units a layer takes fused torch " in choice.why
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    losses = choice.engine.train(params, torch.randn(60, 40), torch.arange(60) % 3, torch.arange(60), 40, lr=0.1, l2=0)
    assert len(losses) == 2


def test_products_agree() -> None:
    g = torch.Generator().manual_seed(0)
    a, W, b, delta = (torch.randn(*s, generator=g) for s in ((9, 7), (5, 7), (5,), (9, 5)))
    ways: list[tuple[Any, float]] = [(TorchProducts(), 1e-6), (BFloat16Products(), 2.0**-6)]
    if onednn(torch.device("cpu"), torch.float32):
        ways.append((OneDNNProducts(), 1e-6))
    for way, tolerance in ways:
        z, da, W2 = torch.empty(9, 5), torch.empty(9, 7), W.clone()
        way.forward(a, W, b, z)
        way.backward(delta, W, da)
        way.accumulate_(W2, delta, a, 0.5, -0.1)
        for got, expected in ((z, a @ W.t() + b), (da, delta @ W), (W2, 0.5 * W - 0.1 * delta.t() @ a)):
            assert float((got - expected).abs().max()) <= tolerance * float(expected.abs().max())
    with pytest.raises(ValueError, match="is not in reach"):
        products("mkl", torch.device("cpu"), torch.float32)


ROUNDED = {"tf32": 2.0**-11, "bf16": 2.0**-8}  # half an ulp of 11 and of 8 bits


def share_of_bound(way: Any, u: float, device: str) -> float:
    """The largest error of three products, as a share of what operands rounded to u explain, (2 u + u^2) |A| |B|."""
    g = torch.Generator().manual_seed(0)
    a, W, delta = (torch.randn(*s, generator=g).to(device) for s in ((64, 300), (50, 300), (64, 50)))
    z, da, W2 = a.new_empty(64, 50), a.new_empty(64, 300), W.clone()
    way.forward(a, W, None, z)
    way.backward(delta, W, da)
    way.accumulate_(W2, delta, a, 0.0, 1.0)
    shares = []
    for got, A, B in ((z, a, W.t()), (da, delta, W), (W2, delta.t(), a)):
        error = (got.double() - A.double() @ B.double()).abs()
        sums = 300 * 2.0**-24  # those of float32 besides
        shares.append(float((error / ((2 * u + u * u + sums) * (A.abs().double() @ B.abs().double()))).max()))
    return max(shares)


def test_bfloat16_is_within_its_bound_and_uses_it() -> None:
    assert 0.02 < share_of_bound(BFloat16Products(), ROUNDED["bf16"], "cpu") < 1
    assert share_of_bound(BFloat16Products(), ROUNDED["tf32"], "cpu") > 0.3  # fewer bits than tf32 has are seen
    assert share_of_bound(TorchProducts(), 2.0**-24, "cpu") < 1


def compared(engine: Fused, matmul: Any, net: mbp.Sequential, loss: mbp.Loss) -> None:
    """One step of an engine, held against autograd and the reference, as at the first step of an epoch."""
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    part = Part(torch.randn(16, 30, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 3)
    steps = Steps(Pair(net, loss, params, lr=0.1, l2=1e-3), names(net, params))
    by_engine = EngineSteps(steps, engine, matmul)
    with contextlib.suppress(Diverged):
        by_engine.take(Step(0, 1, part, checked=True, calibrate=True), part, torch.arange(16), 16, shown=False)
    assert steps.agreement.checked == 1


def test_rounded_operands_are_judged_by_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 8 bits, as on a GPU: right in a run that asked for them, wrong elsewhere; mistakes are still seen."""
    xavier = mbp.Xavier()
    net = mbp.Sequential([mbp.Linear(30, 20, xavier), mbp.Tanh(), mbp.Linear(20, 3, xavier)])
    loss = mbp.CrossEntropy()

    def rounded() -> Fused:
        engine = Fused(net, loss, device=torch.device("cpu"), dtype=torch.float32)
        engine.products = BFloat16Products()
        return engine

    compared(rounded(), "bf16", net, loss)
    with pytest.raises(Mismatch):
        compared(rounded(), "ieee", net, loss)
    with pytest.raises(Mismatch):
        compared(rounded(), "tf32", net, loss)
    right = Fused.step

    def spoiled_by(share: float) -> Any:
        def step(self: Any, weights: Any, to: Any, x: Any, y: Any, rows: Any, buffers: Any, factors: Any) -> Any:
            return right(self, weights, to, x, y, rows, buffers, (factors[0] * share, *factors[1:]))

        return step

    for share in (1.001, 1.5):  # the first is seen by the engine's IEEE products alone
        monkeypatch.setattr(Fused, "step", spoiled_by(share))
        with pytest.raises(Mismatch):
            compared(rounded(), "bf16", net, loss)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("matmul", ["tf32", "bf16"])
def test_precisions_of_cuda_are_within_their_bounds(matmul: Any) -> None:
    _, way = products("auto", torch.device("cuda"), torch.float32, matmul)
    with tensor_float_32(matmul == "tf32"):
        assert share_of_bound(way, ROUNDED[matmul], "cuda") < 1
    assert share_of_bound(TorchProducts(), 2.0**-24, "cuda") < 1  # off again outside
