"""Which engine is the fastest here: told by a short measurement.

Exploits that there is no need to guess: a few steps of each say it, and with a rate of 0 they change nothing. One step
comes first, so that compiling, and what libraries set up when they are first called, is not counted.
"""

from __future__ import annotations

import statistics
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

SECONDS, ROUNDS = 0.01, 5  # a span of steps takes about this long
ENOUGH = 2.0  # seconds, after which no other round begins
LARGEST_STEPS = 4096
SAFE = 1e30  # far from what float32 holds


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
    if not _bounded(params, x, y):
        params = _copied(params)
    taken: dict[EngineName, list[float]] = {}
    known: dict[EngineName, str] = {}
    missing = ""
    begun = time.perf_counter()
    for _ in range(ROUNDS):
        for name in names:  # in turns, and built again, so that only one has buffers
            try:
                engine = build(
                    name, net, loss, device=x.device, dtype=x.dtype, product=known.get(name, "auto"), matmul=matmul
                )
            except ValueError as error:
                missing = f"; {error}"
                continue
            taken.setdefault(name, []).append(_seconds_a_step(engine, params, x, y, size, warm=name not in known))
            known[name] = engine.product
            del engine
        if time.perf_counter() - begun > ENOUGH:
            break
    each = {name: statistics.median(seconds) for name, seconds in taken.items()}
    best = min(each, key=lambda name: each[name])
    told = ", ".join(f"{name} {1e6 * seconds:.3g} us" for name, seconds in each.items())
    engine = build(best, net, loss, device=x.device, dtype=x.dtype, product=known[best], matmul=matmul)
    return Choice(engine, f"{best}: a step takes {told}{missing}")


def _seconds_a_step(engine: Engine, params: Params, x: Tensor, y: Tensor, size: int, *, warm: bool) -> float:
    """Of a short span of steps, with lr 0 so that the parameters stay as they are."""
    rows = torch.arange(len(x), device=x.device)

    def run(steps: int) -> float:
        order = rows[torch.arange(steps * size, device=x.device) % len(x)]
        _wait(x)
        start = time.perf_counter()
        engine.train(params, x, y, order, size, lr=0.0, l2=0.0)
        _wait(x)
        return (time.perf_counter() - start) / steps

    if warm:
        run(1)
    once = run(1)
    steps = min(LARGEST_STEPS, int(SECONDS / max(once, 1e-9)))
    return run(steps) if steps > 1 else once


def _bounded(params: Params, x: Tensor, y: Tensor) -> bool:
    """Whether no number of a step can overflow, so that W - 0 dJ/dW is W and no copy of W is needed.

    |z[l]| <= n max|W| max|a| + max|b|, and activations have |f(z)| <= 1 + 2 |z| and |f'(z)| <= 2, but for
    slopes that are given; SAFE leaves room for those.
    """
    largest = _largest(x)
    passed = 1.0 + (_largest(y) if y.is_floating_point() else 1.0)
    for own in params:
        if own:
            W = _largest(own["W"])
            z = own["W"].shape[1] * W * largest + (_largest(own["b"]) if "b" in own else 0.0)
            largest = 1.0 + 2.0 * z
            passed *= 1.0 + 2.0 * len(own["W"]) * W
    return len(x) * largest * largest * passed < SAFE  # NaN is not less


def _largest(tensor: Tensor) -> float:
    low, high = tensor.aminmax() if tensor.numel() else (tensor.new_zeros(()), tensor.new_zeros(()))
    return max(abs(float(low)), abs(float(high)))


def _copied(params: Params) -> Params:
    if isinstance(params, Tensor):
        return params.clone()
    if isinstance(params, dict):
        return {name: _copied(entry) for name, entry in params.items()}
    return tuple(_copied(entry) for entry in params)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
