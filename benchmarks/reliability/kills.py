"""kill -9 at random moments of a run, also inside the writing of a checkpoint, then `resume`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import ended, fingerprint, forked, go_on, options, train
from compare.run.checkpoint import CHECKPOINTS, checkpoint_steps
from compare.run.folder import is_run

ENGINES: tuple[dict[str, object], ...] = ({"engine": "reference"}, {"engine": "fused", "check": "epoch"})  # in turn


def measure(count: int) -> Outcome:
    """`count` runs, each killed once; the moments are spread over the time that a whole run takes."""
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    expected, seconds = [], []
    for engine in ENGINES:
        whole = options(root, "whole", **engine, overwrite=True)
        train(whole)  # imports what is imported late
        start = time.monotonic()
        assert ended(forked(lambda whole=whole: train(whole))) == 0  # type: ignore[misc]
        seconds.append(time.monotonic() - start)
        expected.append(fingerprint(root / "whole"))
    draw = random.Random(0)
    same = killed = inside = anew = 0
    for number in range(count):
        turn = number % len(ENGINES)
        config = options(root, f"r{number}", **ENGINES[turn])
        folder = root / f"r{number}"
        pid = forked(lambda config=config: train(config))  # type: ignore[misc]
        time.sleep(draw.uniform(0, seconds[turn]))
        os.kill(pid, signal.SIGKILL)
        killed += ended(pid) == -signal.SIGKILL
        inside += half_written(folder)
        if is_run(folder) and checkpoint_steps(folder):
            status = ended(forked(lambda: go_on(root, f"r{number}")))  # noqa: B023 - waited for at once
        else:  # before the first checkpoint: there is nothing to go on from, and the command says so
            anew += 1
            again = options(root, f"r{number}", **ENGINES[turn], overwrite=True)
            status = ended(forked(lambda again=again: train(again)))  # type: ignore[misc]
        same += status == 0 and fingerprint(folder) == expected[turn]
        shutil.rmtree(folder)
    shutil.rmtree(root)
    reached = (
        f"{same}/{count} identical by hash ({killed} killed before their end, {inside} of them with a checkpoint half "
        f"written; {anew} before the first checkpoint, and trained anew; engines reference and fused in turn)"
    )
    return Outcome(count, reached, same == count)


def half_written(folder: Path) -> bool:
    """Whether a crash has left a file under its temporary name, or tensors without their JSON."""
    if not (folder / CHECKPOINTS).is_dir():
        return False
    names = os.listdir(folder / CHECKPOINTS)
    tensors = {name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")}
    described = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    return any(name.endswith(".new") for name in names) or bool(tensors - described)
