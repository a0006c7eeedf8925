"""What all that TensorBoard shows costs of a run: default runs with it and without it, in processor time.

python -m benchmarks.cost_of_logging [--runs 24] [--data breast-cancer] [--command]

Without it, there are no event files: no curve, picture, histogram, text or hyper-parameter; no norm is computed, no gap
is told by parameter or delta, nobody looks closely. What remains are the losses, the gap of all gradients and the lines
of metrics.jsonl, timing.jsonl and text.jsonl. Runs with and without take turns. The figure is the ratio of the fastest
run of each: what else a machine does makes a run slower, and never faster. `--command` counts what a user waits for:
each run in an interpreter of its own, with the time that it takes to load torch, the data and TensorBoard's messages.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from unittest import mock

import torch

from compare.run import record, scores
from compare.run.config import TrainConfig
from compare.run.norms import Norms
from compare.run.train import train
from compare.run.watch import Watch


class NoFile:
    """In an event file's place."""

    def __init__(self, *arguments: object) -> None:
        pass

    def ignore(self, *arguments: object, **options: object) -> None:
        """Do nothing."""

    scalars = text = summary = close = ignore


def seconds(config: TrainConfig, *, watched: bool) -> float:
    start = time.process_time()
    with contextlib.ExitStack() as patched:
        if not watched:
            silent = {name: lambda *a, **k: None for name in ("started", "mismatched", "ended")}
            tags = {name: lambda *a: {} for name in ("gap_tags", "overfitting_tags", "update_tags")}
            patched.enter_context(mock.patch.multiple(Watch, evaluated=lambda *a: {}, **silent))
            patched.enter_context(mock.patch.object(record, "EventFile", NoFile))
            patched.enter_context(mock.patch.multiple(scores, **tags))
            patched.enter_context(mock.patch.object(Norms, "__call__", return_value=({}, {})))
        train(config)
    return time.process_time() - start


def in_an_interpreter(config: TrainConfig, *, watched: bool) -> float:
    """The processor time of a run in an interpreter of its own, from its start to its end."""
    call = f"seconds(TrainConfig(data={config.data!r}, runs={config.runs!r}, name='run', overwrite=True, threads=1)"
    code = f"from benchmarks.cost_of_logging import *\n{call}, watched={watched})"
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--data", default="breast-cancer")
    parser.add_argument("--command", action="store_true", help="count the start of an interpreter too")
    options = parser.parse_args()
    measured = in_an_interpreter if options.command else seconds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(data=options.data, runs=folder, name="run", overwrite=True, threads=1)
        for watched in (True, False):  # imports, fonts and tables
            measured(config, watched=watched)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.runs):
            for watched in (True, False):
                times[watched].append(measured(config, watched=watched))
    ratios = [a / b for a, b in zip(times[True], times[False], strict=True)]
    fastest = {watched: min(each) for watched, each in times.items()}
    print(
        f"{options.data}, {config.epochs} epochs: {1e3 * fastest[True]:.0f} ms with, {1e3 * fastest[False]:.0f} ms "
        f"without, the fastest of {options.runs} each: ratio {fastest[True] / fastest[False]:.3f} "
        f"(median of the pairs' ratios {statistics.median(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
