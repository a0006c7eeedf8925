"""The rules of the noise one by one: what is moved, how far, which decisions are replayed, what becomes of a floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from compare.check.constants import POOL, THRESHOLD
from compare.check.noise import Jitter, deliberate_below, exact_by_meaning, measure, pooled

EPS = 2.0**-52
TINY = 5e-324  # the least subnormal


def real(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def floor_of(compute: Callable[[], Tensor]) -> Tensor:
    """The floor of a computation whose inputs are not moved: what its operations alone do."""
    return measure(lambda jitter: {"y": compute()}).floors["y"]


# How far


def moved_by(compute: Callable[[Jitter], Tensor]) -> list[set[float]]:
    """For every run, plain, recorded and noisy: by which factors 1.5 comes out of it."""
    runs: list[set[float]] = []

    def run(jitter: Jitter) -> dict[str, Tensor]:
        out = compute(jitter)
        runs.append({value / 1.5 - 1 for value in set(out.tolist())})
        return {"y": out}

    measure(run)
    return runs


MOVES: dict[str, Callable[[Jitter], Tensor]] = {
    "an input": lambda jitter: jitter(torch.full((1000,), 1.5, dtype=torch.float64)),
    "a result": lambda jitter: torch.full((1000,), 0.75, dtype=torch.float64) * 2,
}


@pytest.mark.parametrize("what", MOVES)
def test_an_entry_moves_up_or_down_by_an_ulp(what: str) -> None:
    plain, recorded, *noisy = moved_by(MOVES[what])
    assert plain == recorded == {0.0}
    for factors in noisy:
        low, high = sorted(factors)
        assert -1.6 * EPS < low < 0 < high < 1.6 * EPS
    assert len(noisy) == 3


def test_up_and_down_are_as_likely_and_no_two_runs_the_same() -> None:
    runs: list[Tensor] = []
    measure(lambda jitter: runs.append(jitter(torch.full((1000,), 1.5, dtype=torch.float64))) or {"y": runs[-1]})
    up = [run > 1.5 for run in runs[2:]]
    assert all(400 < int(each.sum()) < 600 for each in up)
    assert 400 < int((up[0] != up[1]).sum()) < 600


def test_another_seed_moves_other_entries() -> None:
    runs: list[Tensor] = []
    for seed in (0, 1):
        x = torch.full((1000,), 1.5, dtype=torch.float64)
        measure(lambda jitter, x=x: runs.append(jitter(x)) or {"y": runs[-1]}, probes=2, seed=seed)
    noisy = [run > 1.5 for run in (*runs[2:4], *runs[6:8])]
    assert all(400 < int((a != b).sum()) < 600 for k, a in enumerate(noisy) for b in noisy[:k])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_moved_input_keeps_its_dtype(dtype: torch.dtype) -> None:
    seen: list[torch.dtype] = []
    x = torch.full((50,), 0.7, dtype=dtype)
    measured = measure(lambda jitter: seen.append(jitter(x).dtype) or {"y": jitter(x)})
    assert set(seen) == {dtype}
    assert float((measured.floors["y"] / 0.7).max()) >= torch.finfo(dtype).eps / 2


def test_what_is_no_floating_tensor_is_not_moved() -> None:
    values = (3, 2.5, None, "text", torch.arange(3), torch.tensor([True, False]))
    seen: list[object] = []
    measure(lambda jitter: seen.extend(map(jitter, values)) or {"y": real(1.5)})
    assert len(seen) == len(values) * 5
    assert all(a is b for a, b in zip(seen, values * 5, strict=True))


def test_whole_numbers_are_exact_until_every_number_is_whole() -> None:
    values = real(0.0, -3.0, 0.5, 2.0**49 - 1, 2.0**49, -(2.0**49), 1e300)
    assert exact_by_meaning(values).tolist() == [True, True, False, True, False, False, False]


def test_a_single_number_is_moved_like_an_entry_of_many() -> None:
    third = torch.tensor(1 / 3, dtype=torch.float64)
    assert float(floor_of(lambda: third * 3e6 - 1e6)) > 1e5 * EPS


def test_a_tensor_without_memory_is_left_alone() -> None:
    """Autograd's symbolic zeros: to write there ends the process."""
    x = real(0.7, 0.3)
    assert floor_of(lambda: torch._efficientzerotensor((2,), dtype=torch.float64) * x + x).isfinite().all()


# Sums


def test_the_terms_of_a_sum_are_moved() -> None:
    terms = real(1e6 + 0.1, -1e6 - 0.1)
    assert float(floor_of(lambda: terms.sum())) > 1e5 * EPS


def test_a_sum_one_term_after_the_other_is_within_the_threshold() -> None:
    """Partial sums grow as a random walk does, and so does their rounding: far more than an ulp of each term tells."""
    n = 100_000
    x = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    floor = measure(lambda jitter: {"y": jitter(x).sum()}).floors["y"]
    one_by_one = float(np.cumsum(x.numpy())[-1])
    assert abs(one_by_one - math.fsum(x.tolist())) <= THRESHOLD * float(floor)
    assert float(floor) > EPS * n / 100, "sqrt(n) ulps for each of n terms, added as a random walk: n ulps"


def test_a_long_sum_that_is_written_in_place() -> None:
    n = 10_000
    x = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    to_one = torch.zeros(n, dtype=torch.long)
    floor = floor_of(lambda: torch.zeros(1, dtype=torch.float64).index_add_(0, to_one, x))
    assert float(floor) > EPS * n / 100


def test_noise_is_not_drawn_from_the_stream_that_inputs_are_drawn_from() -> None:
    """Else it pushes each term by its own sign: a sum would be uncertain by n ulps, and hide what is wrong in it."""
    n = 100_000
    for seed in range(3):
        x = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
        moved: list[Tensor] = []
        measure(lambda jitter, x=x, moved=moved: moved.append(jitter(x)) or {"y": x}, probes=5, seed=0)
        assert max(abs(float((each - x).sum())) for each in moved) < 6 * EPS * 0.3 * math.sqrt(n)


def test_a_sum_whose_first_result_is_not_asked_for() -> None:
    """A convolution's backward gives None for an input that needs no gradient; its weight's sum is as long."""
    generator = torch.Generator().manual_seed(0)
    x, dz = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((50, 1, 20), (50, 1, 20)))
    weight = torch.randn(1, 1, 1, generator=generator, dtype=torch.float64)

    def backward() -> Tensor:
        arguments = (dz, x, weight, [0], [1], [0], [1], False, [0], 1)
        _, dw, _ = torch.ops.aten.convolution_backward(*arguments, [False, True, False])
        return dw

    longest = float((x * dz).abs().sum()) * EPS
    assert float(floor_of(backward)) > longest / 50


# Precision


def test_narrowing_rounds_and_widening_does_not() -> None:
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    narrow = x.float()
    assert float((floor_of(lambda: x.float().double()) / x).max()) > 2.0**-25
    assert float((floor_of(lambda: narrow.double()) / x).max()) < 2 * EPS
    assert float((floor_of(lambda: x.to(torch.float64, copy=True)) / x).max()) < 1.01 * EPS


def test_only_fewer_digits_are_a_choice() -> None:
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def run(jitter: Jitter) -> dict[str, Tensor]:
        with deliberate_below(torch.float64):
            return {"y": (x * 0.7 - x * 0.7 * (1 - 1e-3)) * 1e3}

    floor = measure(run).floors["y"]
    assert float((floor / x).median()) > 10 * EPS


# Decisions


def counted(later: Callable[[], Tensor]) -> Callable[[Jitter], dict[str, Tensor]]:
    """A computation that makes a decision, and further ones under noise only."""
    calls: Iterator[int] = iter(range(100))

    def run(jitter: Jitter) -> dict[str, Tensor]:
        x = real(0.7, 0.3)
        y = torch.where(x > 0.5, x, -x)
        return {"y": torch.where(later(), y, y * 2) if next(calls) >= 2 else y}

    return run


def test_a_decision_that_the_recorded_run_did_not_make_is_its_own() -> None:
    floors = measure(counted(lambda: real(1.0, 1.0) > 0)).floors["y"]
    assert bool((floors < 4 * EPS).all())


def test_a_decision_of_another_shape_or_kind_is_its_own() -> None:
    calls = iter(range(100))

    def run(jitter: Jitter) -> dict[str, Tensor]:
        x = real(0.7, 0.3, 0.2)
        chosen = x[:2] if next(calls) < 2 else x
        return {"y": torch.where((chosen > 0.5).all(), x, x)}

    assert bool((measure(run).floors["y"] < 4 * EPS).all())


def test_the_answer_of_an_operation_that_returns_a_bool_is_replayed() -> None:
    x = real(1.0, 2.0, 4.0, 8.0)

    def compute() -> Tensor:
        return x if torch.equal(x / 3 * 3, x) else -x

    assert torch.equal(compute(), x)
    assert bool((floor_of(compute) < 1.01 * EPS * x).all())


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_an_expanded_decision_is_not_written_to(copies: int) -> None:
    x = real(1.0, 0.7)
    assert floor_of(lambda: (x > 0.8).expand(copies, 2) * x).isfinite().all()


# Floors


def test_nothing_has_no_floor() -> None:
    assert measure(lambda jitter: {}).floors == {}


def after_the_plain_runs(value: float) -> Tensor:
    """The floor of 1.0, next to `value` in the noisy runs."""
    calls = iter(range(100))
    return measure(lambda jitter: {"y": real(1.0 if next(calls) < 2 else value, 2.0)}).floors["y"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_finite_in_some_runs_alone_has_an_infinite_floor(value: float) -> None:
    assert after_the_plain_runs(value)[0] == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_finite_in_no_run_has_none(value: float) -> None:
    floor = measure(lambda jitter: {"y": real(value, 2.0)}).floors["y"]
    assert floor.tolist() == [TINY, 2 * EPS]


def test_an_infinite_value_asks_for_no_ulp() -> None:
    assert pooled(real(0.0, 0.0), real(math.inf, 1.0)).tolist() == [TINY, EPS]


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1.0, 1e200])
def test_rows_and_columns_lend_a_floor_at_every_size(size: float) -> None:
    spread = torch.tensor([[0.0, 3.0], [4.0, 0.0]], dtype=torch.float64) * size
    floor = pooled(spread, torch.zeros(2, 2, dtype=torch.float64)) / size
    assert floor[0, 1] == 3.0
    assert floor[1, 0] == 4.0
    assert float(floor[0, 0]) == pytest.approx(POOL * 4 / math.sqrt(2))
    assert float(floor[1, 1]) == pytest.approx(POOL * 4 / math.sqrt(2))
