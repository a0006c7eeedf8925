"""Which engine is the fastest here: told by a short measurement, on a copy of the parameters.

Exploits that there is no need to guess: a few steps of each say it. One step comes first, so that compiling, and what
libraries set up when they are first called, is not counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from manualbp.engines.engine import Engine
from manualbp.engines.fused import Fused
from manualbp.engines.graph import Graph
from manualbp.engines.plan import stages
from manualbp.engines.products import Matmul
from manualbp.engines.reference import Reference
from manualbp.layer import Layer, Params
from manualbp.loss import Loss

EngineName = Literal["reference", "fused", "compiled", "graph"]

SECONDS = 0.05  # a measurement takes about this long
ROUNDS = 3
LARGEST_STEPS = 4096


@dataclass(frozen=True)
class Choice:
    """An engine, and why it was taken."""

    engine: Engine
    why: str


def build(
    name: EngineName,
    net: Layer,
    loss: Loss,
    *,
    device: torch.device,
    dtype: torch.dtype,
    product: str = "auto",
    matmul: Matmul = "ieee",
) -> Engine:
    """The engine of that name.

    Raises ValueError, with what to do instead, where it cannot train this network, on this device, or is not installed.
    """
    if name == "reference":
        return Reference(net, loss)
    if name == "compiled":
        if device.type != "cpu":
            raise ValueError(f"the compiled engine runs on the CPU, not on {device}; use fused or graph")
        stages(net, loss)
        return _compiled(net, loss, product)
    if name == "graph":
        if device.type != "cuda":
            raise ValueError(f"the graph engine needs CUDA, not {device}; use fused or compiled")
        return Graph(net, loss, device=device, dtype=dtype, matmul=matmul)
    if name == "fused":
        return Fused(net, loss, device=device, dtype=dtype, product=product, matmul=matmul)
    raise ValueError(f"no engine {name!r}; choose one of {', '.join(get_args(EngineName))}")


def _compiled(net: Layer, loss: Loss, product: str) -> Engine:
    try:
        from manualbp.engines.compiled.engine import Compiled
    except ImportError as error:
        raise ValueError(
            f"the compiled engine needs numba ({error}); pip install 'manualbp[fast]', or use fused"
        ) from None
    return Compiled(net, loss, product=product)


def auto(
    net: Layer,
    loss: Loss,
    params: Params,
    x: Tensor,
    y: Tensor,
    size: int,
    *,
    matmul: Matmul = "ieee",
) -> Choice:
    """The fastest engine for batches of `size` rows of x on its device; `params` stay as they are.

    `reference` where none of the others can train this network.
    """
    try:
        stages(net, loss)
    except ValueError as error:
        return Choice(Reference(net, loss), str(error))
    names: tuple[EngineName, ...] = ("fused", "graph") if x.is_cuda else ("fused", "compiled")
    engines: list[Engine] = []
    missing = ""
    for name in names:
        try:
            engines.append(build(name, net, loss, device=x.device, dtype=x.dtype, matmul=matmul))
        except ValueError as error:
            missing = f"; {error}"
    seconds = [_seconds_a_step(engine, params, x, y, size) for engine in engines]
    best = min(range(len(engines)), key=lambda i: seconds[i])
    told = ", ".join(f"{engine.name} {1e6 * s:.3g} us" for engine, s in zip(engines, seconds, strict=True))
    return Choice(engines[best], f"{engines[best].name}: a step takes {told}{missing}")


def _seconds_a_step(engine: Engine, params: Params, x: Tensor, y: Tensor, size: int) -> float:
    """The least of a few short spans of steps, with lr 0 so that nothing can diverge."""
    params = _copied(params)
    rows = torch.arange(len(x), device=x.device)

    def run(steps: int) -> float:
        order = rows[torch.arange(steps * size, device=x.device) % len(x)]
        _wait(x)
        start = time.perf_counter()
        engine.train(params, x, y, order, size, lr=0.0, l2=0.0)
        _wait(x)
        return (time.perf_counter() - start) / steps

    run(1)
    once = run(1)
    steps = max(1, min(LARGEST_STEPS, int(SECONDS / ROUNDS / max(once, 1e-9))))
    return min(run(steps) for _ in range(ROUNDS))


def _copied(params: Params) -> Params:
    if isinstance(params, Tensor):
        return params.clone()
    if isinstance(params, dict):
        return {name: _copied(entry) for name, entry in params.items()}
    return tuple(_copied(entry) for entry in params)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
