"""Which engine is the fastest here, by which matrix product, on how many threads: told by a short measurement.

Exploits that there is no need to guess: a few whole steps of each say it, in turns, those clearly behind left out from
then on. They are taken on a network of the same shape and made-up numbers, a smaller one where that is large. One step
comes first, so that compiling, and what libraries set up when they are first called, is not counted.

(Not on the run's own network at a rate of 0: a BLAS leaves out a product whose factor is 0.)
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from manualbp.engines.engine import Engine
from manualbp.engines.fused import Fused
from manualbp.engines.graph import Graph
from manualbp.engines.plan import Stage, stages
from manualbp.engines.products import Matmul, onednn
from manualbp.engines.reference import Reference
from manualbp.init import Xavier
from manualbp.layer import Layer, Params
from manualbp.linear import Linear
from manualbp.loss import Loss
from manualbp.sequential import Sequential

EngineName = Literal["reference", "fused", "compiled", "graph"]

NO_NUMBA = "the compiled engine needs numba ({}); pip install 'manualbp[fast]', or use fused"
SECONDS, ROUNDS = 0.02, 5  # a span of steps takes about this long
BEHIND, FAR_BEHIND = 1.15, 2.0  # times the fastest: no further round; after the first, which may be disturbed
ENOUGH = 2.0  # seconds, after which no other round begins
LARGEST_STEPS = 4096
RATE = 1e-3
WEIGHTS, LARGEST = 2**20, 512  # more weights than this are not copied for a trial: fewer units and samples are
VALUES = 2**20  # of x
LARGE = 2**24  # multiplications below which oneDNN is not worth a measurement

Candidate = tuple[EngineName, str]  # and its product


@dataclass(frozen=True)
class Choice:
    """An engine, and why it was taken."""

    engine: Engine
    why: str


@dataclass(frozen=True)
class Trial:
    """What is measured on."""

    net: Sequential
    widths: tuple[int, ...]
    params: Params
    x: Tensor
    y: Tensor
    size: int
    told: str


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
    """The engine of that name; without a product, by the first that is in reach, on one thread where it is compiled.

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
        raise ValueError(NO_NUMBA.format(error)) from None
    return Compiled(net, loss, product=product)


def auto(
    net: Layer,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    size: int,
    *,
    matmul: Matmul = "ieee",
    names: Sequence[EngineName] = (),
) -> Choice:
    """The fastest engine and product for batches of `size` rows of such data on this device; of `names`, where given.

    `reference` where none of the others can train this network.
    """
    try:
        plan = stages(net, loss)
    except ValueError as error:
        return Choice(Reference(net, loss), str(error))
    size = max(1, min(size, len(x)))
    trial = _trial(plan, loss, x, y, size)
    left, missing = _candidates(trial, x, size, names or (("fused", "graph") if x.is_cuda else ("fused", "compiled")))
    if not left:
        return Choice(Reference(net, loss), missing)
    taken: dict[Candidate, list[float]] = {each: [] for each in left}
    begun = time.perf_counter()
    for round_ in range(ROUNDS if len(left) > 1 else 0):
        for each in left:  # in turns, and built again, so that only one has buffers
            taken[each].append(_seconds_a_step(_built(each, trial.net, loss, x, matmul), trial))
        least = min(_typical(taken[each]) for each in left)
        left = [each for each in left if _typical(taken[each]) < (BEHIND if round_ else FAR_BEHIND) * least]
        if len(left) == 1 or time.perf_counter() - begun > ENOUGH:
            break
    best = min(left, key=lambda each: _typical(taken[each]) if taken[each] else 0.0)
    told = ", ".join(
        f"{name} {product} {1e6 * statistics.median(seconds):.3g} us"
        for (name, product), seconds in taken.items()
        if seconds
    )
    why = f"{' '.join(best)}: a step{trial.told} takes {told}" if told else f"{' '.join(best)}: no other is in reach"
    return Choice(_built(best, net, loss, x, matmul), why + missing)


def _candidates(trial: Trial, x: Tensor, size: int, names: Sequence[EngineName]) -> tuple[list[Candidate], str]:
    """What is to be measured; and what is not in reach, and why."""
    found: list[Candidate] = []
    missing = ""
    multiplications = size * max(a * b for a, b in itertools.pairwise(trial.widths))
    for name in names:
        products = ["torch"]
        if name == "fused" and multiplications >= LARGE and onednn(x.device, x.dtype):
            products.append("onednn")
        if name == "compiled":
            try:
                products = _products(x.dtype, trial.widths, trial.size, multiplications)
            except ImportError as error:
                missing += f"; {NO_NUMBA.format(error)}"
                continue
        found += [(name, product) for product in products]
    return found, missing


def _products(dtype: torch.dtype, widths: Sequence[int], size: int, multiplications: int) -> list[str]:
    """Those of the compiled engine that are in reach and worth a measurement."""
    from manualbp.engines.compiled.blas import ALONE, addresses
    from manualbp.engines.compiled.engine import LOOPS
    from manualbp.engines.compiled.layout import stochastic

    if stochastic(widths, size) or multiplications < LOOPS:
        return ["loops"]
    several = torch.get_num_threads() > 1
    names = addresses(torch.empty(0, dtype=dtype).numpy().dtype)
    found = [name for name in names if several or not name.endswith(ALONE)] or ["loops"]
    return sorted(found, key=lambda name: not name.endswith(ALONE))  # threads of torch may wait, spinning, at first


def _built(candidate: Candidate, net: Layer, loss: Loss, x: Tensor, matmul: Matmul) -> Engine:
    name, product = candidate
    return build(name, net, loss, device=x.device, dtype=x.dtype, product=product, matmul=matmul)


def _trial(plan: tuple[Stage, ...], loss: Loss, x: Tensor, y: Tensor, size: int) -> Trial:
    """A network like this one, on made-up numbers, so that no number of the run's is touched."""
    g = torch.Generator().manual_seed(0)
    widths = [plan[0].linear.n_in, *(stage.linear.n_out for stage in plan)]
    cut = x.device.type == "cpu" and sum(a * b for a, b in itertools.pairwise(widths)) > WEIGHTS
    told = ""
    if cut:
        widths, size = [min(width, LARGEST) for width in widths], min(size, LARGEST)
        told = f" of {size} samples and at most {LARGEST} units a layer"
    layers: list[Layer] = []
    for (n_in, n_out), stage in zip(itertools.pairwise(widths), plan, strict=True):
        layers += [Linear(n_in, n_out, Xavier(), bias=stage.linear.bias), stage.activation]
    net = Sequential(layers)
    params = net.init(g, dtype=x.dtype, device=x.device)
    rows = size if cut else max(size, min(len(x), VALUES // widths[0]))
    made_up = torch.rand(rows, widths[0], generator=g).to(x)
    targets = torch.rand(rows, widths[-1], generator=g).to(x)
    if not y.is_floating_point():
        targets = targets.argmax(1)
    return Trial(net, tuple(widths), params, made_up, targets, size, told)


def _seconds_a_step(engine: Engine, trial: Trial) -> float:
    """Of a short span of steps, after one that finds what is set up at first."""
    x, rows = trial.x, torch.arange(len(trial.x), device=trial.x.device)

    def run(steps: int) -> float:
        order = rows.repeat(-(-steps * trial.size // len(x)))[: steps * trial.size]
        _wait(x)
        start = time.perf_counter()
        engine.train(trial.params, x, trial.y, order, trial.size, lr=RATE, l2=RATE)
        _wait(x)
        return (time.perf_counter() - start) / steps

    run(1)
    once = min(run(1), run(2))
    steps = min(LARGEST_STEPS, int(SECONDS / max(once, 1e-9)))
    return min(run(steps), run(steps)) if steps > 2 else once  # the first while threads of others may still spin


def _typical(seconds: list[float]) -> float:
    return statistics.median(seconds)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
