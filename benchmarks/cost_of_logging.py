"""What TensorBoard's pictures, histograms, texts and extra curves cost of a run: default runs with and without them.

python -m benchmarks.cost_of_logging [--runs 12] [--data breast-cancer]

Runs with and without take turns, so that a change of the machine's speed hits both; the figures are medians of CPU
time. "Without" still writes every log that a run needs: the losses, gaps and gradient norms, and the verdict.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from unittest import mock

import torch

from compare.run import loop
from compare.run.config import TrainConfig
from compare.run.train import train
from compare.run.watch import Watch


def seconds(config: TrainConfig, *, watched: bool) -> float:
    start = time.process_time()
    if watched:
        train(config)
    else:
        silent = dict.fromkeys(("started", "evaluated", "mismatched", "ended"), lambda *a, **k: None)
        tags = dict.fromkeys(("gap_tags", "overfitting_tags", "update_tags"), lambda *a: {})
        with mock.patch.multiple(Watch, **silent), mock.patch.multiple(loop, **tags):
            train(config)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--data", default="breast-cancer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(data=options.data, runs=folder, name="run", overwrite=True, threads=1)
        for watched in (True, False):  # imports, fonts and tables
            seconds(config, watched=watched)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.runs):
            for watched in (True, False):
                times[watched].append(seconds(config, watched=watched))
    ratios = [a / b for a, b in zip(times[True], times[False], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{options.data}, 30 epochs: {1e3 * statistics.median(times[True]):.0f} ms with, "
        f"{1e3 * statistics.median(times[False]):.0f} ms without; ratio {middle:.3f} [{low:.3f}-{high:.3f}] "
        f"over {options.runs} pairs"
    )


if __name__ == "__main__":
    main()
