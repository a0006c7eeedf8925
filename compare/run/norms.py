"""The Euclidean norms of each layer's gradient and parameters."""

from __future__ import annotations

import math

import torch

from compare.names import Names
from compare.run.finite import layer_of
from compare.run.pair import Gradients

Both = tuple[Gradients, Gradients]  # by hand, by autograd


class Norms:
    """Takes them of both networks, as tags such as `gradient norm/layer 2`."""

    def __init__(self, names: Names) -> None:
        layers = {path: layer_of(name) for path, name in names.parameters.items()}
        self._tags = {kind: {path: f"{kind}/{layer}" for path, layer in layers.items()} for kind in KINDS}

    def __call__(self, gradients: Both, weights: Both) -> tuple[dict[str, float], dict[str, float]]:
        """The norms by hand and by autograd."""
        ours, theirs = ((gradients[i], weights[i]) for i in (0, 1))
        by_hand = self._of(*ours)
        return by_hand, dict(by_hand) if all(map(_equal, ours, theirs)) else self._of(*theirs)

    @torch.no_grad()
    def _of(self, *both: Gradients) -> dict[str, float]:
        places = [(kind, path) for kind, of in zip(KINDS, both, strict=True) for path in of]
        norms = torch._foreach_norm([t for of in both for t in of.values()], 2, torch.float64) if places else ()
        sizes = torch.stack(norms).tolist() if norms and norms[0].is_cuda else [norm.item() for norm in norms]
        tags: dict[str, float] = {}
        for (kind, path), size in zip(places, sizes, strict=True):
            tag = self._tags[kind].get(path, f"{kind}/{path}")
            tags[tag] = math.hypot(tags.get(tag, 0.0), size)
        return tags


KINDS = ("gradient norm", "weight norm")


def _equal(ours: Gradients, theirs: Gradients) -> bool:
    """Whether the norms are the same because the tensors are: sooner known than computed, but on a device."""
    return ours.keys() == theirs.keys() and all(
        not own.is_cuda and torch.equal(own, theirs[path]) for path, own in ours.items()
    )
