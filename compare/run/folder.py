"""The folders of runs: which names they may have, how one is made by one process only, found and removed."""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import shutil
import time
from datetime import datetime
from pathlib import Path

from compare.run.durable import sync_folder
from compare.run.jsonl import GrowingFile
from compare.run.refusal import listed, place, refusal, shown

RUNS = ("manual", "autograd", "gap")  # the folders of TensorBoard's event files in a run's folder
METRICS = "metrics.jsonl"
LOGS = (METRICS, "timing.jsonl", "text.jsonl")
PREPARED = ".prepared"  # how the name of a hidden folder ends
STALE = 60.0  # seconds after which a hidden folder that nobody writes was left by a crash
BUSY = "another process is writing this run"
LONGEST_NAME = 100


def hidden_folder(root: Path) -> Path:
    """Make a folder in `root` where a run can be prepared, out of sight. What a crash left of others is removed.

    Raises `ValueError` where `root` cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f".*{PREPARED}"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > STALE and not is_busy(left):
                    shutil.rmtree(left)
        path = root / f".{os.getpid()}-{secrets.token_hex(4)}{PREPARED}"
        path.mkdir()
    except OSError as error:
        raise unwritable(root, error) from None
    return path


def publish(prepared: Path, name: str | None, data_name: str, *, overwrite: bool) -> Path:
    """Give a prepared run its name, in one step: a run's folder is there whole or not at all, and one process gets it.

    Without a name it is one of the data's name and the local time. `overwrite` removes the run of that name first, and
    nothing that is not a run. Raises `ValueError` for a name that is taken.
    """
    root = prepared.parent
    stem = _dated(data_name) if name is None else name
    path, count = root / stem, 1
    try:
        if overwrite and name is not None and os.path.lexists(path):
            _remove_run(path)
        while not _renamed(prepared, path):
            if name is not None:
                raise _taken(root, name)
            count += 1
            path = root / f"{stem}-{count}"
    except OSError as error:
        raise unwritable(root, error) from None
    return path


def _renamed(prepared: Path, path: Path) -> bool:
    """Whether `prepared` is now called `path`; False where there is something of that name."""
    if os.path.lexists(path):  # a rename would replace an empty folder
        return False
    try:
        prepared.rename(path)
    except OSError:
        if os.path.lexists(path):  # another process was faster
            return False
        raise
    with contextlib.suppress(OSError):  # the run is there; that its name outlives a power cut is not worth refusing it
        sync_folder(path.parent)
    return True


def is_run(path: Path) -> bool:
    """Whether `path` is a run's folder: it and what makes it one are there, and none is a symbolic link."""
    folders = (path, *(path / run for run in RUNS))
    metrics = path / METRICS
    return all(f.is_dir() and not f.is_symlink() for f in folders) and metrics.is_file() and not metrics.is_symlink()


def is_busy(path: Path) -> bool:
    """Whether a process is writing the run in the folder `path`."""
    try:
        metrics = GrowingFile(path / METRICS)
    except OSError:
        return False
    try:
        return not metrics.lock()
    finally:
        metrics.close()


def refuse_taken(root: Path, name: str | None, *, overwrite: bool) -> None:
    """Raises `ValueError` for a name that is no plain file name, or is taken: before any data is read."""
    if name is None:
        return
    _check_name(name)
    path = root / name
    if os.path.lexists(path) and (not overwrite or not is_run(path) or is_busy(path)):
        raise _taken(root, name)


def refuse_busy(run: str, runs: Path) -> None:
    """Raises `ValueError` where there is no such run (see `find_run`), or a process is writing it."""
    folder = find_run(run, runs)
    if is_busy(folder):
        raise busy(folder)


def find_run(run: str, runs: Path) -> Path:
    """The folder of `run`: a name in the folder `runs`, or a path to one.

    Raises `ValueError` that lists the names most like it where there is none.
    """
    for path in (runs / run, Path(run)):
        if "\0" not in run and is_run(path):
            return path
    names = run_names(runs)
    if not names:
        raise no_runs(runs)
    near = difflib.get_close_matches(run, names, n=5, cutoff=0.5)
    remedy = f"did you mean {listed(near)}?" if near else f"there are {listed(names)}"
    raise refusal(place(runs), f"no run {shown(run, LONGEST_NAME)} there", remedy)


def run_names(runs: Path) -> list[str]:
    """The names of the runs in the folder `runs`, sorted; none where there is no such folder."""
    try:
        return sorted(path.name for path in runs.iterdir() if path.name[0] != "." and is_run(path))
    except OSError:
        return []


def no_runs(runs: Path) -> ValueError:
    """The error where the folder `runs` holds no run at all."""
    return refusal(place(runs), "no runs there", "make one with `manualbp train`, or name their folder with --runs")


def busy(path: Path) -> ValueError:
    """The error where a run has a writer already."""
    return refusal(place(path), BUSY, "wait for it to end, or train under another --name")


def unwritable(path: Path, error: OSError) -> ValueError:
    """The error where a run's folder or a file in it cannot be made."""
    reason = error.strerror or str(error)
    return refusal(place(path), f"no run can be written there ({reason})", "choose another folder or free the disk")


def _check_name(name: str) -> None:
    plain = name.isprintable() and not set(name) & set("/\\") and name == name.strip()
    if not (0 < len(name) <= LONGEST_NAME and plain and name[0] not in ".-"):
        raise ValueError(
            f"--name must be a plain name of 1 to {LONGEST_NAME} characters (no / or \\, no control character, no dot "
            f"or dash in front, no space at an end), got {shown(name)}"
        )


def _dated(data_name: str) -> str:
    """A name after the data and the local time: `breast-cancer-2026-11-23-083012`."""
    data = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(data_name).name).strip("-.")[:60] or "run"
    return f"{data}-{datetime.now():%Y-%m-%d-%H%M%S}"


def _remove_run(path: Path) -> None:
    """Remove the run at `path`; what is no run, or is being written, is refused."""
    if not is_run(path):
        raise refusal(place(path), "is not the folder of a run", "choose another --name; --overwrite removes runs only")
    metrics = GrowingFile(path / METRICS)
    try:
        if not metrics.lock():
            raise busy(path)
        # moved away first: of two processes that overwrite at once, only one can move it
        away = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}{PREPARED}")
        path.rename(away)
        shutil.rmtree(away)  # what a symbolic link in it points to stays
    finally:
        metrics.close()


def _taken(root: Path, name: str | None) -> ValueError:
    if name is None or not os.path.lexists(root / name):
        return refusal(place(root), "is not a folder", "choose another folder for the runs")
    if not is_run(root / name):
        return refusal(place(root / name), "exists and is not the folder of a run", "choose another --name")
    if is_busy(root / name):
        return busy(root / name)
    remedy = f"go on with it (manualbp resume {name}), replace it with --overwrite, or choose another --name"
    return refusal(place(root / name), "this run exists already", remedy)
