"""Every system call of a save failing in turn, and the process killed before and after each."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import ended, fingerprint, forked, go_on, options, train
from compare.run import checkpoint, durable
from compare.run.checkpoint import Checkpoint, checkpoint_steps, load_checkpoint, save_checkpoint

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "listdir")
KINDS = ("ENOSPC", "EIO", "short", "killed before", "killed after")


class Faulty:
    """The module `os`, one of whose calls goes wrong: the `fail`-th of `CALLS`, counted from 0."""

    def __init__(self, fail: int, kind: str) -> None:
        self.fail, self.kind, self.calls = fail, kind, 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name not in CALLS:
            return call

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return call(*args, **kwargs) if self.calls - 1 != self.fail else self._fails(name, call, *args, **kwargs)

        return counted

    def _fails(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.kind == "killed before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "killed after":
            call(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "short" and name == "write":  # half of it is written, and the rest never can be
            call(args[0], args[1][: len(args[1]) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if name == "close":  # the descriptor is gone all the same
            call(*args)
        code = errno.EIO if self.kind == "EIO" else errno.ENOSPC
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def faulty(fail: int, kind: str) -> Iterator[Faulty]:
    patched = Faulty(fail, kind)
    durable.os = checkpoint.os = patched  # type: ignore[assignment, attr-defined]
    try:
        yield patched
    finally:
        durable.os = checkpoint.os = os  # type: ignore[attr-defined]


def measure(count: int) -> Outcome:
    """Every call of one save, in every kind of failure; then of a whole run's saves, every `count`-th part of them."""
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    tried = held = 0
    with faulty(-1, "") as counting:
        saved(root / "count", 3)
    for kind in KINDS:
        for fail in range(counting.calls):
            folder = root / f"{kind} {fail}"
            save_checkpoint(_made(folder), state(1), keep=2)
            if kind.startswith("killed"):
                status = ended(forked(lambda: _saved_with(folder, fail, kind)))  # noqa: B023 - waited for at once
                failed = status == -signal.SIGKILL
            else:
                with faulty(fail, kind):
                    failed = _raises(folder)
            tried += 1
            held += _previous_loads(folder) and (failed or checkpoint_steps(folder)[0] == 2)
            save_checkpoint(folder, state(3), keep=2)  # and a later save works
            names = os.listdir(folder / "checkpoints")
            held -= not (intact(folder, 3) and len(names) == 4)
    runs, same = _whole_runs(root, counting.calls, count)
    shutil.rmtree(root)
    reached = (
        f"{held}/{tried} failures of the {counting.calls} calls of three saves left the old or a whole new one; "
        f"{same}/{runs} runs with a failing or killed save came to the same bytes"
    )
    return Outcome(tried + runs, reached, held == tried and same == runs)


def _whole_runs(root: Path, calls: int, count: int) -> tuple[int, int]:
    """Runs in which one call of some save goes wrong."""
    whole = options(root, "whole")
    assert ended(forked(lambda: train(whole))) == 0
    expected = fingerprint(root / "whole")
    same = 0
    fails = [(calls * 24 * number // count, KINDS[number % len(KINDS)]) for number in range(count)]
    for fail, kind in fails:
        name = f"run {fail} {kind}"
        config = options(root, name)

        def spoilt(fail: int = fail, kind: str = kind, config: Any = config) -> int:
            import warnings

            with faulty(fail, kind), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return train(config)

        status = ended(forked(spoilt))
        if status == -signal.SIGKILL:
            status = ended(forked(lambda: go_on(root, name)))  # noqa: B023 - waited for at once
        found = fingerprint(root / name) if checkpoint_steps(root / name) else {}
        same += status in (0, 3) and found == expected
    return len(fails), same


def state(step: int) -> Checkpoint:
    return Checkpoint(step, {"W": torch.full((40, 5), float(step))}, {"epoch": step})


def saved(folder: Path, steps: int) -> None:
    for step in range(1, steps + 1):  # the third removes the first
        save_checkpoint(_made(folder), state(step), keep=2)


def intact(folder: Path, step: int) -> bool:
    found = load_checkpoint(folder, step)
    return torch.equal(found.tensors["W"], state(step).tensors["W"]) and found.state == state(step).state


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _raises(folder: Path) -> bool:
    try:
        save_checkpoint(folder, state(2), keep=2)
    except OSError:
        return True
    return False


def _saved_with(folder: Path, fail: int, kind: str) -> int:
    with faulty(fail, kind):
        save_checkpoint(folder, state(2), keep=2)
    return 0


def _previous_loads(folder: Path) -> bool:
    damaged: list[str] = []
    newest = next(checkpoint.intact_checkpoints(folder, damaged), None)
    return newest is not None and newest.step in (1, 2) and intact(folder, newest.step) and intact(folder, 1)
