"""A run's state between two steps as a checkpoint, and back: what later steps depend on, and the curves so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compare.run.checkpoint import Checkpoint
from compare.run.curves import Curves
from compare.run.history import History

if TYPE_CHECKING:
    from compare.run.loop import Loop


def freeze(loop: Loop, state: dict[str, Any]) -> Checkpoint:
    """The state of a loop between two steps; `state` is kept with it.

    Parameters and buffers of both networks, generator states, histories, step, epoch, the position in the epoch, and
    what the comparison of the gradients has found so far. In the middle of an epoch, the order's generator is kept as
    it was at the epoch's start: the same order is drawn again.
    """
    gaps, judged = loop.steps.agreement.state()
    tensors = {f"parameter {path}": tensor for path, tensor in loop.pair.state().items()}
    tensors |= {f"gap {name}": tensor for name, tensor in gaps.items()}
    tensors |= {f"generator {name}": tensor for name, tensor in _generators(loop).items()}
    for run, tags in loop.curves.history.items():
        for tag, values in tags.items():
            tensors[f"history {run} {tag}"] = torch.tensor(values, dtype=torch.float64)
    tensors["epochs"] = torch.tensor(loop.curves.epochs, dtype=torch.int64)
    return Checkpoint(
        loop.done,
        tensors,
        {
            **state,
            "epoch": loop.epoch,
            "position": loop.position,
            "watch": loop.watch.state(),
            "seconds": loop.seconds,
            "tags": {run: list(tags) for run, tags in loop.curves.history.items()},
            "agreement": judged,
        },
    )


def thaw(loop: Loop, checkpoint: Checkpoint) -> None:
    """Put a new loop of the same run into the state of a checkpoint; torch's own random state too.

    Raises `KeyError`, `TypeError`, `ValueError` or `RuntimeError` where the checkpoint is not one of such a run.
    """
    tensors, state = checkpoint.tensors, checkpoint.state
    here = loop.training.x.device
    parameters = _under("parameter ", tensors)
    for path, like in loop.pair.state().items():
        if parameters[path].shape != like.shape or parameters[path].dtype != like.dtype:
            raise ValueError(f"parameter {path} has another shape or dtype")
    loop.pair.restore({path: tensor.to(here) for path, tensor in parameters.items()})
    gaps = {name: tensor.to(here) for name, tensor in _under("gap ", tensors).items()}
    loop.steps.agreement.restore(gaps, state["agreement"])
    history: History = {"manual": {}, "autograd": {}, "gap": {}}
    for name, values in _under("history ", tensors).items():
        run, _, tag = name.partition(" ")
        history[run][tag] = values.tolist()
    # the order of a line's tags is that of their first point, which safetensors does not keep
    ordered = {run: {tag: history[run][tag] for tag in state["tags"][run]} for run in history}
    loop.curves = Curves(tensors["epochs"].tolist(), ordered)
    loop.epoch, loop.position, loop.done = int(state["epoch"]), int(state["position"]), checkpoint.step
    loop.watch.restore(state.get("watch", {}))  # not in checkpoints of version 0.1.0's first runs
    loop.seconds_before = float(state["seconds"])
    _set_generators(loop, _under("generator ", tensors))


def _under(prefix: str, tensors: Any) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _generators(loop: Loop) -> dict[str, Tensor]:
    """Every generator that a step can draw from: of the order, and torch's own, for layers that draw from those."""
    states = {"order": loop.order_before if loop.position else loop.order.get_state(), "torch": torch.get_rng_state()}
    if loop.training.x.is_cuda:
        states["cuda"] = torch.cuda.get_rng_state(loop.training.x.device)
    return states


def _set_generators(loop: Loop, states: dict[str, Tensor]) -> None:
    loop.order.set_state(states["order"])
    torch.set_rng_state(states["torch"])
    if loop.training.x.is_cuda and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], loop.training.x.device)
