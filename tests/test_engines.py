"""Every engine against `reference`, by the check's own noise floor: gradients, and weights after 1, 2 and 100 steps.

One table: all activations and costs, odd sizes, batch 1, a last smaller batch, both dtypes, L2 on and off, with and
without biases. `graph` runs its steps uncaptured where there is no CUDA.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import manualbp as mbp
from compare.check.constants import PROBES
from compare.check.noise import Jitter, Measured, measure
from compare.check.verdict import match
from compare.twin import nested
from manualbp.engines import Engine, stages
from manualbp.engines import fused as fused_file
from manualbp.engines.fused import Fused
from manualbp.engines.graph import Graph
from manualbp.engines.reference import Reference
from manualbp.params import named

pytest.importorskip("numba", reason="the compiled engine needs the extra fast")
from manualbp.engines.compiled import layout as layout_file
from manualbp.engines.compiled.blas import addresses
from manualbp.engines.compiled.engine import Compiled

CPU = torch.device("cpu")
ROWS, INPUTS, OUTPUTS = 23, 7, 3
ACTIVATIONS = (
    mbp.Identity(), mbp.Sigmoid(), mbp.Tanh(), mbp.ReLU(), mbp.LeakyReLU(0.2), mbp.ELU(1.3), mbp.SiLU(), mbp.Softplus(),
    mbp.GELU(),
)  # fmt: skip
LOSSES = (mbp.LogLoss(), mbp.CrossEntropy(), mbp.SquaredError())
ENGINES: dict[str, Callable[..., Engine]] = {
    "fused": lambda net, loss, dtype: Fused(net, loss, device=CPU, dtype=dtype),
    "compiled": lambda net, loss, dtype: Compiled(net, loss),
    "compiled, BLAS alone": lambda net, loss, dtype: Called(net, loss, "openblas-1"),
    "compiled, two threads, loops": lambda net, loss, dtype: Together(Compiled(net, loss, product="openblas")),
    "compiled, two threads, BLAS": lambda net, loss, dtype: Together(Called(net, loss, "openblas")),
    "graph, not captured": lambda net, loss, dtype: Graph(net, loss, device=CPU, dtype=dtype),
}


class Called(Compiled):
    """Every product by BLAS, however small."""

    def __init__(self, net: mbp.Layer, loss: mbp.Loss, product: str) -> None:
        super().__init__(net, loss, product=product)
        self.loops = 0


class Together:
    """Two threads, whatever this process has."""

    name, product = "compiled", "openblas"

    def __init__(self, engine: Compiled) -> None:
        self.engine = engine

    def train(
        self, params: mbp.Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float
    ) -> Tensor:
        with threads(2):
            return self.engine.train(params, x, y, order, size, lr=lr, l2=l2)

    def gradients(self, params: mbp.Params, x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, mbp.Grads]:
        with threads(2):
            return self.engine.gradients(params, x, y, l2=l2)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def network(activation: mbp.Layer) -> mbp.Sequential:
    xavier = mbp.Xavier()
    return mbp.Sequential(
        [mbp.Linear(INPUTS, 13, xavier), activation, mbp.Linear(13, 5, xavier, bias=False), mbp.Linear(5, OUTPUTS)]
    )


def wide(activation: mbp.Layer) -> mbp.Sequential:
    """Two hidden layers, the last of them wider than the inputs."""
    xavier = mbp.Xavier()
    return mbp.Sequential(
        [mbp.Linear(INPUTS, 13, xavier), activation, mbp.Linear(13, 11, xavier), activation, mbp.Linear(11, OUTPUTS)]
    )


def batch(loss: mbp.Loss, dtype: torch.dtype, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(rows, INPUTS, generator=g, dtype=torch.float64).to(dtype)
    if isinstance(loss, mbp.CrossEntropy):
        return x, torch.randint(0, OUTPUTS, (rows,), generator=g)
    return x, torch.rand(rows, OUTPUTS, generator=g, dtype=torch.float64).to(dtype)


def start(net: mbp.Sequential, dtype: torch.dtype) -> mbp.Params:
    return net.init(torch.Generator().manual_seed(1), dtype=dtype, device="cpu")


def order(steps: int, size: int) -> Tensor:
    """Rows for so many steps, of which the last one is smaller where it can be."""
    count = steps * size - (size > 1 and steps > 1)
    return torch.randint(0, ROWS, (count,), generator=torch.Generator().manual_seed(3))


def trained(
    engine: Engine, params: mbp.Params, x: Tensor, y: Tensor, steps: int, size: int, l2: float
) -> dict[str, Tensor]:
    losses = engine.train(params, x, y, order(steps, size), size, lr=0.05, l2=l2)
    return dict(named(params)) | {"losses": losses}


def floor_of(
    net: mbp.Sequential, loss: mbp.Loss, dtype: torch.dtype, run: Callable[..., dict[str, Tensor]], steps: int = 1
) -> Measured:
    """What rounding alone can do. Over many steps it adds up, and takes more runs to be seen."""
    x, y = batch(loss, dtype)
    like = start(net, dtype)
    values = dict(named(like))

    def noisy(jitter: Jitter) -> dict[str, Tensor]:
        moved = nested(like, {path: jitter(tensor).clone() for path, tensor in values.items()})
        return run(Reference(net, loss), moved, jitter(x), jitter(y))

    return measure(noisy, probes=PROBES if steps < 100 else 24)


def same(ours: dict[str, Tensor], measured: Measured, what: str) -> None:
    assert ours.keys() == measured.values.keys()
    for path, expected in measured.values.items():
        seen = match((ours[path],), expected, measured.floors[path])
        assert seen.ok, f"{what}: {path} is {float(seen.excess.max()):.2g} allowances off"
        assert seen.decided, f"{what}: {path} could not be told from rounding"


def gradients(engine: Engine, params: mbp.Params, x: Tensor, y: Tensor, rows: int, l2: float) -> dict[str, Tensor]:
    J, grads = engine.gradients(params, x[:rows], y[:rows], l2=l2)
    return dict(named(grads)) | {"J": J}


def compare_all(activation: mbp.Layer, loss: mbp.Loss, dtype: torch.dtype, size: int, l2: float, steps: int) -> None:
    """All engines after so many steps; the gradients, for 0 steps."""
    net = network(activation)
    x, y = batch(loss, dtype)
    run: Callable[..., dict[str, Tensor]] = functools.partial(trained, steps=steps, size=size, l2=l2)
    if not steps:
        run = functools.partial(gradients, rows=size, l2=l2)
    measured = floor_of(net, loss, dtype, run, steps)
    for name, build in ENGINES.items():
        same(run(build(net, loss, dtype), start(net, dtype), x, y), measured, f"{name}, batch {size}, l2 {l2}")


both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
all_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
all_activations = pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda layer: type(layer).__name__)


@both_dtypes
@all_losses
@all_activations
def test_gradients_and_two_steps(activation: mbp.Layer, loss: mbp.Loss, dtype: torch.dtype) -> None:
    compare_all(activation, loss, dtype, size=9, l2=1e-2, steps=0)
    compare_all(activation, loss, dtype, size=1, l2=1e-2, steps=2)


@pytest.mark.slow
@pytest.mark.parametrize("l2", [0.0, 1e-2])
@pytest.mark.parametrize("size", [1, 9])
@both_dtypes
@all_losses
@all_activations
def test_all(activation: mbp.Layer, loss: mbp.Loss, dtype: torch.dtype, size: int, l2: float) -> None:
    for steps in (0, 1, 2):
        compare_all(activation, loss, dtype, size, l2, steps)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 9])
@all_losses
@all_activations
def test_a_hundred_steps(activation: mbp.Layer, loss: mbp.Loss, size: int) -> None:
    compare_all(activation, loss, torch.float64, size, 1e-2, steps=100)


def test_a_wrong_update_is_seen() -> None:
    """The table can fail: an engine whose L2 is one percent off."""
    net, dtype, loss = network(mbp.Tanh()), torch.float64, mbp.LogLoss()
    measured = floor_of(net, loss, dtype, functools.partial(trained, steps=1, size=9, l2=1e-2))
    x, y = batch(loss, dtype)
    ours = trained(Compiled(net, loss), start(net, dtype), x, y, steps=1, size=9, l2=1.01e-2)
    with pytest.raises(AssertionError, match=r"0\.W is"):
        same(ours, measured, "compiled")


@both_dtypes
@pytest.mark.parametrize("activation", [mbp.Sigmoid(), mbp.SiLU()], ids=lambda layer: type(layer).__name__)
def test_large_networks_save_room(activation: mbp.Layer, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas take the place of activations block by block, x stands where a later a will, more samples than FEW."""
    for module in (fused_file, layout_file):
        for name, value in (("BLOCK", 4), ("BLOCK_VALUES", 1), ("LARGE", 1)):
            monkeypatch.setattr(module, name, value)
    net, loss, size = wide(activation), mbp.CrossEntropy(), 40
    x, y = batch(loss, dtype, rows=ROWS)
    rows = order(2, size)
    for run in (
        lambda engine, params, x, y: dict(named(engine.gradients(params, x[rows], y[rows], l2=1e-2)[1])),
        functools.partial(trained, steps=2, size=size, l2=1e-2),
    ):
        measured = floor_of(net, loss, dtype, run)
        for name, build in ENGINES.items():
            same(run(build(net, loss, dtype), start(net, dtype), x, y), measured, name)
    for kept in (
        Fused(net, loss, device=CPU, dtype=dtype).buffers(x, size),
        layout_file.Layout(stages(net, loss), loss, size, dtype),
    ):
        assert kept.again
        assert kept.block < 11


def test_weights_that_do_not_lie_row_by_row() -> None:
    net, loss = wide(mbp.Tanh()), mbp.SquaredError()
    x, y = batch(loss, torch.float64)
    expected = trained(Compiled(net, loss), start(net, torch.float64), x, y, steps=2, size=9, l2=1e-2)
    params = start(net, torch.float64)
    for own in params:
        if own:
            own["W"] = own["W"].t().contiguous().t()
    found = trained(Compiled(net, loss), params, x, y, steps=2, size=9, l2=1e-2)
    assert all(torch.equal(found[path], expected[path]) for path in expected)


def test_more_rows_than_there_are_and_fewer_than_a_batch() -> None:
    net, loss = wide(mbp.Tanh()), mbp.SquaredError()
    x, y = batch(loss, torch.float64)
    for rows in (torch.arange(60) % ROWS, torch.tensor([3])):
        by_hand, compiled = start(net, torch.float64), start(net, torch.float64)
        Reference(net, loss).train(by_hand, x, y, rows, 40, lr=0.05, l2=1e-2)
        Compiled(net, loss).train(compiled, x, y, rows, 40, lr=0.05, l2=1e-2)
        for (path, expected), (_, found) in zip(named(by_hand), named(compiled), strict=True):
            assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14), path
    with pytest.raises(ValueError, match="rows from 0 to 22, got 0 to 23"):
        Compiled(net, loss).train(by_hand, x, y, torch.arange(24), 4, lr=0.05, l2=0.0)
    with pytest.raises(ValueError, match="at least one sample"):
        Compiled(net, loss).train(by_hand, x, y, torch.arange(4), 0, lr=0.05, l2=0.0)


@pytest.mark.parametrize("product", ["openblas", "mkl", "loops"])
@pytest.mark.parametrize("size", [1, 9])
def test_where_calls_end_changes_no_bit(size: int, product: str) -> None:
    """On two threads too, each of which has its own share of the units, whoever comes first."""
    net, loss = wide(mbp.Sigmoid()), mbp.CrossEntropy()
    x, y = batch(loss, torch.float32)
    rows = torch.randint(0, ROWS, (12 * size,), generator=torch.Generator().manual_seed(3))

    def run(ends: tuple[int, ...]) -> dict[str, Tensor]:
        engine = Called(net, loss, product) if size > 1 and product in addresses(np.dtype(np.float32)) else None
        engine = engine or Compiled(net, loss, product="loops")
        params, at = start(net, torch.float32), 0
        with threads(2):
            for end in ends:
                engine.train(params, x, y, rows[at * size : end * size], size, lr=0.05, l2=1e-2)
                at = end
        return dict(named(params))

    whole = run((12,))
    for ends in ((1, 12), (5, 6, 12), tuple(range(1, 13))):
        cut = run(ends)
        assert all(torch.equal(cut[path], whole[path]) for path in whole)


@pytest.mark.slow
@pytest.mark.parametrize("product", ["loops", "BLAS"])
@pytest.mark.parametrize("make", [network, wide])
def test_a_thread_that_lags_behind_changes_no_bit(make: Callable[..., mbp.Sequential], product: str) -> None:
    """A smaller last batch has fewer columns, in which each thread's share begins elsewhere. Others take the CPUs."""
    net, loss, dtype = make(mbp.Tanh()), mbp.SquaredError(), torch.float64
    x, y = batch(loss, dtype)
    engine = ENGINES[f"compiled, two threads, {product}"](net, loss, dtype)

    def weights() -> Tensor:
        params = start(net, dtype)
        engine.train(params, x, y, torch.arange(17), 9, lr=0.05, l2=0.01)
        return torch.cat([tensor.reshape(-1) for _, tensor in named(params)])

    first = weights()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        assert all(torch.equal(weights(), first) for _ in range(1500))
    finally:
        for process in busy:
            process.kill()
            process.wait()
