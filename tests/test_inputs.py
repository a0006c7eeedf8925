"""Specifications of inputs: their sizes, kinds and preconditions, however they are drawn."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compare import binary, constant, index, one_hot, permutation, positive, probability, real
from compare.check.conditions import Condition, conditions, distinct_sizes, realise
from compare.check.inputs import PLAIN, Values, dimension_names, draw, size_of

SIZES = {"h": 3, "k": 5, "m": 4}

# Dimensions


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        (7, 7),
        ("h", 3),
        ("h*k", 15),
        ("h * k + 1", 16),
        ("2*(h + k)", 16),
        ("k - h", 2),
        ("k // 2", 2),
        ("m % 3", 1),
        ("(m - 1)*h//k", 1),
        ("h - 3", 0),
    ],
)
def test_expressions(dim: Any, size: int) -> None:
    assert size_of(dim, SIZES) == size


@pytest.mark.parametrize(
    "dim", ["h +", "h**k", "__import__('os')", "h.k", "h[0]", "1.5", "-h", "h if k else m", "f(h)", "", "h / k", "'h'"]
)
def test_what_is_no_dimension(dim: str) -> None:
    with pytest.raises(ValueError, match=r"is no dimension; give a number, a name, or names with"):
        size_of(dim, SIZES)


def test_negative_sizes_and_division_by_zero() -> None:
    with pytest.raises(ValueError, match="negative"):
        size_of("h - k", SIZES)
    with pytest.raises(ValueError, match="divides by zero"):
        size_of("h // (k - 5)", SIZES)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["h", "k", "m", "1", "2"]),
        lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        max_leaves=6,
    )
)
def test_an_expression_means_what_it_means_in_python(expression: str) -> None:
    try:
        expected = eval(expression, {}, dict(SIZES))
    except ZeroDivisionError:
        expected = -1
    if expected < 0:
        with pytest.raises(ValueError, match=r"negative|divides"):
            size_of(expression, SIZES)
    else:
        assert size_of(expression, SIZES) == expected


def test_names_of_dimensions_in_order_of_appearance() -> None:
    inputs = {
        "x": real("m", "2*d"),
        "y": index("m", classes="k + 1"),
        "n": constant("h*d"),
        "t": torch.ones(3),
        "l2": constant(0.1),
    }
    assert dimension_names(inputs) == ["m", "d", "k", "h"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, max_size=8), st.integers(0, 10_000))
def test_sizes_are_distinct(names: list[str], seed: int) -> None:
    sizes = distinct_sizes(names, seed)
    assert list(sizes) == names
    assert len(set(sizes.values())) == len(names)
    assert all(size >= 2 for size in sizes.values())
    assert sizes == distinct_sizes(names, seed)


# Kinds

KINDS: dict[str, Any] = {
    "real": real("m", "k"),
    "real between": real("m", "k", low=-0.5, high=3.0),
    "real above": real("m", "k", low=2.0),
    "real below": real("m", "k", high=-2.0),
    "positive": positive("m", "k"),
    "binary": binary("m", "k"),
    "one_hot": one_hot("m", "k"),
    "index": index("m", "k", classes="h"),
    "probability": probability("m", "k"),
    "permutation": permutation("k"),
}
VALUES = st.builds(
    Values,
    scale=st.sampled_from([1e-3, 1.0, 5.0, 30.0]),
    coarse=st.booleans(),
    ties=st.booleans(),
    mixed=st.booleans(),
    repeat_rows=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    m=st.integers(0, 6),
    k=st.integers(1, 6),
    seed=st.integers(0, 1000),
    values=VALUES,
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_kinds_keep_their_promise(kind: str, m: int, k: int, seed: int, values: Values, dtype: torch.dtype) -> None:
    t: Tensor = draw({"t": KINDS[kind]}, {"m": m, "k": k, "h": 3}, seed, values, dtype=dtype)["t"]
    assert t.shape == ((k,) if kind == "permutation" else (m, k))
    assert t.dtype == (torch.int64 if kind in ("index", "permutation") else dtype)
    assert bool(t.isfinite().all())
    if kind == "real between":
        assert bool(((t >= -0.5) & (t <= 3)).all())
    elif kind == "real above":
        assert bool((t >= 2).all())
    elif kind == "real below":
        assert bool((t <= -2).all())
    elif kind == "positive":
        assert bool((t > 0).all())
    elif kind in ("binary", "one_hot"):
        assert set(t.unique().tolist()) <= {0.0, 1.0}
        assert kind == "binary" or bool((t.sum(-1) == 1).all())
    elif kind == "index":
        assert bool(((t >= 0) & (t < 3)).all())
    elif kind == "probability":
        assert bool((t > 0).all())
        torch.testing.assert_close(t.sum(-1), torch.ones(m, dtype=dtype))
    elif kind == "permutation":
        assert sorted(t.tolist()) == list(range(k))


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1000), values=VALUES)
def test_draws_are_repeatable_and_use_no_global_generator(kind: str, seed: int, values: Values) -> None:
    torch.manual_seed(1)
    first = draw({"t": KINDS[kind]}, SIZES, seed, values)["t"]
    torch.manual_seed(2)
    assert torch.equal(first, draw({"t": KINDS[kind]}, SIZES, seed, values)["t"])


def test_scalars() -> None:
    for spec in (real(), positive(), binary(), index(classes=4)):
        assert draw({"t": spec}, {}, 0)["t"].shape == ()


def test_scale() -> None:
    t = draw({"t": real(4000, scale=1e-3)}, {}, 0)["t"]
    assert float(t.std()) == pytest.approx(1e-3, rel=0.1)
    assert float(draw({"t": positive(4000, low=1.0, high=2.0, scale=1e6)}, {}, 0)["t"].min()) >= 1e6


def test_constants_are_handed_over_as_they_are() -> None:
    tensor = torch.arange(3)
    inputs = {"l2": constant(0.1), "t": constant(tensor), "n": constant("h*k + 1"), "flag": constant(True), "plain": 5}
    drawn = draw(inputs, SIZES, 0, Values(scale=30, ties=True, repeat_rows=True))
    assert drawn["l2"] == 0.1
    assert drawn["t"] is tensor
    assert drawn["n"] == 16
    assert drawn["flag"] is True
    assert drawn["plain"] == 5


# Values


def test_ties_and_zeros() -> None:
    t = draw({"t": real(20, 30)}, {}, 0, Values(ties=True))["t"]
    assert 0.2 < float((t == 0).double().mean()) < 0.8
    assert t.unique().numel() < 20


def test_coarse_values_are_plain_and_never_zero() -> None:
    t = draw({"t": real(20, 30)}, {}, 0, Values(coarse=True))["t"]
    torch.testing.assert_close(t * 10, (t * 10).round())
    assert bool((t != 0).all())


def test_repeated_rows() -> None:
    t = draw({"t": real(6, 3)}, {}, 0, Values(repeat_rows=True))["t"]
    assert torch.equal(t[:3], t[3:])


# Preconditions


def test_a_predicate_holds() -> None:
    spec = real("m", "k", where=lambda t: bool(t.sum() > 3))
    for seed, values in itertools.product(range(5), (PLAIN, Values(scale=5.0))):
        assert float(draw({"t": spec}, SIZES, seed, values)["t"].sum()) > 3


def test_an_impossible_predicate_names_the_input_and_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"input 't': `where` was false for 200 draws at sizes .*; narrow the values"):
        draw({"t": positive("m", where=lambda t: bool((t < 0).any()))}, SIZES, 0)


# Conditions


def test_specifications_are_drawn_under_every_condition() -> None:
    inputs = {"x": real("m", "d"), "w": real("d")}
    tried = list(conditions(inputs))
    names = [str(condition) for condition in tried]
    assert len(set(names)) == len(names)
    assert {"m = 1", "d = 1"} <= {condition.name for condition in tried}
    assert {1e-3, 5.0, 30.0} <= {condition.values.scale for condition in tried}
    assert any(condition.strided for condition in tried)
    for condition in tried:
        if "= 1" not in condition.name:
            assert len(set(condition.sizes.values())) == len(condition.sizes)
        drawn = realise(inputs, condition)
        assert drawn["x"].shape == (condition.sizes["m"], condition.sizes["d"])
        assert drawn["x"].dtype == torch.float64


def test_tensors_are_only_laid_out_anew() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    tried = list(conditions({"x": x, "n": torch.tensor([1])}))
    assert [condition.name for condition in tried] == ["as given", "strided inputs"]
    for condition in tried:
        drawn = realise({"x": x, "n": torch.tensor([1])}, condition)
        assert torch.equal(drawn["x"], x.double())
        assert drawn["x"].is_contiguous() is not condition.strided
        assert drawn["n"].dtype == torch.int64


def test_a_function_from_a_seed_gets_several_seeds() -> None:
    assert len({condition.seed for condition in conditions(lambda seed: {"x": torch.ones(seed)}, seed=5)}) >= 3


def test_the_dtype_of_a_condition() -> None:
    drawn = realise({"x": real(3), "y": index(3, classes=2)}, Condition("plain", dtype=torch.float32))
    assert drawn["x"].dtype == torch.float32
    assert drawn["y"].dtype == torch.int64
