"""Derivations that attack: in the child of `manualbp check`. What they get, how soon, and what is left of them."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.reliability.outcome import Outcome
from compare.check.remote import CannotRun, check_file
from compare.isolate import Child, Failure, Limits
from tests import attacks, false_passes

MIB = 2**20
SERVICE = "tests.child_service:Runner"
SLACK = 2.0  # seconds past its limit at which an attack must be over


def measure(count: int) -> Outcome:
    """`count` at most of the attacks of tests/attacks.py on the child, and of tests/false_passes.py on the verdict."""
    root = Path(tempfile.mkdtemp(prefix="attacks-"))
    names = [*attacks.ENDED, *attacks.ANSWERED][:count]
    held = left = 0
    slowest = 0.0
    for number, name in enumerate(names):
        folder = root / str(number)
        folder.mkdir()
        late, as_expected = _on_the_child(folder, name)
        slowest = max(slowest, late)
        ended, alive = as_expected and late < SLACK, _left(folder)
        held, left = held + ended, left + alive
        if alive or not ended:
            print(f"{name}: {late:.2f} s late, told as it is: {as_expected}, {alive} processes left", file=sys.stderr)
    false = 0
    forged = list(false_passes.ATTACKS.items())[:count]
    for number, (name, source) in enumerate(forged):
        file = root / f"hw{number}.py"
        file.write_text(source)
        start = time.monotonic()
        try:
            passed = check_file(file, "", seconds=0.01, timeout=false_passes.SECONDS, threads=1).ok
        except CannotRun:
            passed = False
        late = time.monotonic() - start - false_passes.SECONDS
        slowest = max(slowest, late)
        false += passed
        held += late < SLACK
        assert name
    shutil.rmtree(root, ignore_errors=True)
    tried = len(names) + len(forged)
    reached = (
        f"{held}/{tried} attacks ended within their limit + {SLACK:g} s (the latest {max(slowest, 0):.2f} s after it), "
        f"{left} processes left; {false}/{len(forged)} false passes"
    )
    return Outcome(tried, reached, held == tried and not left and not false)


def _on_the_child(folder: Path, name: str) -> tuple[float, bool]:
    """Seconds past the limit, and whether it was told for what it is."""
    path = folder / "hw.py"
    shutil.copy(attacks.__file__, path)
    kind = attacks.ENDED[name][1] if name in attacks.ENDED else ""
    seconds = 1.0 if kind == "timeout" else 8.0
    memory = (800 if kind else 1500) * MIB
    start = time.monotonic()
    with Child(SERVICE, Limits(seconds=seconds, memory=memory, output=4096, processes=12), threads=1) as child:
        start = time.monotonic()
        try:
            child.call("run", [str(path), name], seconds=seconds)
            found = ""
        except Failure as failure:
            found = failure.kind
    return time.monotonic() - start - seconds, found == kind


def _left(folder: Path) -> int:
    """Processes of an attack that outlived it."""
    pids = folder / "pids"
    return sum(not _is_gone(int(pid)) for pid in (pids.read_text().split() if pids.exists() else ()))


def _is_gone(pid: int) -> bool:
    """Whether a process has ended soon; one that only waits for its parent to ask how has."""
    deadline = time.monotonic() + SLACK
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            return True
        time.sleep(0.02)
    return False
