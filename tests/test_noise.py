"""Monte Carlo arithmetic: it finds what rounding moves, and nothing else; its known traps are not stumbled into."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compare.check.constants import THRESHOLD
from compare.check.noise import Jitter, deliberate_below, measure, pooled
from compare.check.operations import Plan
from compare.check.parts import PARTS
from compare.check.restore import same_buffers, same_randomness

EPS = torch.finfo(torch.float64).eps


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def floor_of(compute: Callable[..., Tensor], *inputs: Tensor, seed: int = 0) -> Tensor:
    """The floor relative to the RMS of the value."""
    measured = measure(lambda jitter: {"y": compute(*map(jitter, inputs))}, seed=seed)
    value = compute(*inputs)
    assert torch.equal(measured.values["y"], value), "the values are those of the plain run"
    return measured.floors["y"] / value.detach().abs().double().square().mean().sqrt()


# What it finds


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_product_is_uncertain_by_a_few_ulps(dtype: torch.dtype) -> None:
    floor = floor_of(torch.mul, normal(20, 30, dtype=dtype), normal(20, 30, seed=1, dtype=dtype))
    eps = torch.finfo(dtype).eps
    assert bool((floor <= 30 * eps).all())
    assert float(floor.median()) >= eps / 8


def test_cancellation_is_seen() -> None:
    x = normal(50)
    assert float(floor_of(lambda x: (1e6 + x) - 1e6, x).median()) > 1e5 * EPS


def test_cancellation_inside_a_fused_kernel_is_seen() -> None:
    """1 - sigma(36) keeps two digits: a kernel that multiplies by it can promise no more."""
    z = torch.full((8,), 36.0, dtype=torch.float64, requires_grad=True)

    def slope(jitter: Jitter) -> dict[str, Tensor]:
        moved = jitter(z.detach()).requires_grad_()
        return {"y": torch.autograd.grad(torch.sigmoid(moved).sum(), moved)[0]}

    measured = measure(slope)
    assert float((measured.floors["y"] / measured.values["y"]).min()) > 1e-3


@pytest.mark.parametrize("n", [10, 1000, 100_000])
def test_a_long_sum_is_uncertain_by_the_root_of_its_length(n: int) -> None:
    x = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    measured = measure(lambda jitter: {"y": jitter(x).sum()})
    orders = [float(x[torch.randperm(n, generator=torch.Generator().manual_seed(k))].sum()) for k in range(20)]
    spread = max(abs(each - math.fsum(x.tolist())) for each in orders)
    assert spread <= THRESHOLD * float(measured.floors["y"])
    size = float(x.abs().sum()) * EPS
    assert float(measured.floors["y"]) < 10 * size, "no more than the sum of all its terms' ulps"


def test_a_right_gradient_in_another_order_is_within_the_threshold() -> None:
    x, dz = normal(1000, 40), normal(1000, 30, seed=1)
    measured = measure(lambda jitter: {"W": jitter(dz).T @ jitter(x)})
    chunked = sum((dz[k::7].T @ x[k::7] for k in range(7)), torch.zeros(30, 40, dtype=torch.float64))
    assert bool(((chunked - measured.values["W"]).abs() <= THRESHOLD * measured.floors["W"]).all())


def test_one_entry_off_by_1e_11_in_a_million() -> None:
    """The aim: one entry of a 1000 x 1000 gradient, for each of several entries, while the chunked right one passes."""
    m, n = 64, 1000
    x, dz = normal(m, n), normal(m, n, seed=1)
    measured = measure(lambda jitter: {"W": jitter(dz).T @ jitter(x)})
    W, allowance = measured.values["W"], THRESHOLD * measured.floors["W"]
    chunked = sum((dz[k::7].T @ x[k::7] for k in range(7)), torch.zeros(n, n, dtype=torch.float64))
    assert bool(((chunked - W).abs() <= allowance).all())
    size = W.square().mean().sqrt()
    assert bool((1e-11 * size > allowance).all()), "anywhere"


def test_zero_by_luck_is_no_floor() -> None:
    """Three runs leave some entries unmoved; rows and columns lend them a floor."""
    x, dz = normal(50, 80), normal(50, 90, seed=1)
    measured = measure(lambda jitter: {"W": jitter(dz).T @ jitter(x)}, probes=1)
    assert float((measured.floors["W"] / EPS).min()) > 1e-2


def test_pooled() -> None:
    spread = torch.zeros(3, 4, dtype=torch.float64)
    spread[1, 2] = 8.0
    floor = pooled(spread, torch.zeros_like(spread))
    assert float(floor[1, 2]) == 8.0
    assert float(floor[1, 0]) == pytest.approx(0.25 * 8 / 2), "a quarter of the RMS of a row of four"
    assert float(floor[0, 2]) == pytest.approx(0.25 * 8 / math.sqrt(3)), "and of a column of three"
    assert 0 < float(floor[0, 0]) < 1e-300


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    exponent=st.integers(-300, 0) | st.integers(60, 300),  # between them numbers may become whole, and so exact
    seed=st.integers(0, 1000),
)
def test_a_floor_is_positive_finite_and_scales(shape: tuple[int, ...], exponent: int, seed: int) -> None:
    x = normal(*shape, seed=seed)
    scale = 2.0**exponent
    plain = measure(lambda jitter: {"y": jitter(x) * 3}, seed=seed)
    large = x * scale
    scaled = measure(lambda jitter: {"y": jitter(large) * 3}, seed=seed)
    assert plain.floors["y"].shape == x.shape
    assert bool((plain.floors["y"] > 0).all())
    assert bool(scaled.floors["y"].isfinite().all())
    torch.testing.assert_close(scaled.floors["y"], plain.floors["y"] * scale, rtol=1e-12, atol=1e-320)


# Traps

WRITES: dict[str, Callable[[Tensor], Tensor]] = {
    "an entry": lambda x: _written(x, lambda o: o.__setitem__(1, x[0] * 2)),
    "a column, in place": lambda x: _written(x, lambda o: o[:, 0].mul_(2)),
    "a view's view": lambda x: _written(x, lambda o: o.T[1][:2].add_(x[0, 0])),
    "a slice": lambda x: _written(x, lambda o: o[1:].copy_(x[1:] * 3)),
    "a flattened view": lambda x: _written(x, lambda o: o.view(-1).mul_(0.3)),
    "out=": lambda x: torch.mul(x, 0.3, out=torch.empty_like(x)),
    "a mask": lambda x: _written(x, lambda o: o.__setitem__(x > 0, 0.3)),
    "index_add_": lambda x: _written(x, lambda o: o.index_add_(0, torch.tensor([0, 0, 2]), x / 3)),
    "a loop": lambda x: _filled(x),
    "a diagonal": lambda x: _written(x, lambda o: o.diagonal().div_(3)),
    "swapped views": lambda x: _written(x, lambda o: o[0].copy_(o[1] / 3)),
    "an expanded view read": lambda x: x[:1].expand(3, 4) * x / 3,
}


def _written(x: Tensor, write: Callable[[Tensor], object]) -> Tensor:
    o = x / 3
    write(o)
    return o


def _filled(x: Tensor) -> Tensor:
    o = torch.zeros_like(x)
    for i in range(len(x)):
        for j in range(x.shape[1]):
            o[i, j] += x[i, j] / 3
    return o


@pytest.mark.parametrize("kind", WRITES)
def test_aliasing_writes_are_neither_lost_nor_the_floor(kind: str) -> None:
    """A mode that returns `out * (1 + r)` breaks aliasing: writes are lost and the floor becomes the result itself."""
    assert float(floor_of(WRITES[kind], normal(3, 4)).max()) < 50 * EPS


def test_what_a_mode_that_returns_copies_does() -> None:
    """The trap is real: the same floor, from a mode that returns new tensors, hides any mistake."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Copying(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            moved = isinstance(out, Tensor) and out.is_floating_point()
            return out * (1 + 2 * EPS * torch.rand_like(out)) if moved else out

    x = normal(3, 4)
    plain = WRITES["a column, in place"](x)
    with Copying():
        moved = WRITES["a column, in place"](x)
    assert float((moved - plain).abs().max()) > 0.1


def test_a_seeded_dropout_is_the_same_in_every_run() -> None:
    def dropped(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return F.dropout(x, 0.5) / 3

    assert float(floor_of(dropped, normal(20, 5)).max()) < 50 * EPS


def test_unseeded_random_numbers_are_the_same_in_every_run() -> None:
    measured = measure(lambda jitter: {"y": jitter(torch.ones(9)) * torch.rand(9) * np.random.rand() * random.random()})
    assert float((measured.floors["y"] / measured.values["y"].abs().max()).max()) < 1e-5


def test_the_noise_draws_nothing_from_the_global_generators() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    measure(lambda jitter: {"y": jitter(normal(5)) * 2 / 3})
    assert torch.equal(torch.rand(4), expected)


DECISIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "ties of a maximum": lambda x: x * (x == x.amax(1, keepdim=True)),
    "argmax": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "sort": lambda x: x.gather(1, (x / 3).argsort(dim=1, stable=True)) / 3,
    "long": lambda x: (x * 10 / 10).long().double() + x,
    "int of a number": lambda x: x[: int((x / 3 * 3)[0, 0])],
    "comparison": lambda x: torch.where(x / 3 * 3 >= 1, x, -x),
    "a Python branch": lambda x: x if bool((x / 3 * 3)[0, 1] >= 1) else -x,
    "nonzero": lambda x: x[(x / 3 * 3 >= 1).nonzero()[:, 0]] / 3,
    "floor": lambda x: (x * 10 / 10).long() * x,
}


@pytest.mark.parametrize("kind", DECISIONS)
def test_discrete_decisions_are_those_of_the_plain_run(kind: str) -> None:
    x = torch.tensor([[1.0, 1.0, 2.0], [2.0, 2.0, 2.0], [3.0, 1.0, 3.0]], dtype=torch.float64)
    assert float(floor_of(DECISIONS[kind], x).max()) < 100 * EPS


def gradient(compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """By autograd, of an intermediate that noise moves off the kink: x / 3 * 3."""

    def run(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad((compute(leaf / 3 * 3) * normal(*x.shape, seed=9)).sum(), leaf)[0]

    return run


KINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky relu": lambda z: F.leaky_relu(z, 0.1),
    "abs": torch.abs,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "clamp": lambda z: z.clamp(-1, 1),
    "softshrink": lambda z: F.softshrink(z, 1.0),
    "maximum": lambda z: torch.maximum(z, z * z),
}


@pytest.mark.parametrize("kind", KINKS)
def test_a_slope_at_a_kink_does_not_jump(kind: str) -> None:
    """Else every slope there, 30 as well as 1/2, would pass for rounding."""
    x = torch.tensor([[0.0, 1.0, -1.0, 6.0, 0.3]], dtype=torch.float64)
    assert float(floor_of(gradient(KINKS[kind]), x).max()) < 100 * EPS


def test_max_pool_ties() -> None:
    def pooled_gradient(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        y = F.max_pool2d(leaf / 3 * 3, 2)
        return torch.autograd.grad((y * y).sum(), leaf)[0]

    assert float(floor_of(pooled_gradient, torch.ones(1, 1, 4, 4, dtype=torch.float64)).max()) < 100 * EPS


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T,
        lambda x: x.expand(2, 3, 4),
        lambda x: x.unfold(0, 2, 1),
        lambda x: x[::2],
        lambda x: x.flatten(),
        lambda x: x.clone(),
        lambda x: x.detach(),
        lambda x: x.to(torch.float64),
        lambda x: torch.stack([x, x]),
        lambda x: x.gather(0, torch.zeros(1, 4, dtype=torch.long)),
    ],
)
def test_what_is_exact_gets_no_noise(view: Callable[[Tensor], Tensor]) -> None:
    """Whole numbers are exact inputs, and views, copies and selections of them are exact results: two ulps at most."""
    x = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)
    measured = measure(lambda jitter: {"y": view(jitter(x))})
    assert bool((measured.floors["y"] <= measured.values["y"].abs() * EPS * 1.01 + 1e-300).all())


def test_exact_zeros_and_infinities_stay() -> None:
    x = torch.tensor([0.0, float("inf"), float("-inf"), float("nan"), 1.5], dtype=torch.float64)
    measured = measure(lambda jitter: {"y": jitter(x) * 0.7})
    assert measured.values["y"][0] == 0
    assert float(measured.floors["y"][0]) < 1e-15
    assert bool(measured.floors["y"].isfinite()[[0, 4]].all())


def test_a_run_whose_spread_is_its_own_joins_the_floor() -> None:
    """Atomic additions: two plain runs differ, and the floor holds their difference."""
    calls = iter(range(100))
    measured = measure(lambda jitter: {"y": torch.full((3,), 1.0 + 1e-6 * (next(calls) % 2))})
    assert bool((measured.floors["y"] >= 9e-7).all())


def test_lower_precision_is_a_choice_where_it_is_deliberate() -> None:
    def run(deliberate: bool) -> float:
        def compute(jitter: Jitter) -> dict[str, Tensor]:
            x = jitter(normal(10))
            if deliberate:
                with deliberate_below(torch.float64):
                    return {"y": (x.float() * 0.7).double()}
            return {"y": (x.float() * 0.7).double()}

        return float(measure(compute).floors["y"].max())

    assert run(deliberate=True) < 1e-14
    assert run(deliberate=False) > 1e-8


# Parts

SIGNED = normal(6, 5, seed=2)
PART_ARGUMENTS: dict[str, tuple[object, ...]] = {
    "_softmax": (SIGNED, 1, False),
    "_log_softmax": (SIGNED, 0, False),
    "logsumexp": (SIGNED, [1], True),
    "gelu": (SIGNED,),
    "gelu_backward": (SIGNED, SIGNED * 2),
    "silu_backward": (SIGNED, SIGNED * 2),
    "sigmoid_backward": (SIGNED, torch.sigmoid(SIGNED)),
    "tanh_backward": (SIGNED, torch.tanh(SIGNED)),
    "binary_cross_entropy": (torch.sigmoid(SIGNED), torch.sigmoid(SIGNED * 2)),
    "binary_cross_entropy_backward": (SIGNED.sum(), torch.sigmoid(SIGNED), torch.sigmoid(SIGNED * 2)),
    "softplus": (SIGNED, 1, 20),
    "softplus_backward": (SIGNED, SIGNED * 2, 1, 20),
    "hardsigmoid_backward": (SIGNED, SIGNED * 2),
    "threshold_backward": (SIGNED, SIGNED * 2, 0.0),
    "leaky_relu_backward": (SIGNED, SIGNED * 2, 0.1, False),
    "hardtanh_backward": (SIGNED, SIGNED * 2, -1.0, 1.0),
    "softshrink_backward": (SIGNED, SIGNED * 2, 0.5),
    "sgn": (SIGNED.round(),),
    "_softmax_backward_data": (SIGNED, torch.softmax(SIGNED, 1), 1, torch.float64),
    "_log_softmax_backward_data": (SIGNED, torch.log_softmax(SIGNED, 1), 1, torch.float64),
    "native_layer_norm": (SIGNED, [5], SIGNED[0], SIGNED[1], 1e-5),
    "native_layer_norm_backward": (
        SIGNED,
        SIGNED * 2,
        [5],
        (SIGNED * 2).mean(1, keepdim=True),
        torch.rsqrt((SIGNED * 2).var(1, keepdim=True, unbiased=False) + 1e-5),
        SIGNED[0],
        SIGNED[1],
        [True, True, True],
    ),
}


@pytest.mark.parametrize("name", sorted(PARTS))
def test_parts_are_the_kernel_that_they_stand_for(name: str) -> None:
    arguments = PART_ARGUMENTS[name]
    expected = getattr(torch.ops.aten, name).default(*arguments)
    torch.testing.assert_close(PARTS[name](*arguments), expected, rtol=1e-6 if "hardsigmoid" in name else 1e-12, atol=0)


# What it leaves behind


def test_same_randomness() -> None:
    torch.manual_seed(0), np.random.seed(0), random.seed(0)

    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    with same_randomness() as rewind:
        first = draw()
        rewind()
        assert draw() == first
    assert draw() == first


def test_same_buffers() -> None:
    norm = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with same_buffers():
        norm(torch.ones(4, 3))
        assert not torch.equal(norm.state_dict()["0.running_mean"], before["0.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    norm(torch.ones(4, 3))
    assert int(norm.state_dict()["0.num_batches_tracked"]) == 1, "nothing is kept watched"


A27, A73, V7 = normal(2, 7), normal(7, 3), normal(7)


@pytest.mark.parametrize(
    ("func", "args", "length"),
    [
        (torch.ops.aten.mm.default, (A27, A73), 7),
        (torch.ops.aten.addmm.default, (normal(3), A27, A73), 7),
        (torch.ops.aten.bmm.default, (normal(4, 2, 7), normal(4, 7, 3)), 7),
        (torch.ops.aten.mv.default, (A27, V7), 7),
        (torch.ops.aten.dot.default, (V7, V7), 7),
        (torch.ops.aten.sum.dim_IntList, (normal(5, 4), [1]), 4),
        (torch.ops.aten.mean.dim, (normal(5, 4), [0]), 5),
        (torch.ops.aten.cumsum.default, (normal(5, 4), 0), 5),
        (torch.ops.aten.logcumsumexp.default, (normal(5, 4), -1), 4),
        (torch.ops.aten.index_add.default, (normal(2), 0, torch.tensor([0, 1, 1, 1, 0, 0]), normal(6)), 3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_how_many_terms_one_entry_sums(func, args, length):
    plan = Plan(func)
    assert plan.length(args, func(*args)) == length
    assert plan.written == 0


def test_a_sum_that_is_written_in_place_is_added_once():
    assert Plan(torch.ops.aten.addmm_.default).written == 1

    def compute(x, W, start):
        return start.clone().addmm_(x, W)

    assert 0 < float(floor_of(compute, normal(2, 7), normal(7, 3, seed=1), normal(2, 3, seed=2)).max()) < 1e-14
