"""check_layer: every layer passes against its twin, and a planted mistake is blamed on what it computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import manualbp as mbp
from compare import Report, check_layer
from tests.planted import ACTIVATION_MISTAKES, LINEAR_MISTAKES, LOSS_MISTAKES, spoiled, spoiled_loss
from tests.spread import spread

XAVIER = mbp.Xavier()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def verdicts(report: Report) -> dict[str, str]:
    return {row.name: row.verdict for row in report.rows}


def network(activation: mbp.Layer) -> mbp.Sequential:
    return mbp.Sequential([mbp.Linear(5, 4, XAVIER), activation, mbp.Linear(4, 3, XAVIER)])


LAYERS: dict[str, mbp.Layer] = {
    "Linear": mbp.Linear(5, 4),
    "Sigmoid": mbp.Sigmoid(),
    "Tanh": mbp.Tanh(),
    "ReLU": mbp.ReLU(),
    "LeakyReLU": mbp.LeakyReLU(),
    "GELU": mbp.GELU(),
    "SiLU": mbp.SiLU(),
    "Softplus": mbp.Softplus(),
    "ELU": mbp.ELU(),
    "Identity": mbp.Identity(),
    "Residual": mbp.Residual(mbp.Linear(5, 5)),
    "network": network(mbp.Tanh()),
    "deep": mbp.Sequential([mbp.Linear(5, 5), mbp.Residual(mbp.Tanh()), mbp.Linear(5, 2)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_right(name: str) -> None:
    report = check_layer(LAYERS[name], draw(6, 5))
    assert set(verdicts(report).values()) == {"right"}
    assert report.ok
    assert report.subject == type(LAYERS[name]).__name__
    assert {tried.status for tried in report.conditions} == {"ok"}


@pytest.mark.parametrize("loss", [mbp.LogLoss(), mbp.SquaredError(), mbp.CrossEntropy()], ids=str)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_every_loss_is_right(loss: mbp.Loss, l2: float) -> None:
    report = check_layer(network(mbp.Sigmoid()), draw(6, 5), loss=loss, l2=l2)
    assert verdicts(report) == dict.fromkeys(("z3", "W3", "b3", "a2", "z2", "W2", "b2", "x"), "right")


@pytest.mark.parametrize("name", spread(ACTIVATION_MISTAKES, 3))
def test_a_wrong_activation(name: str) -> None:
    kind, mistake = ACTIVATION_MISTAKES[name]
    report = check_layer(network(spoiled(kind, mistake)), draw(6, 5), loss=mbp.SquaredError())
    found = verdicts(report)
    assert found["z2"] == "wrong", "the delta that the activation computes"
    assert report.first_wrong == report["z2"]
    assert {found[name] for name in ("z3", "W3", "b3", "a2")} == {"right"}
    assert {found[name] for name in ("W2", "b2", "x")} == {"inherited"}
    assert report["z2"].line.endswith(".backward")


@pytest.mark.parametrize("name", spread(LINEAR_MISTAKES, 2))
def test_a_wrong_linear_layer_is_caught(name: str) -> None:
    blamed, mistake = LINEAR_MISTAKES[name]
    wrong = spoiled(mbp.Linear, mistake, n_in=5, n_out=4, initializer=XAVIER)
    report = check_layer(mbp.Sequential([wrong, mbp.Tanh(), mbp.Linear(4, 3, XAVIER)]), draw(6, 5))
    assert report.first_wrong is not None
    assert report.first_wrong.name == blamed
    assert {row.name for row in report.rows if not row.ok} == {blamed}


@pytest.mark.parametrize("name", spread(LOSS_MISTAKES, 2))
def test_a_wrong_loss(name: str) -> None:
    kind, _, mistake = LOSS_MISTAKES[name]
    report = check_layer(network(mbp.Tanh()), draw(6, 5), loss=spoiled_loss(kind, mistake))
    assert verdicts(report)["z3"] == "wrong"
    assert verdicts(report)["W2"] == "inherited"


class WrongForward(mbp.Tanh):
    """A forward that is off, with the right backward for it."""

    def forward(self, params: mbp.Params, x: Any, mode: mbp.Mode = mbp.EVAL) -> tuple[Any, Any]:
        y, cache = super().forward(params, x, mode)
        return y * 1.001, cache


def test_a_forward_that_is_not_the_twins() -> None:
    twin = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    report = check_layer(network(WrongForward()), draw(6, 5), twin=twin)
    assert not report.ok
    assert report["value of a2"].verdict == "invalid"
    assert "forward is off" in report["value of a2"].explanation


def test_a_layer_without_a_twin_is_checked_through_its_own_forward_and_says_so() -> None:
    class Cube(mbp.Tanh):
        def forward(self, params: mbp.Params, x: Any, mode: mbp.Mode = mbp.EVAL) -> tuple[Any, Any]:
            return x**3, x

        def backward(self, params: mbp.Params, cache: Any, dy: Any) -> tuple[Any, mbp.Grads]:
            return 3 * cache**2 * dy, {}

    report = check_layer(Cube(), draw(6, 5))
    assert report.ok
    assert any("own forward" in note for note in report.notes)


def test_given_parameters_and_targets() -> None:
    net = network(mbp.ReLU())
    params = net.init(torch.Generator().manual_seed(3), dtype=torch.float32, device="cpu")
    y = torch.tensor([0, 2, 1, 1, 0, 2])
    assert check_layer(net, draw(6, 5).float(), loss=mbp.CrossEntropy(), params=params, y=y).ok


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (check_layer(network(mbp.Tanh()), draw(6, 5), seed=2) for _ in range(2))
    assert first.rows == second.rows


@pytest.mark.parametrize(
    ("layer", "x", "error"),
    [
        (mbp.Linear(5, 4), draw(6, 3), (ValueError, RuntimeError)),
        (network(mbp.Tanh()), draw(6), (ValueError, RuntimeError, IndexError)),
    ],
)
def test_inputs_that_do_not_fit(layer: mbp.Layer, x: Tensor, error: Any) -> None:
    with pytest.raises(error):
        check_layer(layer, x)


def test_what_it_returns_has_no_graph_and_nothing_is_left_behind() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    x = draw(6, 5)
    before = x.clone()
    check_layer(network(mbp.GELU()), x, loss=mbp.LogLoss())
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(x, before)
    assert torch.get_default_dtype() == torch.float32
