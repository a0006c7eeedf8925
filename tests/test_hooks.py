"""One backward of autograd that passes the user's deltas on: what arrives where, and what shares what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compare.check.hooks import trace


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


INPUTS = {"x": draw(5, 4), "W2": draw(3, 4, seed=1), "W3": draw(2, 3, seed=2)}


def forward(x: Tensor, W2: Tensor, W3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    z2 = x @ W2.T
    a2 = torch.tanh(z2)
    z3 = a2 @ W3.T
    return (z3**3).sum(), {"z2": z2, "a2": a2, "z3": z3}


def by_hand(values: dict[str, Tensor], deltas: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each step from the delta that it is handed: the one in `deltas`, or the one that arrives."""
    z3 = 3 * values["z3"] ** 2
    d3 = deltas.get("z3", z3)
    a2 = d3 @ values["W3"]
    da = deltas.get("a2", a2)
    z2 = da * (1 - values["a2"] ** 2)
    d2 = deltas.get("z2", z2)
    return {
        "z3": z3,
        "W3": d3.T @ values["a2"],
        "a2": a2,
        "z2": z2,
        "W2": d2.T @ values["x"],
        "x": d2 @ values["W2"],
    }


@pytest.mark.parametrize("given", [(), ("z3",), ("a2",), ("z2",), ("z3", "z2"), ("z3", "a2", "z2")], ids="+".join)
def test_every_step_is_judged_given_the_delta_that_it_was_handed(given: tuple[str, ...]) -> None:
    graph = trace(forward, INPUTS)
    deltas = {name: draw(*graph.quantities[name].shape, seed=7) for name in given}
    found = graph.gradients(deltas)
    expected = by_hand(graph.values(), deltas)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-13, atol=1e-13)


def test_nearest_to_J_first() -> None:
    order = list(trace(forward, INPUTS).gradients({}))
    assert order.index("z3") < order.index("a2") < order.index("z2")
    assert order.index("z3") < order.index("W3")
    assert order.index("z2") < order.index("W2")


def test_a_graph_can_be_asked_again_and_keeps_no_hooks() -> None:
    graph = trace(forward, INPUTS)
    plain = graph.gradients({})
    graph.gradients({"z3": torch.zeros(5, 2, dtype=torch.float64)})
    again = graph.gradients({})
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_nothing_accumulates_in_what_was_given_or_recorded() -> None:
    """Autograd adds into gradients in place where two paths meet: neither side's tensors may be theirs."""

    def fan_out(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = x * 2
        u, v = y * 3, y * 5
        return (u + v).sum(), {"y": y, "u": u, "v": v}

    graph = trace(fan_out, {"x": draw(4)})
    delta = draw(4, seed=3)
    before = delta.clone()
    found = graph.gradients({"u": delta, "v": delta, "y": delta})
    assert torch.equal(delta, before)
    torch.testing.assert_close(found["u"], torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(found["y"], 8 * delta)
    torch.testing.assert_close(found["x"], 2 * delta)


def test_names_that_share_a_tensor_share_its_hook() -> None:
    def shared(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = x * 2
        return (y * y).sum(), {"y": y, "output": y}

    graph = trace(shared, {"x": draw(3)})
    delta = draw(3, seed=4)
    for name in ("y", "output"):
        found = graph.gradients({name: delta})
        assert torch.equal(found["y"], found["output"])
        torch.testing.assert_close(found["y"], 2 * graph.values()["y"])
        torch.testing.assert_close(found["x"], 2 * delta)


def test_a_view_that_J_does_not_use_gets_no_gradient() -> None:
    def viewed(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = x * 2
        return (y * y).sum(), {"y": y, "flat": y.view(-1)}

    assert set(trace(viewed, {"x": draw(3, 2)}).gradients({})) == {"y", "x"}


def test_a_name_taken_before_an_operation_in_place_means_the_value_after_it() -> None:
    def in_place(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        z = x * 2
        named = {"z": z, "kept": x * 3}
        z.relu_()
        return (z * named["kept"]).sum(), named

    graph = trace(in_place, {"x": draw(6)})
    assert graph.changed == ("z",)
    assert bool((graph.values()["z"] >= 0).all())


def test_inputs_are_clones() -> None:
    x = draw(3, 2)
    graph = trace(lambda x: ((x * x).sum(), {}), {"x": x})
    assert graph.inputs["x"] is not x
    assert graph.inputs["x"].data_ptr() != x.data_ptr()
    assert not x.requires_grad
    assert trace(lambda x: ((x * x).sum(), {}), {"x": x.T}).inputs["x"].stride() == x.T.stride()
    assert trace(lambda x: ((x * x).sum(), {}), {"x": x[:1].expand(3, 2)}).inputs["x"].shape == (3, 2)


def test_what_has_a_gradient() -> None:
    def mixed(x: Tensor, rows: Tensor, l2: float) -> tuple[Tensor, dict[str, Tensor]]:
        return (x[rows] * l2).sum(), {"constant": torch.ones(2), "picked": x[rows], "rounded": x.detach().round()}

    graph = trace(mixed, {"x": draw(4), "rows": torch.tensor([0, 2]), "l2": 0.1})
    assert set(graph.quantities) == {"x", "picked"}
    assert set(graph.values()) == {"x", "rows", "l2", "constant", "picked", "rounded"}
    assert not any(isinstance(v, Tensor) and v.requires_grad for v in graph.values().values())


def test_an_intermediate_that_is_an_input_is_that_input() -> None:
    def named(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (x * x).sum(), {"x": x}

    graph = trace(named, {"x": draw(3)})
    assert set(graph.quantities) == {"x"}
    assert graph.intermediates == {}


def test_fixed_inputs_have_no_gradient() -> None:
    graph = trace(forward, INPUTS, fixed={"x"})
    assert "x" not in graph.gradients({})


def test_J_of_one_entry_is_a_scalar() -> None:
    assert trace(lambda x: ((x * x).sum().reshape(1, 1), {}), {"x": draw(3)}).J.shape == ()


def test_a_caller_without_gradients() -> None:
    with torch.no_grad():
        graph = trace(forward, INPUTS)
        assert set(graph.gradients({})) == {"x", "W2", "W3", "z2", "a2", "z3"}
