"""The least time that a step can take on this machine: its matrix products alone at the best rate measured, or the
bytes that it has to move over the measured bandwidth, whichever is longer."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.engine_peers import Problem

SECONDS = 0.15  # for each way of each product
BANDWIDTH_BYTES = 2**27  # beyond every cache


def limit(p: Problem) -> dict[str, Any]:
    """`products` and `bytes` in microseconds, the way that was the fastest for each product, and their flops."""
    found: dict[str, float] = {}
    fastest: dict[str, str] = {}
    flops = 0
    m = p.batch
    for l, (n, units) in enumerate(itertools.pairwise(p.widths), start=2):
        kinds = {"z": (m, n, units), "dW": (units, m, n)} | ({"da": (m, units, n)} if l > 2 else {})
        for kind, (rows, inner, columns) in kinds.items():
            flops += 2 * rows * inner * columns
            key = f"{kind}[{l}] {rows}x{inner}x{columns}"
            found[key], fastest[key] = best(kind, rows, inner, columns, p)
    moved = 4 * (m * p.widths[0] + 2 * sum(W.size for W in p.weights))  # x once; weights read and written
    return {
        "products": 1e6 * sum(found.values()),
        "bytes": 1e6 * moved / bandwidth(p) if moved > 2**25 else 0.0,  # less stays in the caches
        "flops": flops,
        "each": {key: 1e6 * value for key, value in found.items()},
        "fastest": fastest,
    }


def best(kind: str, rows: int, inner: int, columns: int, p: Problem) -> tuple[float, str]:
    """Seconds of the fastest way to this product, in the layout that its operands have in a step."""
    a, b = p.x.new_ones(rows, inner), p.x.new_ones(inner, columns)
    if kind == "z":
        b = p.x.new_ones(columns, inner).t()
    if kind == "dW":
        a = p.x.new_ones(inner, rows).t()
    out = p.x.new_zeros(rows, columns)
    seconds = {name: timed(way, p) for name, way in ways(a, b, out).items()}
    name = min(seconds, key=lambda each: seconds[each])
    return seconds[name], name


def ways(a: Tensor, b: Tensor, out: Tensor) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {"torch.mm": lambda: torch.mm(a, b, out=out)}
    if a.device.type == "cpu":
        from manualbp.engines.products import onednn

        A, B, C = a.numpy(), b.numpy(), out.numpy()
        found["numpy"] = lambda: np.matmul(A, B, out=C)
        if onednn(a.device, a.dtype):
            linear = torch.ops.mkldnn._linear_pointwise
            found["onednn"] = lambda: linear(a, b.t(), None, "none", [], "")
        try:
            from manualbp.engines.compiled.blas import addresses, product
        except ImportError:
            return found
        if b.t().is_contiguous() and a.is_contiguous():
            one, none = A.dtype.type(1), A.dtype.type(0)
            for name, function in addresses(A.dtype).items():
                found[f"{name}, called directly"] = lambda f=function: product(f, B.T, A, C, one, none)
    return found


def timed(way: Callable[[], Any], p: Problem) -> float:
    """The least time of one call; many calls at once where one is short. On one thread, the process's own time."""
    alone = p.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter

    def run(count: int) -> float:
        _wait(p)
        start = clock()
        for _ in range(count):
            way()
        _wait(p)
        return (clock() - start) / count

    run(2)
    once = run(1)
    count = max(1, min(200, int(SECONDS / 5 / max(once, 1e-7))))
    return min(run(count) for _ in range(5))


def bandwidth(p: Problem) -> float:
    """Bytes a second, read and written, of a copy that no cache holds."""
    a = torch.ones(BANDWIDTH_BYTES // 4, device=p.device)
    b = torch.empty_like(a)
    return 2 * BANDWIDTH_BYTES / timed(lambda: b.copy_(a), p)


def _wait(p: Problem) -> None:
    if p.device.type == "cuda":
        torch.cuda.synchronize()
