"""The two networks: one start, then each with its own gradient and its own update."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

import manualbp as mbp
import torch_ref
from compare.check.noise import Jitter, Measured, measure
from compare.check.restore import same_randomness
from compare.run.network import Part
from compare.twin import Twin, adopt, build, copy_, loss_module, nested
from manualbp.params import named

Gradients = dict[str, Tensor]  # by path of the hand-written parameter


class LossThroughForward(nn.Module):
    """Autograd through a cost that someone else wrote, summed over the batch: the twin of one without another."""

    def __init__(self, loss: mbp.Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """m J(z, y)."""
        return self.loss.forward(z, y)[0] * z.shape[0]


class Pair:
    """A hand-written network and its twin, with equal parameters at first.

    The costs include L2 on both sides, so that the gradients do too.
    """

    def __init__(
        self,
        net: mbp.Layer,
        loss: mbp.Loss,
        params: mbp.Params,
        *,
        lr: float,
        l2: float,
        twin: nn.Module | None = None,
        stock_loss: bool = False,
    ) -> None:
        self.net, self.loss, self.params = net, loss, params
        self.lr, self.l2 = lr, l2
        self.given_twin = twin
        self.twin = self._another()
        self.loss_module, self.own_loss = _loss_twin(loss, stock_loss)
        self._reference: Twin | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every trained parameter, in the order of the hand-written side."""
        return tuple(self.twin.parameters)

    @property
    def through_forward(self) -> tuple[str, ...]:
        """Layers, by path, that autograd judges through their own forward."""
        return self.twin.through_forward

    def manual(self, part: Part) -> tuple[Tensor, Gradients]:
        """J without its penalty, and the hand-written gradient of J with it."""
        return self._manual_at(self.params, part)

    @torch.no_grad()
    def _manual_at(self, params: mbp.Params, part: Part) -> tuple[Tensor, Gradients]:
        z, cache = self.net.forward(params, part.x)
        J, loss_cache = self.loss.forward(z, part.y)
        _, grads = self.net.backward(params, cache, self.loss.backward(loss_cache))
        mbp.l2.add_gradient_(self.net, grads, params, self.l2)
        return J, dict(named(grads))

    def autograd(self, part: Part) -> tuple[Tensor, Gradients]:
        """J without its penalty, and autograd's gradient of J with it, at the twin's own parameters."""
        return self._autograd_of(self.twin, part)

    def autograd_at_manual(self, part: Part) -> tuple[Tensor, Gradients]:
        """The same at the hand-written parameters, in a third network; neither run is changed."""
        reference = self._third()
        copy_(reference, self.params)
        return self._autograd_of(reference, part)

    def twin_at_manual(self) -> Twin:
        """A network of autograd's with the hand-written parameters: the twin as long as both runs are equal."""
        if self.same_weights():
            return self.twin
        reference = self._third()
        copy_(reference, self.params)
        return reference

    def measured(self, part: Part) -> Measured:
        """Autograd's gradient at the hand-written parameters, and how far rounding alone can move each entry.

        The floor is the larger of that of autograd's gradient and that of its difference to the hand-written one.
        """
        reference = self._third()
        values = dict(named(self.params))

        def run(jitter: Jitter) -> dict[str, Tensor]:
            moved = nested(self.params, {path: jitter(tensor) for path, tensor in values.items()})
            batch = Part(jitter(part.x), jitter(part.y))
            copy_(reference, moved)
            _, theirs = self._autograd_of(reference, batch)
            theirs = {path: gradient.clone() for path, gradient in theirs.items()}
            _, ours = self._manual_at(moved, batch)
            both = {path: ours[path] - theirs[path] for path in theirs if _comparable(ours.get(path), theirs[path])}
            return theirs | {f"difference {path}": difference for path, difference in both.items()}

        found = measure(run)
        floors = {
            path: torch.maximum(found.floors[path], found.floors.get(f"difference {path}", found.floors[path]))
            for path in self.paths
        }
        return Measured({path: found.values[path] for path in self.paths}, floors)

    def update(self, gradients: Gradients) -> None:
        """One step of gradient descent on both sides; the twin's gradient is in its `.grad`."""
        mbp.sgd_step_(self.params, gradients, self.lr)
        self.update_twin()

    def update_twin(self) -> None:
        """The twin's part of that step."""
        torch_ref.sgd_step_(self.twin.module, self.lr)

    def predict(self, part: Part, rows: slice) -> tuple[Tensor, Tensor]:
        """z[L] of both networks for some rows."""
        with torch.no_grad():
            return self.net.forward(self.params, part.x[rows])[0], self.twin.module(part.x[rows])

    def same_weights(self) -> bool:
        """Whether both networks' parameters are equal in every bit."""
        values = dict(named(self.params))
        return all(torch.equal(values[path], p) for path, p in self.twin.parameters.items())

    def weights(self, run: str) -> dict[str, Tensor]:
        """The trained parameters of the run "manual" or "autograd", by path."""
        if run == "autograd":
            return {path: p.detach() for path, p in self.twin.parameters.items()}
        values = dict(named(self.params))
        return {path: values[path] for path in self.paths}

    def state(self) -> dict[str, Tensor]:
        """A copy of all parameters of both networks."""
        ours = {f"manual {path}": tensor.clone() for path, tensor in named(self.params)}
        return ours | {f"autograd {path}": p.detach().clone() for path, p in self.twin.parameters.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to a copy that `state` made."""
        for path, tensor in named(self.params):
            tensor.copy_(state[f"manual {path}"])
        for path, p in self.twin.parameters.items():
            p.data.copy_(state[f"autograd {path}"])

    def _autograd_of(self, twin: Twin, part: Part) -> tuple[Tensor, Gradients]:
        weights: Iterable[Tensor] = [twin.parameters[path] for path in self.net.weights] if self.l2 else []
        with torch.enable_grad():
            total, J = torch_ref.cost(twin.module, self.loss_module, part.x, part.y, weights, self.l2)
            torch_ref.backward(twin.module, total)
        return J.detach(), {
            path: torch.zeros_like(p) if p.grad is None else p.grad for path, p in twin.parameters.items()
        }

    def _third(self) -> Twin:
        if self._reference is None:
            self._reference = self._another()
        return self._reference

    def _another(self) -> Twin:
        if self.given_twin is None:
            with same_randomness():  # torch.nn draws weights, only for them to be overwritten
                return build(self.net, self.params)
        first = next((tensor for _, tensor in named(self.params)), None)
        module = copy.deepcopy(self.given_twin)
        if first is not None:
            module = module.to(device=first.device, dtype=first.dtype)
        return adopt(module, self.net, self.params)


def _loss_twin(loss: mbp.Loss, stock: bool) -> tuple[nn.Module, bool]:
    try:
        return loss_module(loss, stock=stock), False
    except ValueError:  # a cost of the user's own
        return LossThroughForward(loss), True


def _comparable(ours: Tensor | None, theirs: Tensor) -> bool:
    return ours is not None and ours.shape == theirs.shape
