"""How a step's time grows with width, depth and batch, and a run's with its epochs: python -m benchmarks.engine_growth.

The engine that `auto` takes beside JAX's scan and torch eager, in turns (engine_point.py), on one thread; for epochs,
the time from nothing: building, compiling (cached code of earlier runs is used) and then so many epochs. Writes
benchmarks/results/engine-growth.json, .md and .png. About five minutes; points that are there are kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.engine_tables import number
from benchmarks.engines import RESULTS, child, machine, versions

NAMES = ("manualbp auto", "jax scan", "torch eager, foreach")
SERIES: dict[str, list[tuple[int, tuple[int, ...], int, int]]] = {  # what grows, widths, batch, steps
    "width": [(w, (784, w, 10), 64, 20) for w in (16, 64, 256, 1024)],
    "depth": [(d, (64, *(64,) * d, 10), 32, 200) for d in (1, 2, 4, 8)],
    "batch": [(m, (784, 128, 10), m, max(4, 2000 // m)) for m in (1, 8, 64, 512)],
}
EPOCHS, STEPS = (1, 10, 100), 50  # of 784-128-10 at batch 64


def epochs(name: str) -> list[float]:
    """Seconds from nothing to the end of each number of epochs."""
    import torch

    from benchmarks.engine_peers import contestants, problem

    torch.set_num_threads(1)
    make = contestants(problem((784, 128, 10), 64, STEPS), compile_modes=())[name]
    start, taken = time.perf_counter(), []
    each = make()
    for epoch in range(1, max(EPOCHS) + 1):
        each.run(STEPS)
        if epoch in EPOCHS:
            taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    options = parser.parse_args()
    path = RESULTS / "engine-growth.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() and not options.fresh else {"points": {}}
    found |= {"machine": machine("cpu"), "versions": versions()}

    def keep(key: str, values: dict[str, float] | None) -> None:
        if values:
            found["points"][key] = values
            path.write_text(json.dumps(found, indent=1) + "\n")

    for what, points in SERIES.items():
        for size, widths, batch, steps in points:
            if f"{what} {size}" not in found["points"]:
                asked = {
                    "widths": widths, "batch": batch, "steps": steps, "rounds": 5, "threads": 1, "device": "cpu",
                    "compile_modes": [], "limit": False, "only": NAMES,
                }  # fmt: skip
                done = child(asked)
                keep(f"{what} {size}", done and {name: statistics.median(v) for name, v in done["wall"].items()})
    for name in NAMES:
        missing = [count for count in EPOCHS if name not in found["points"].get(f"epochs {count}", {})]
        taken = child({"threads": 1, "name": name}, "benchmarks.engine_growth") if missing else None
        for count, seconds in zip(EPOCHS, taken or [], strict=False):
            keep(f"epochs {count}", found["points"].get(f"epochs {count}", {}) | {name: 1e6 * seconds})
    text = table(found)
    path.with_suffix(".md").write_text(text)
    figure(found, path.with_suffix(".png"))
    print(text)


def table(found: dict[str, Any]) -> str:
    """A line a point: microseconds of each."""
    lines = [
        "# Growth",
        "",
        f"{found['machine']['cpu']}, one thread; " + ", ".join(f"{k} {v}" for k, v in found["versions"].items()),
        "",
        "Microseconds a step (medians): 784-W-10 at 64, 64-64-..-10 at 32, 784-128-10 at a batch; and those from",
        f"nothing to the end of so many epochs of {STEPS} steps of 784-128-10 at 64.",
        "`python -m benchmarks.engine_growth` makes this page.",
        "",
        f"| | {' | '.join(NAMES)} |",
        "|---|---|---|---|",
    ]
    for key, values in found["points"].items():
        cells = (number(values[name]) if name in values else "" for name in NAMES)
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(found: dict[str, Any], path: Path) -> None:
    """A panel for each thing that grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    kinds = [*SERIES, "epochs"]
    drawing, panels = plt.subplots(1, len(kinds), figsize=(13, 3.6), layout="constrained")
    for kind, axes in zip(kinds, panels, strict=True):
        points = {int(k.split()[1]): v for k, v in found["points"].items() if k.startswith(kind)}
        for name, mark in zip(NAMES, ("o-", "x--", "+:"), strict=True):
            xs = [size for size in sorted(points) if name in points[size]]
            axes.loglog(xs, [points[size][name] for size in xs], mark, label=name)
        axes.set_xlabel(kind)
    panels[0].set_ylabel("us a step")
    panels[-1].set_ylabel("us in all")
    panels[0].legend(fontsize=7)
    drawing.savefig(path, dpi=120)
    plt.close(drawing)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(epochs(json.loads(sys.argv[1])["name"])))
    else:
        main()
