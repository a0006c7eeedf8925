"""What of a compiled step is not its matrix products: the same step, whose products are calls that do nothing.

    python -m benchmarks.engine_parts [--point 784-512-512-10@128] [--threads 2] [--rounds 9]

Beside it the least time of those products alone, one after the other with nothing in between (engine_limits.py). What
is left, if the step takes longer than both together, is what the products lose to operands that the others have
pushed out of the caches, and to threads that wait for each other.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import time
from typing import Any

import torch

from benchmarks.engine_limits import limit
from benchmarks.engine_peers import ByHand, problem
from benchmarks.engine_point import PAUSE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--point", default="784-512-512-10@128")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8, help="of a round")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    widths, _, batch = options.point.partition("@")
    p = problem(tuple(map(int, widths.split("-"))), int(batch), options.steps)
    by_hand = ByHand(p, "compiled")
    engine: Any = by_hand.engine
    nothing = ctypes.cast(ctypes.CDLL(None).htons, ctypes.c_void_p).value  # reads none of what a product is handed

    def step() -> tuple[float, float]:
        """Microseconds of a step: the median of the rounds, and the least."""
        by_hand.run(options.steps)
        taken = []
        for _ in range(options.rounds):
            time.sleep(PAUSE)
            start = time.perf_counter()
            by_hand.run(options.steps)
            taken.append(1e6 * (time.perf_counter() - start) / options.steps)
        return statistics.median(taken), min(taken)

    whole = step()
    product, engine._function = engine._function, nothing
    rest = step()
    engine._function = product
    alone = limit(p)["products"]
    print(f"{options.point}, {options.threads} threads, {engine.product}, us a step, median (least)")
    print(f"  the step              {whole[0]:10,.0f} ({whole[1]:,.0f})")
    print(f"  without its products  {rest[0]:10,.0f} ({rest[1]:,.0f})")
    print(f"  its products alone    {'':10} ({alone:,.0f})")
    print(f"  what is left          {'':10} ({whole[1] - rest[1] - alone:,.0f})")


if __name__ == "__main__":
    main()
