"""A close look at one batch: every delta and gradient of both sides, all at the hand-written weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import manualbp as mbp
import torch_ref
from compare.names import Names, tapped
from compare.run.agreement import Gap
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.tags import is_delta
from manualbp import named

ROWS = 256  # samples of the batch that is looked at


@dataclass(frozen=True)
class CloseUp:
    """dJ/d(quantity) by its name, z2 and W2 and b2 and so on, by hand and by autograd.

    A delta that autograd's side has no place for (a twin that the user gave, of another build) is in `ours` alone.
    """

    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]

    def pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Both sides of each quantity that both have in the same form."""
        return {
            name: (own, self.theirs[name])
            for name, own in self.ours.items()
            if name in self.theirs and _same_form(own, self.theirs[name])
        }

    def gaps(self) -> dict[str, tuple[float, float]]:
        """The largest difference of each quantity, in ulps and relative to the RMS of autograd's."""
        gap, pairs = Gap(), self.pairs()
        for name, (own, expected) in pairs.items():
            if not torch.equal(own, expected):
                gap.include(name, (own - expected).abs(), expected)
        return gap.each(pairs)


def spacing(values: Tensor) -> Tensor:
    """The distance of each value to the next larger one in size: one ulp."""
    magnitude = values.abs()
    return torch.nextafter(magnitude, torch.full_like(magnitude, torch.inf)) - magnitude


def close_up(pair: Pair, names: Names, part: Part) -> CloseUp:
    """Run both backwards on the first rows of `part`; neither run is changed."""
    part = Part(part.x[:ROWS], part.y[:ROWS])
    return CloseUp(_by_hand(pair, names, part), _by_autograd(pair, names, part))


def _by_hand(pair: Pair, names: Names, part: Part) -> dict[str, Tensor]:
    deltas: dict[str, mbp.Value] = {}
    net = tapped(pair.net, {}, deltas)
    with torch.no_grad():
        z, cache = net.forward(pair.params, part.x)
        _, loss_cache = pair.loss.forward(z, part.y)
        _, grads = net.backward(pair.params, cache, pair.loss.backward(loss_cache))
        mbp.l2.add_gradient_(pair.net, grads, pair.params, pair.l2)
    found = {name: delta for path, name in names.outputs.items() if isinstance(delta := deltas.get(path), Tensor)}
    found |= {names.parameters[path]: gradient for path, gradient in named(grads) if path in names.parameters}
    return {name: gradient for name, gradient in found.items() if is_delta(name) or name not in names.outputs.values()}


def _by_autograd(pair: Pair, names: Names, part: Part) -> dict[str, Tensor]:
    twin = pair.twin_at_manual()
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad:
                outputs[name] = output

        return hook

    hooks = [
        module.register_forward_hook(keep(names.outputs[path]))
        for path, module in twin.leaves.items()
        if is_delta(names.outputs[path])
    ]
    try:
        with torch.enable_grad():
            weights = [twin.parameters[path] for path in pair.net.weights] if pair.l2 else []
            total, _ = torch_ref.cost(twin.module, pair.loss_module, part.x, part.y, weights, pair.l2)
    finally:
        for each in hooks:
            each.remove()
    wanted = outputs | {names.parameters[path]: p for path, p in twin.parameters.items()}
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(wanted.items(), found, strict=True)
    }


def _same_form(own: Tensor, expected: Tensor) -> bool:
    return own.shape == expected.shape and own.dtype == expected.dtype
