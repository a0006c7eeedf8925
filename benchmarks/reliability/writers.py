"""Two processes on one run: the second is refused, the first unharmed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import ended, fingerprint, forked, go_on, options, train
from compare.run.folder import is_run
from compare.run.rebuild import rebuild

WITHIN = 1.0  # seconds
EPOCHS = 24  # so that the first still goes on when the second gives up waiting for its lock


def measure(count: int) -> Outcome:
    """`count` times a run, and while it goes on: `train`, `train --overwrite`, `resume` and `board --rebuild` of it."""
    root = Path(tempfile.mkdtemp(prefix="writers-"))
    train(options(root, "whole", epochs=EPOCHS))
    expected = fingerprint(root / "whole")
    refused = unharmed = 0
    slowest = 0.0
    for number in range(count):
        name = f"r{number}"
        first = forked(lambda: train(options(root, name, epochs=EPOCHS)))  # noqa: B023 - waited for in this round
        while not is_run(root / name):
            time.sleep(0.001)
        start = time.monotonic()
        second = forked(lambda: _second(root, name, number % 4))  # noqa: B023 - waited for at once
        refused += ended(second) == 2
        slowest = max(slowest, time.monotonic() - start)
        unharmed += ended(first) == 0 and fingerprint(root / name) == expected
        shutil.rmtree(root / name)
    shutil.rmtree(root)
    reached = f"{refused}/{count} refused, the slowest after {slowest:.2f} s; the first unharmed in {unharmed}/{count}"
    return Outcome(count, reached, refused == unharmed == count and slowest < WITHIN)


def _second(root: Path, name: str, way: int) -> int:
    """2 where the second process is refused in one line that says why."""
    try:
        if way == 2:
            go_on(root, name)
        elif way == 3:
            rebuild(name, root)
        else:
            train(options(root, name, overwrite=way == 1))
    except ValueError as error:
        return 2 if "another process is writing this run" in str(error) and str(error).isprintable() else 1
    os._exit(0)
