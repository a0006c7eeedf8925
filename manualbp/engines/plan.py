"""What engines can plan ahead: linear layers, at most one activation after each, and one of the three costs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor

from manualbp.activation import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from manualbp.layer import Layer, Params
from manualbp.linear import Linear
from manualbp.loss import CrossEntropy, LogLoss, Loss, SquaredError
from manualbp.sequential import Sequential

# by exact type: a subclass may have a forward and a backward of its own
ACTIVATIONS: tuple[type, ...] = (Identity, Sigmoid, Tanh, ReLU, LeakyReLU, ELU, SiLU, Softplus, GELU)
LOSSES: tuple[type, ...] = (LogLoss, CrossEntropy, SquaredError)


@dataclass(frozen=True)
class Stage:
    """z[l] = W[l] a[l-1] + b[l] and a[l] = f(z[l]); `position` is that of the linear layer in its `Sequential`."""

    position: int
    linear: Linear
    activation: Layer = Identity()


def stages(net: Layer, loss: Loss) -> tuple[Stage, ...]:
    """The network as stages, first layer first.

    Raises ValueError for anything else than `Linear`, each followed by one activation at most, and the three costs.
    """
    if type(loss) not in LOSSES:
        raise ValueError(f"engines know {_names(LOSSES)}, got the cost {type(loss).__name__}; use the reference engine")
    if type(net) is not Sequential:
        raise ValueError(f"engines train a Sequential, got {type(net).__name__}; use the reference engine")
    found: list[Stage] = []
    for position, layer in enumerate(net.layers):
        if type(layer) is Linear:
            found.append(Stage(position, layer))
        elif type(layer) in ACTIVATIONS and found and found[-1].position == position - 1:
            found[-1] = Stage(position - 1, found[-1].linear, layer)
        else:
            raise ValueError(
                "engines train Linear layers, each followed by one activation at most, "
                f"got {type(layer).__name__} as entry {position}; use the reference engine"
            )
    for below, above in itertools.pairwise(found):
        if below.linear.n_out != above.linear.n_in:
            raise ValueError(
                f"layer {above.position} takes {above.linear.n_in} inputs, the one before it gives "
                f"{below.linear.n_out}; make them equal"
            )
    return tuple(found)


def weights_of(plan: tuple[Stage, ...], params: Params) -> list[tuple[Tensor, Tensor | None]]:
    """W and b (None without bias) of every stage."""
    own = [params[stage.position] for stage in plan]
    return [(each["W"], each.get("b")) for each in own]


def nested_like(plan: tuple[Stage, ...], params: Params, values: list[tuple[Tensor, Tensor | None]]) -> Params:
    """Gradients in the nest of `params`, from W and b of every stage."""
    nest: list[dict[str, Tensor]] = [{} for _ in params]
    for stage, (W, b) in zip(plan, values, strict=True):
        nest[stage.position] = {"W": W} if b is None else {"W": W, "b": b}
    return tuple(nest)


def require_batches(plan: tuple[Stage, ...], params: Params, x: Tensor, y: Tensor) -> None:
    """Raises ValueError where data and network do not go together: shapes, dtype, device, class indices."""
    W = params[plan[0].position]["W"]
    d, k = plan[0].linear.n_in, plan[-1].linear.n_out
    if x.ndim != 2 or x.shape[1] != d:
        raise ValueError(f"x must be (m, {d}), one sample a row; got {tuple(x.shape)}")
    if x.dtype != W.dtype or x.device != W.device:
        raise ValueError(f"x is {x.dtype} on {x.device}, the weights {W.dtype} on {W.device}; make them equal")
    classes = not y.is_floating_point()
    if y.shape != ((len(x),) if classes else (len(x), k)):
        raise ValueError(f"y must be ({len(x)}, {k}), or ({len(x)},) class indices; got {tuple(y.shape)}")
    if not classes and y.dtype != x.dtype:
        raise ValueError(f"y is {y.dtype}, x {x.dtype}; make them equal")


def _names(kinds: tuple[type, ...]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)
