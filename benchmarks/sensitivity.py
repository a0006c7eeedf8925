"""The smallest relative error that the check catches while the right gradient, computed in another order, passes.

    python benchmarks/sensitivity.py [--large 1000] [--seeds 3]

Per dtype of the tensors given, and size of the gradient: one entry off by this share of the gradient's RMS, all
entries off by this factor, and all entries off by this factor in that dtype alone, where the formula run in float64
sees nothing and only the precision run is left. An error counts as caught if it is caught for every seed (and, for one
entry, at every place tried); "alarms" counts the draws at which the right gradient, in another order, is not passed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from compare.check import check_derivation

CHUNKS = 7
GRID = tuple(m * 10.0**e for e in range(-17, 2) for m in (1, 2, 5))
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
Change = Callable[[Tensor], Tensor]


def forward(x: Tensor, W: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """A layer under random cotangents: dJ/dW = c' x."""
    z = x @ W.T
    return (z * c).sum(), {"z": z}


def caught(change: Change, inputs: dict[str, Tensor], dtype: torch.dtype, *, alone: bool = False) -> bool:
    def backward(x: Tensor, c: Tensor) -> dict[str, Tensor]:
        chunks = [c[k::CHUNKS].T @ x[k::CHUNKS] for k in range(min(CHUNKS, len(x)))]
        W = torch.stack(chunks).sum(0)
        return {"W": W if alone and W.dtype != dtype else change(W)}

    report = check_derivation(forward, backward, inputs, dtype=dtype, seconds=0)
    return not report.ok


def one_entry(size: float, place: tuple[int, int]) -> Change:
    def change(W: Tensor) -> Tensor:
        rms = W.double().square().mean().sqrt()
        off = W.clone()
        off[place] = (off[place].double() + size * rms).to(W.dtype)
        return off

    return change


def every_entry(size: float) -> Change:
    return lambda W: (W.double() * (1 + size)).to(W.dtype)


def smallest(
    changes: Callable[[float], list[Change]], drawn: list[dict[str, Tensor]], dtype: torch.dtype, *, alone: bool = False
) -> float:
    """By bisection over the grid: larger errors are caught if smaller ones are."""
    low, high = 0, len(GRID)
    while low < high:
        middle = (low + high) // 2
        if all(caught(change, inputs, dtype, alone=alone) for change in changes(GRID[middle]) for inputs in drawn):
            high = middle
        else:
            low = middle + 1
    return GRID[low] if low < len(GRID) else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'gradient':>12} {'samples':>7}  {'dtype':9} {'one entry':>10} {'all':>7} {'there alone':>12}  {'alarms':>7}"
    )
    for m, n in ((5, 4), (64, 30), (64, options.large)):
        places = [(0, 0), (n // 2, n // 3), (n - 1, n - 1)][: 3 if n < 100 else 1]
        for dtype in DTYPES:
            drawn = [_drawn(m, n, dtype, seed) for seed in range(options.seeds)]
            alarms = sum(caught(lambda W: W, inputs, dtype) for inputs in drawn)
            one = smallest(lambda size, at=places: [one_entry(size, place) for place in at], drawn, dtype)
            every = smallest(lambda size: [every_entry(size)], drawn, dtype)
            alone = smallest(lambda size: [every_entry(size)], drawn, dtype, alone=True)
            row = (
                f"{n:>5} x {n:<4} {m:>7}  {str(dtype).removeprefix('torch.'):9} {one:10.0e} {every:7.0e} {alone:12.0e}"
            )
            print(f"{row}  {alarms:>2} of {len(drawn)}", flush=True)


def _drawn(m: int, n: int, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (m, n), "W": (n, n), "c": (m, n)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


if __name__ == "__main__":
    main()
