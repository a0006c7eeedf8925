"""Which engine a run trains the hand-written network with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from compare.run.config import TrainConfig
from compare.run.network import Part
from compare.run.pair import Pair
from manualbp.engines import Engine, auto, build, stages
from manualbp.params import named

SHORT = 0.5  # seconds: a run estimated to take less is not worth a measurement
CALL, FLOPS = 1e-4, 1e10  # seconds of a reference step's calls, and multiplications a second: rough on purpose


@dataclass(frozen=True)
class Choice:
    """The engine (None: the reference, a step at a time), the config that names it, and a line that says why."""

    engine: Engine | None
    config: TrainConfig
    why: str


def choose(config: TrainConfig, pair: Pair, training: Part) -> Choice:
    """The engine that `config` names; "auto" measures where that is worth it. The config comes back with the choice.

    Engines other than the reference train whole epochs, so that they need `--check epoch` or `--check off`. Raises
    ValueError where the engine asked for cannot train this network here, or checks at steps.
    """
    if config.matmul != "ieee" and not training.x.is_cuda:
        raise ValueError(f"--matmul {config.matmul} is for --device cuda; leave it out on the CPU")
    if config.check not in ("epoch", "off"):
        if config.engine not in ("auto", "reference"):
            raise ValueError(
                f"--engine {config.engine} trains whole epochs, this is --check {config.check}; "
                "use --check epoch or --check off, or --engine reference"
            )
        return _reference(config, "compared at steps")
    if config.engine == "reference":
        return _reference(config, "as asked")
    x, size = training.x, config.batch_size or (1 if config.update == "stochastic" else len(training.x))
    if config.engine in ("fused", "compiled") and config.product == "auto":
        stages(pair.net, pair.loss)
        choice = auto(pair.net, pair.loss, x, training.y, size, matmul=config.matmul, names=(config.engine,))
        if choice.engine.name != config.engine:
            raise ValueError(choice.why.removeprefix("; "))
        return _recorded(config, choice.engine, f"as asked; {choice.why}")
    if config.engine != "auto":
        engine = build(
            config.engine, pair.net, pair.loss, device=x.device, dtype=x.dtype,
            product=config.product, matmul=config.matmul,
        )  # fmt: skip
        engine.gradients(pair.params, x[:size], training.y[:size], l2=0.0)  # finds the product
        return _recorded(config, engine, "as asked")
    try:
        stages(pair.net, pair.loss)
    except ValueError as error:
        return _reference(config, str(error))
    steps = config.epochs * -(-len(x) // size)
    weights = sum(W.numel() for _, W in named(pair.params))
    if config.matmul == "ieee" and steps * (CALL + 3 * size * weights / FLOPS) < SHORT:
        return _reference(config, "the run is too short for a choice to pay")
    choice = auto(pair.net, pair.loss, x, training.y, size, matmul=config.matmul)
    return _recorded(config, choice.engine, choice.why)


def _reference(config: TrainConfig, why: str) -> Choice:
    return Choice(None, dataclasses.replace(config, engine="reference"), why)


def _recorded(config: TrainConfig, engine: Engine, why: str) -> Choice:
    """With engine, product and threads in the config, so that the same again is the same arithmetic."""
    product = engine.product if engine.name in ("fused", "compiled") else config.product
    found: dict[str, Any] = {"engine": engine.name, "product": product}  # names that the config knows
    config = dataclasses.replace(config, threads=config.threads or torch.get_num_threads(), **found)
    return Choice(engine, config, why)
