"""One point of the grid in a process of its own: python -m benchmarks.engine_point '{"widths": [3, 3, 1], ...}'.

All contestants take the same steps from the same weights; those whose weights are not equal after them (to a relative
1e-3: float32 in other orders) are not timed, and the result says so. Then they run in turns, a span of steps each,
round after round, so that a change of the machine's speed hits all; each waits until the threads of the one before
sleep, and takes steps that are not counted where they are short. Prints JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks.engine_limits import limit
from benchmarks.engine_peers import Problem, contestants, problem

EQUAL = 1e-3
CHECKED = 64  # steps before the comparison of weights, at most
SPAN = 0.05  # seconds that a contestant gets a round, at least one step
PAUSE = 0.01  # seconds after which threads that wait for more work sleep


def main(options: dict[str, Any]) -> dict[str, Any]:
    if options["device"] == "cpu" and hasattr(os, "sched_setaffinity"):
        # JAX takes every core that it sees, whatever XLA_FLAGS says: nobody sees more than the threads asked for
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options["threads"]])
    torch.set_num_threads(options["threads"])
    widths, batch = tuple(options["widths"]), options["batch"]
    device = options["device"]
    p = problem(widths, batch, options["steps"], device)
    built, failed, first = build(p, tuple(options["compile_modes"]), options.get("only"))
    notes = {name: each.note for name, each in built.items() if getattr(each, "note", "")}
    spans = {name: span(p, each) for name, each in built.items()}
    times: dict[str, list[float]] = {name: [] for name in built}
    busy: dict[str, list[float]] = {name: [] for name in built}
    names = list(built)
    for round_ in range(options["rounds"]):
        random.Random(round_).shuffle(names)
        for name in names:
            steps, calls = spans[name]
            time.sleep(PAUSE)
            if calls > 1:
                built[name].run(steps)
            wall, cpu = seconds(p, built[name], steps, calls)
            times[name].append(1e6 * wall / (steps * calls))
            busy[name].append(1e6 * cpu / (steps * calls))
    return {
        "widths": widths,
        "batch": batch,
        "threads": options["threads"],
        "device": device,
        "rounds": options["rounds"],
        "wall": times,  # microseconds a step, one number a round
        "cpu": busy,  # the same of the process's time on its CPUs: on one thread, what a busy machine leaves alone
        "steps_a_round": {name: steps * calls for name, (steps, calls) in spans.items()},
        "first_step_seconds": first,
        "failed": failed,
        "notes": notes,
        "limit": limit(p) if options["limit"] else None,
    }


def build(
    p: Problem, modes: tuple[str, ...], only: list[str] | None
) -> tuple[dict[str, Any], dict[str, str], dict[str, float]]:
    """The contestants that end at the same weights, those that do not or cannot be built, and first-step latencies."""
    built: dict[str, Any] = {}
    failed: dict[str, str] = {}
    first: dict[str, float] = {}
    expected: list[np.ndarray] = []
    steps = min(p.steps, CHECKED)
    for name, make in contestants(p, compile_modes=modes).items():
        if only and not any(word in name for word in only):
            continue
        try:
            start = time.perf_counter()
            each = make()
            each.run(1)
            wait(p)
            first[name] = time.perf_counter() - start
            each = make()  # again from the start, now that its code is compiled
            each.run(steps)
        except Exception as error:  # a peer that does not run here is no result, and no end of the others
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            continue
        weights = [np.array(W, dtype=np.float64) for W in each.weights()]
        expected = expected or weights
        worst = max(float(abs(W - E).max() / abs(E).max()) for W, E in zip(weights, expected, strict=True))
        if worst < EQUAL:
            built[name] = each
        else:
            failed[name] = f"weights differ by {worst:.1e} after {steps} steps"
    return built, failed, first


def span(p: Problem, each: Any) -> tuple[int, int]:
    """Steps of a call, and calls, that take about SPAN seconds; JAX's scan is compiled for that many steps here."""
    steps = min(p.steps, 4)
    for _ in range(2):  # the first few steps tell how many to time, those tell how many fill a span
        each.run(steps)
        once = seconds(p, each, steps, 1)[0] / steps
        steps = max(1, min(p.steps, int(SPAN / max(once, 1e-9))))
    each.run(steps)
    return steps, max(1, round(SPAN / (once * steps)))


def seconds(p: Problem, each: Any, steps: int, calls: int) -> tuple[float, float]:
    """By the clock on the wall, and by that of the process."""
    wait(p)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        each.run(steps)
    wait(p)
    return time.perf_counter() - wall, time.process_time() - cpu


def wait(p: Problem) -> None:
    if p.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
