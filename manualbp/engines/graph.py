"""The engine `graph`: whole steps of `fused`, captured once as CUDA graphs and launched again and again.

Exploits that a step of a hand-made derivation is the same list of kernels each time: a graph launches them all with
one call, where Python would launch a dozen, each for longer than a small kernel runs. For small networks one graph
holds several steps. A graph reads fixed addresses, so that its rows, lr and l2 are part of it: rows are copied into
a buffer that the graph reads, and for other parameters, data, sizes or rates there is another graph.

Off CUDA the same steps run without being captured, which is how this file is tested where no GPU is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from manualbp.engines.fused import Fused
from manualbp.engines.plan import require_batches, weights_of
from manualbp.engines.products import Matmul, tensor_float_32
from manualbp.layer import Grads, Layer, Params
from manualbp.loss import Loss

STEPS = 32  # of a graph for a small network
SMALL = 2**22  # multiplications of a step up to which a graph holds several
WARM_UP = 2  # steps before capture: libraries allocate their workspaces then


class Replayed(Protocol):
    """A captured list of kernels."""

    def replay(self) -> None:
        """Launch it."""


class Uncaptured:
    """Off CUDA: the steps, run again each time."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.replay = run


def captured(run: Callable[[], None]) -> Replayed:
    """`run` as a CUDA graph. It is not executed by this."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    found: Replayed = graph
    return found


class Graph:
    """Trains by launching graphs of steps; what does not fill one, and the last smaller batch, is left to `fused`."""

    name = "graph"

    def __init__(
        self, net: Layer, loss: Loss, *, device: torch.device, dtype: torch.dtype, matmul: Matmul = "ieee"
    ) -> None:
        """Raises ValueError for a network that is no plan (see plan.py)."""
        self.fused = Fused(net, loss, device=device, dtype=dtype, product="torch", matmul=matmul)
        self.device = device
        self._kept: tuple[tuple[Any, ...], Replayed, Tensor, Tensor] | None = None

    @property
    def product(self) -> str:
        """Torch's."""
        return self.fused.product

    def gradients(self, params: Params, x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, Grads]:
        """Those of `fused`: the kernels are the same."""
        return self.fused.gradients(params, x, y, l2=l2)

    @torch.no_grad()
    def train(self, params: Params, x: Tensor, y: Tensor, order: Tensor, size: int, *, lr: float, l2: float) -> Tensor:
        """One step for each `size` rows of `order`."""
        require_batches(self.fused.plan, params, x, y)
        order = order.to(x.device)
        per_graph = self.steps_of_a_graph(size)
        rows = per_graph * size
        launches = len(order) // rows
        if not launches:
            return self.fused.train(params, x, y, order, size, lr=lr, l2=l2)
        graph, read, written = self._graph(params, x, y, size, per_graph, lr, l2)
        losses = [torch.empty(0, dtype=x.dtype, device=x.device)]
        for launch in range(launches):
            read.copy_(order[launch * rows : (launch + 1) * rows])
            graph.replay()
            losses.append(written.clone())
        losses.append(self.fused.train(params, x, y, order[launches * rows :], size, lr=lr, l2=l2))
        return torch.cat(losses)

    def steps_of_a_graph(self, size: int) -> int:
        """Several where a step is short."""
        multiplications = 3 * size * sum(stage.linear.n_in * stage.linear.n_out for stage in self.fused.plan)
        return STEPS if multiplications <= SMALL else 1

    def _graph(
        self, params: Params, x: Tensor, y: Tensor, size: int, steps: int, lr: float, l2: float
    ) -> tuple[Replayed, Tensor, Tensor]:
        """The graph of these steps, the rows that it reads and the losses that it writes."""
        weights = weights_of(self.fused.plan, params)
        places = [t.data_ptr() for W, b in weights for t in (W, b) if t is not None]
        key = (*places, x.data_ptr(), y.data_ptr(), len(x), x.dtype, size, steps, lr, l2)
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1:]
        read = torch.zeros(size * steps, dtype=torch.int64, device=x.device)
        written = torch.zeros(steps, dtype=x.dtype, device=x.device)
        buffers = self.fused.buffers(x, size)
        factors = (-lr, 1 - lr * l2, 1.0)

        def run(count: int = steps) -> None:
            with tensor_float_32(self.fused.matmul == "tf32"):
                for step in range(count):
                    rows = read[step * size : (step + 1) * size]
                    written[step] = self.fused.step(weights, weights, x, y, rows, buffers, factors)

        graph = Uncaptured(run) if x.device.type != "cuda" else self._capture(run, weights, steps)
        self._kept = (key, graph, read, written)
        return graph, read, written

    def _capture(self, run: Callable[..., None], weights: list[tuple[Tensor, Tensor | None]], steps: int) -> Replayed:
        """Warm up on a stream of its own, put the weights back, and capture."""
        kept = [t.clone() for pair in weights for t in pair if t is not None]
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            run(min(WARM_UP, steps))
        torch.cuda.current_stream(self.device).wait_stream(stream)
        for tensor, value in zip([t for pair in weights for t in pair if t is not None], kept, strict=True):
            tensor.copy_(value)
        return captured(run)
