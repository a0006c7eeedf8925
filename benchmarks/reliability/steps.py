"""Very many small steps, with logging and checkpoints: memory and files do not grow with them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import psutil

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import data, options
from compare.run.history import EpochReport
from compare.run.train import execute
from compare.run.watcher import Calling

EPOCHS = 100  # evaluations, each with its lines in the logs


def measure(count: int) -> Outcome:
    """`count` steps of one sample each, gradients compared at every one of them; 100 evaluations, 200 checkpoints."""
    root = Path(tempfile.mkdtemp(prefix="steps-"))
    samples = data(max(4 * count // EPOCHS // 3, 12))
    m = len(samples.x_train)
    config = options(
        root,
        "long",
        update="stochastic",
        batch_size=None,
        epochs=count // m,
        hidden=(2,),
        lr=0.01,
        checkpoint_every=max(1, count // (2 * EPOCHS)),
    )
    process, resident, files = psutil.Process(), [], []

    def seen(report: EpochReport) -> None:
        resident.append(process.memory_info().rss)
        files.append(sum(1 for _ in (root / "long").rglob("*")))

    result = execute(config, Calling(seen), data=samples)
    late = np.array(resident[len(resident) // 5 :], dtype=float) / 2**20  # caches fill at first
    steps = np.linspace(0.0, 1.0, len(late))
    slope, start = np.polyfit(steps, late, 1)
    noise = float(np.std(late - (slope * steps + start)))
    size = sum(path.stat().st_size for path in (root / "long").rglob("*") if path.is_file()) / 2**10
    ok = result.exit_status == 0 and abs(slope) < max(3 * noise, 2.0) and max(files[1:]) - min(files[1:]) <= 3
    shutil.rmtree(root)
    reached = (
        f"{result.steps:,} steps: memory {late[0]:.0f} MiB early, {late[-1]:.0f} late (slope {slope:+.1f} MiB "
        f"over the last four fifths, scatter {noise:.1f}); {max(files)} files at most, {size:,.0f} KiB at the end"
    )
    return Outcome(result.steps, reached, ok)
