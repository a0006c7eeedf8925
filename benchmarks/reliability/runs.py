"""Small runs in forked processes: torch is imported once, so that hundreds of them can be killed."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from compare.run.checkpoint import checkpoint_steps
from compare.run.config import TrainConfig
from compare.run.data import Data
from compare.run.resume import resume_watched
from compare.run.train import execute
from compare.run.watcher import Calling

STATUS = 77  # of a child whose Python code raised


def data(rows: int = 60) -> Data:
    """Random samples of three classes."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=g, dtype=torch.float64)
    y = (x @ torch.randn(4, 3, generator=g, dtype=torch.float64)).argmax(1)
    m = 3 * rows // 4
    return Data("small", "classes", x[:m], y[:m], x[m:], y[m:], tuple("abcd"), ("0", "1", "2"), "y", None, "generated")


def options(runs: Path, name: str, **changed: object) -> TrainConfig:
    """A run of 72 steps in 6 epochs, with a checkpoint after every third."""
    usual = {"epochs": 6, "batch_size": 4, "hidden": (6,), "l2": 1e-3, "checkpoint_every": 3, "threads": 1}
    return TrainConfig(**(usual | {"runs": str(runs), "name": name} | changed))  # type: ignore[arg-type]


def train(config: TrainConfig) -> int:
    return execute(config, Calling(None), data=data()).exit_status


def go_on(runs: Path, name: str) -> int:
    return resume_watched(name, Calling(None), runs=runs, data=data()).exit_status


def forked(what: Callable[[], int]) -> int:
    """The process id of a copy of this process that does `what` and ends with the status that it returns."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = what()
    except BaseException:
        traceback.print_exc()
        status = STATUS
    os._exit(status)


def ended(pid: int) -> int:
    """The exit status of a forked copy, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run comes to: its record of truth, and all that its last checkpoint holds."""
    step = checkpoint_steps(folder)[0]
    files = {"metrics.jsonl": folder / "metrics.jsonl", "text.jsonl": folder / "text.jsonl"}
    files["parameters, generators, histories"] = folder / "checkpoints" / f"{step:012d}.safetensors"
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
