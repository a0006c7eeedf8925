"""A disk that fills up while a run trains: training goes on, and what was whole on the disk stays whole."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import warnings
from pathlib import Path

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import ended, forked, go_on, options, train
from compare.run.checkpoint import CHECKPOINTS, checkpoint_steps, load_checkpoint
from compare.run.record import read_metrics

START = 2500  # bytes; below them a run does not start, which is another test's


def measure(count: int) -> Outcome:
    """`count` runs under a limit on the size of each file, and as many on a small tmpfs where that is allowed."""
    root = Path(tempfile.mkdtemp(prefix="disks-"))
    full = train(options(root, "whole"))
    assert full == 0
    wanted = _parameters(root / "whole")
    held = sum(_limited(root, number, count, wanted) for number in range(count))
    tried, mounted = count, 0
    for number in range(count):
        found = _on_a_small_disk(root, number, count, wanted)
        if found is None:
            break
        mounted += 1
        held += found
    shutil.rmtree(root)
    where = f"{count} under a limit on file sizes, {mounted} on a full tmpfs" + (
        "" if mounted else " (not allowed here)"
    )
    tried += mounted
    reached = (
        f"{held}/{tried} trained on to the right parameters, with one warning and status 3, and went on later ({where})"
    )
    return Outcome(tried, reached, held == tried)


def _limited(root: Path, number: int, count: int, wanted: str) -> bool:
    """Files may not grow past a size that lies between a whole folder's first and last ones."""
    name = f"limit {number}"
    last = max(path.stat().st_size for path in (root / "whole" / CHECKPOINTS).iterdir())
    most = START + (last - START) * number // count

    def run() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        return _with_one_warning(root, name)

    return ended(forked(run)) == 3 and _goes_on(root, name, wanted)


def _on_a_small_disk(root: Path, number: int, count: int, wanted: str) -> bool | None:
    """None where file systems may not be mounted."""
    disk = root / f"disk {number}"
    disk.mkdir()
    size = 60 + 40 * number // max(count - 1, 1)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    try:
        status = ended(forked(lambda: _with_one_warning(disk, "run")))
        shutil.copytree(disk / "run", root / f"full {number}")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return status == 3 and _goes_on(root, f"full {number}", wanted)


def _with_one_warning(root: Path, name: str) -> int:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        status = train(options(root, name))
    return status if len(seen) == 1 else 100 + len(seen)


def _goes_on(root: Path, name: str, wanted: str) -> bool:
    """Whether what is there is whole, and the run can be continued to the same parameters once there is room."""
    metrics = read_metrics(root / name)
    if metrics.damaged or not checkpoint_steps(root / name):
        return not metrics.damaged  # too little room for the first: there is nothing to go on from
    load_checkpoint(root / name, checkpoint_steps(root / name)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = ended(forked(lambda: go_on(root, name)))
    # 0 where all that was lost came after the checkpoint, and has been logged again
    return status in (0, 3) and _parameters(root / name) == wanted


def _parameters(folder: Path) -> str:
    checkpoint = load_checkpoint(folder, checkpoint_steps(folder)[0])
    names = sorted(name for name in checkpoint.tensors if name.startswith("parameter "))
    return repr([(name, checkpoint.tensors[name].tolist()) for name in names])


if os.name == "nt":
    raise SystemExit("resource limits need a Unix")
