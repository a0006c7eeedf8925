"""Peak memory of a few steps at 784-2048-2048-10, batch 512, and time to 95 % on MNIST's digits.

python -m benchmarks.engine_memory [--mnist FOLDER]

Memory: what torch's allocator holds at most while a contestant is built, engines try products out and are chosen, and
three steps are taken, weights counted, data not. Engines' buffers are all torch's, so that nothing is left out but
what libraries keep for themselves; the resident set is blurred by those and by the kernel.

MNIST: FOLDER holds t10k-images-idx3-ubyte.gz and its labels; 8,000 digits to train on,
784-128-10, batch 32, one order; time of training alone, until 95 % of the other 2,000 are right.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

DEFAULT = "torch eager, SGD as it is by default"
WIDTHS, BATCH = (784, 2048, 2048, 10), 512
NAMES = (
    "manualbp auto",
    "manualbp fused",
    "manualbp reference",
    DEFAULT,
    "torch eager, foreach",
    "torch eager, fused",
)
EPOCHS, GOAL = 60, 0.95


def memory(name: str) -> float:
    """MiB that torch's allocator holds at most while the contestant is built and takes three steps."""
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.engine_peers import Eager, contestants, problem

    p = problem(WIDTHS, BATCH, 3)
    make = (contestants(p, compile_modes=()) | {DEFAULT: lambda: Eager(p)})[name]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        make().run(3)
    live = most = 0
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most / 2**20


def digits(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255
    return torch.from_numpy(x), torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))


def mnist(name: str, folder: Path) -> tuple[float, int, float]:
    """Seconds of training, epochs, and the share of digits that are right then."""
    from benchmarks import engine_peers
    from benchmarks.engine_peers import contestants, problem

    engine_peers.LR = 0.5
    x, y = digits(folder)
    p = problem((784, 128, 10), 32, 250)
    p = dataclasses.replace(p, x=x[:8000], y=y[:8000])
    contestants(p, compile_modes=())[name]().run(250)  # what is compiled is compiled
    each: Any = contestants(p, compile_modes=())[name]()
    taken = 0.0
    epochs = 0
    right = 0.0
    while right < GOAL and epochs < EPOCHS:
        epochs += 1
        start = time.perf_counter()
        each.run(250)
        taken += time.perf_counter() - start
        right = float((forward(each, x[8000:]).argmax(1) == y[8000:]).float().mean())
    return taken, epochs, right


def forward(each: Any, x: torch.Tensor) -> torch.Tensor:
    (W2, W3), (b2, b3) = ([torch.from_numpy(np.array(v)) for v in values] for values in (each.weights(), each.biases()))
    return torch.sigmoid(x @ W2.T + b2) @ W3.T + b3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path)
    options = parser.parse_args()
    from benchmarks.engines import RESULTS, child, machine, versions

    lines = [f"{machine('cpu')['cpu']}, one thread; " + ", ".join(f"{k} {v}" for k, v in versions().items()), ""]

    def tell(line: str) -> None:
        print(line, flush=True)
        lines.append(f"- {line}")

    for name in NAMES:
        found = child({"threads": 1, "name": name}, "benchmarks.engine_memory")
        tell(f"peak memory, {name}: " + ("failed" if found is None else f"{found:.1f} MiB"))
    for name in (*NAMES, "scikit-learn", "jax scan") if options.mnist else ():
        if name == DEFAULT:
            continue  # there for its memory alone
        found = child({"threads": 1, "name": name, "mnist": str(options.mnist)}, "benchmarks.engine_memory")
        if found is not None:
            tell(f"MNIST, {name}: {found[0]:.2f} s, {found[1]} epochs, {found[2]:.4f}")
    if options.mnist:
        about = "`python -m benchmarks.engine_memory --mnist FOLDER` makes this page."
        page = "\n".join(["# Peak memory, and time to 95 % on MNIST", "", about, "", *lines, ""])
        (RESULTS / "engine-memory.md").write_text(page)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        asked = json.loads(sys.argv[1])
        torch.set_num_threads(asked["threads"])
        folder = asked.get("mnist")
        print(json.dumps(mnist(asked["name"], Path(folder)) if folder else memory(asked["name"])))
    else:
        main()
