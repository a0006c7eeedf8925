"""The controls of the corpus are right: their backwards equal autograd's float64 gradient of J.

The check that they are meant for takes no part here. Where autograd's answer cannot be compared as it is, one
of the tables below says so and what stands in for it.
"""

from __future__ import annotations

import ast
import inspect
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compare.check.inputs import Spec
from tests.derivations import Case, load
from tests.derivations.controls_activations import unit
from tests.derivations.controls_losses import under
from tests.derivations.controls_scales import stable_textbook

CONTROLS = [case for case in load() if case.kind == "control"]
SEEDS = range(5)

# Deltas that are a constant multiple of dJ/dname, undone in the parameter gradients.
RESCALED: dict[str, set[str]] = {
    f"controls_conventions.{name}": names
    for names, cases in (
        ({"z3", "z2"}, "batch_mean_in_the_parameters columns_of_the_lecture per_sample_gradients_then_mean"),
        ({"z3", "z2"}, "mean_over_all_entries_in_the_parameters two_undone_later minus_error_subtracted_later"),
        ({"z3"}, "only_the_output_delta_is_scaled numpy_course_notes"),
        ({"z2"}, "hidden_delta_doubled"),
    )
    for name in cases.split()
}

# Where a choice is made at a kink or tie, the quantities that hold it: they lie between autograd's gradients at
# nearby points, and what comes before them must be right given that choice.
SUBGRADIENT: dict[str, set[str]] = {
    f"controls_kinks.{name}": names
    for names, cases in (
        ({"z"}, "relu_one_at_zero relu_half_at_zero relu_third_at_zero abs_one_at_zero abs_minus_one_at_zero"),
        ({"z"}, "leaky_one_at_zero hardtanh_closed clamp_open relu6_closed maximum_with_its_tenth hinge_open"),
        ({"z"}, "softshrink_closed"),
        ({"x"}, "max_to_the_first max_to_the_last max_split_unevenly max_dim_split_evenly"),
        ({"x"}, "pool_split_evenly pool_to_the_last"),
        ({"W"}, "lasso_least_subgradient"),
        ({"x", "y"}, "maximum_takes_the_first_at_ties"),
    )
    for name in cases.split()
}

# Autograd's own result through the forward is wrong or not finite: an equal forward that is stable stands in.
STABLE: dict[str, Callable[..., Any]] = {
    # ATen's backward of hardsigmoid holds 1/6 as a float32 number: 3e-8 off.
    "controls_activations.hardsigmoid": unit(lambda z: (z / 6 + 0.5).clamp(0, 1)),
    # log(1 - a) is log(0) where a is rounded to 1 or underflows to 0: autograd's NaN.
    "controls_scales.textbook_log_loss_at_40": stable_textbook,
    "controls_scales.textbook_log_loss_at_-800": stable_textbook,
    # log1p(exp(-y z)) overflows where y z < -709.
    "controls_losses.soft_margin": under(lambda z, y: F.softplus((1 - 2 * y) * z).mean()),
}

# Differences such as p - 1 where p is nearly 1 in every entry: an ulp of 1 is all that one can ask.
SATURATED = {"controls_scales.softmax_scaled_30"}


def evaluate(dim: int | str, sizes: Mapping[str, int]) -> int:
    """The value of a dimension: a number, a name or an expression of names such as "h*k"."""
    return dim if isinstance(dim, int) else eval(dim, {"__builtins__": {}}, dict(sizes))


def dimensions(inputs: Mapping[str, Spec]) -> list[str]:
    texts = {
        dim
        for spec in inputs.values()
        for dim in (*spec.dims, spec.classes, spec.value if spec.kind == "constant" else None)
        if isinstance(dim, str)
    }
    names = {node.id for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    return sorted(names)


def draw(spec: Spec, sizes: Mapping[str, int], scale: float, generator: torch.Generator) -> Any:
    if spec.kind == "constant":
        return evaluate(spec.value, sizes) if isinstance(spec.value, str) else spec.value
    shape = tuple(evaluate(dim, sizes) for dim in spec.dims)
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    low, high = spec.low, spec.high
    if spec.kind == "real":
        if low is not None and high is not None:
            return low + (high - low) * unit
        return torch.randn(shape, generator=generator, dtype=torch.float64) * spec.scale * scale
    if spec.kind == "positive":
        return (math.log(low) + math.log(high / low) * unit).exp() * spec.scale
    if spec.kind == "binary":
        return unit.round()
    if spec.kind == "one_hot":
        return torch.eye(shape[-1], dtype=torch.float64)[(unit[..., 0] * shape[-1]).long()]
    if spec.kind == "index":
        return (unit * evaluate(spec.classes, sizes)).long()
    if spec.kind == "probability":
        return torch.softmax(unit * 3, -1)
    assert spec.kind == "permutation"
    return torch.randperm(shape[0], generator=generator)


def draw_all(case: Case, seed: int, *, scale: float = 1.0, size: int | None = None) -> dict[str, Any]:
    """Inputs of a case: distinct sizes from 2 to 7 unless all are `size`."""
    if callable(case.inputs):
        return dict(case.inputs(seed))
    generator = torch.Generator().manual_seed(1000 * seed + zlib.crc32(case.name.encode()) % 1000)
    specs = {k: v for k, v in case.inputs.items() if isinstance(v, Spec)}
    names = dimensions(specs)
    drawn = (torch.randperm(max(6, len(names)), generator=generator) + 2).tolist()
    sizes = {name: size or drawn[i] for i, name in enumerate(names)}
    values = {}
    for name, value in case.inputs.items():
        if isinstance(value, Spec):
            for _ in range(100):
                values[name] = draw(value, sizes, scale, generator)
                if value.where is None or value.where(values[name]):
                    break
            else:
                raise ValueError(f"{case.name}: no {name} satisfies its predicate")
        else:
            values[name] = value
    return values


def is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def graph(
    forward: Callable[..., Any], values: Mapping[str, Any], names: Iterable[str]
) -> tuple[Tensor, dict[str, Any]]:
    """J, and every named value as a node of its graph."""

    def leaves(wanted: Iterable[str]) -> dict[str, Any]:
        return {
            k: v.detach().clone().requires_grad_() if is_floating(v) and k in wanted else v for k, v in values.items()
        }

    try:
        inputs = leaves(values)
        J, named = forward(**inputs)
    except RuntimeError as error:
        # Some operators refuse a weight that requires a gradient, even where nobody asks for that gradient.
        if "not differentiable with respect to argument" not in str(error):
            raise
        inputs = leaves(names)
        J, named = forward(**inputs)
    assert J.shape == ()
    return J, {**inputs, **named}


def autograd(forward: Callable[..., Any], values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Tensor]:
    """J's gradient with respect to the named inputs and intermediates that it depends on."""
    J, nodes = graph(forward, values, names)
    names = [name for name in names if name in nodes]
    grads = torch.autograd.grad(J, [nodes[name] for name in names], allow_unused=True)
    return {name: g for name, g in zip(names, grads, strict=True) if g is not None}


def given(case: Case, values: Mapping[str, Any], got: Mapping[str, Tensor], chosen: set[str]) -> dict[str, Tensor]:
    """The gradients of the quantities before the `chosen` ones, given the choice that was made there."""
    _, nodes = graph(case.forward, values, got.keys())
    before = [name for name in got if name not in chosen]
    kinks = [name for name in chosen if nodes[name].grad_fn is not None]
    if not kinks or not before:
        return {}
    grads = torch.autograd.grad(
        [nodes[k] for k in kinks], [nodes[n] for n in before], [got[k] for k in kinks], allow_unused=True
    )
    return {name: g for name, g in zip(before, grads, strict=True) if g is not None}


def arguments(case: Case, everything: Mapping[str, Any]) -> dict[str, Any]:
    detached = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in everything.items()}
    parameters = inspect.signature(case.backward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return detached
    return {name: detached[name] for name in parameters if name in detached}


def as_tensor(gradient: Any) -> Tensor:
    return gradient if isinstance(gradient, Tensor) else torch.from_numpy(np.array(gradient))


def gradients(case: Case, everything: Mapping[str, Any]) -> dict[str, Tensor]:
    with torch.no_grad():
        result = case.backward(**arguments(case, everything))
    return {name: as_tensor(gradient) for name, gradient in result.items()}


def gap(got: Tensor, expected: Tensor) -> float:
    return (got - expected).abs().max().item() if expected.numel() else 0.0


def nearby(case: Case, values: Mapping[str, Any], names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Gradients at points so near that only kinks and ties are decided otherwise."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        moved = {
            k: v + 1e-10 * torch.randn(v.shape, generator=generator, dtype=v.dtype) if is_floating(v) else v
            for k, v in values.items()
        }
        yield autograd(case.forward, moved, names)


def compare(case: Case, values: Mapping[str, Any], rounding: float = 0.0) -> None:
    """Hold each quantity to 1e-8 of its slice, plus `rounding` of the largest gradient of the case or of 1."""
    with torch.no_grad():
        got = gradients(case, {**values, **case.forward(**values)[1]})
    assert got, "no quantity"
    expected = autograd(STABLE.get(case.name, case.forward), values, got.keys())
    rescaled, chosen = RESCALED.get(case.name, set()), SUBGRADIENT.get(case.name, set())
    if chosen:
        expected |= given(case, values, got, chosen)
    hull = list(nearby(case, values, got.keys())) if chosen else []
    largest = max((e.abs().max().item() for e in expected.values() if e.numel()), default=0.0)
    largest = max(largest, 1.0)
    for name, g in got.items():
        assert name in expected, f"{name} has no gradient"
        e = expected[name]
        assert g.shape == e.shape, f"{name}: shape {tuple(g.shape)}, not {tuple(e.shape)}"
        assert g.is_floating_point(), f"{name}: {g.dtype}"
        assert g.isfinite().all(), f"{name}: not finite"
        assert e.isfinite().all(), f"{name}: autograd is not finite"
        slack = 1e-8 * e.abs().amax().item() + rounding * largest if e.numel() else 0.0
        if name in rescaled:
            factor = (g * e).sum() / (e * e).sum() if e.any() else 1.0
            assert gap(g / factor, e) <= slack, f"{name}: no constant multiple"
        elif name in chosen:
            near = torch.stack([grads[name] for grads in hull])
            room = 1e-6 * near.abs().max()
            assert ((near.amin(0) - room <= g) & (g <= near.amax(0) + room)).all(), f"{name}: no subgradient"
        else:
            assert gap(g, e) <= slack, f"{name}: off by {gap(g, e):.3g} of {e.abs().max().item():.3g}"


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_the_corpus_is_large_and_varied() -> None:
    assert len(CONTROLS) >= 300
    bodies = {getattr(case.backward, "__code__", case.backward) for case in CONTROLS}
    assert len(bodies) >= 100


def test_tables_name_controls() -> None:
    names = {case.name for case in CONTROLS}
    assert {*RESCALED, *SUBGRADIENT, *STABLE, *SATURATED} <= names


@pytest.mark.parametrize("case", CONTROLS, ids=lambda case: case.name)
def test_equals_autograd(case: Case) -> None:
    for seed in SEEDS if callable(case.inputs) or any(isinstance(v, Spec) for v in case.inputs.values()) else (0,):
        compare(case, draw_all(case, seed), rounding=1e-13 if case.name in SATURATED else 0.0)


@pytest.mark.parametrize("case", CONTROLS, ids=lambda case: case.name)
def test_equals_autograd_at_size_one_and_other_scales(case: Case) -> None:
    if callable(case.inputs) or not any(isinstance(v, Spec) for v in case.inputs.values()):
        return
    compare(case, draw_all(case, 7, size=1), rounding=1e-13)
    compare(case, draw_all(case, 8, scale=1e-3), rounding=1e-13)
    compare(case, draw_all(case, 9, scale=30.0), rounding=1e-12)
