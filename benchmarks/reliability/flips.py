"""Random bit flips and truncations: of checkpoints, of the logs, of TensorBoard's event files."""

from __future__ import annotations

import io
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import options, train
from compare.run.checkpoint import CHECKPOINTS, DamagedError, checkpoint_steps, intact_checkpoints, load_checkpoint
from compare.run.jsonl import decode_line
from compare.run.rebuild import rebuild

TRUNCATIONS = 64


def measure(count: int) -> Outcome:
    """`count` flips of one bit, and 64 truncations, of each of the three."""
    root = Path(tempfile.mkdtemp(prefix="flips-"))
    train(options(root, "run"))
    draw = random.Random(0)
    folder = root / "run"
    checkpoints = _checkpoints(folder, count, draw)
    lines, most = _metrics(folder, count, draw)
    events, rebuilt = _events(root, count, draw)
    shutil.rmtree(root)
    all_of = count + TRUNCATIONS
    cut = max(1, TRUNCATIONS * count // 1000)
    reached = (
        f"checkpoints: {checkpoints}/{count} + {TRUNCATIONS} detected, none loaded, the one before used; metrics: "
        f"{lines}/{all_of} read back with no changed line, {most} lines lost at most; event files: "
        f"{events}/{count + cut} showed no changed point, {rebuilt}/{count + cut} whole again by `board --rebuild`"
    ).replace(f"{checkpoints}/{count} + {TRUNCATIONS}", f"{checkpoints}/{all_of} ({count} + {TRUNCATIONS})")
    ok = checkpoints == lines == all_of and events == rebuilt == count + cut and most <= 2
    return Outcome(3 * all_of, reached, ok)


def damages(content: bytes, flips: int, cuts: int, draw: random.Random) -> list[bytes]:
    """`content` with one bit flipped, and cut short, that many times."""
    found = []
    for _ in range(flips):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        found.append(bytes(changed))
    return found + [content[: draw.randrange(len(content))] for _ in range(cuts)]


def _checkpoints(folder: Path, count: int, draw: random.Random) -> int:
    """Half of the damage goes to the tensors, half to the JSON."""
    newest, before, *_ = checkpoint_steps(folder)
    detected = 0
    for number, suffix in enumerate((".safetensors", ".json")):
        file = folder / CHECKPOINTS / f"{newest:012d}{suffix}"
        good = file.read_bytes()
        parts = [(n + number) // 2 for n in (count, TRUNCATIONS)]
        for bad in damages(good, parts[0], parts[1], draw):
            file.write_bytes(bad)
            try:
                load_checkpoint(folder, newest)
            except DamagedError:
                told: list[str] = []
                used = next(intact_checkpoints(folder, told))
                detected += used.step == before and len(told) == 1
        file.write_bytes(good)
    load_checkpoint(folder, newest)
    return detected


def _metrics(folder: Path, count: int, draw: random.Random) -> tuple[int, int]:
    """How often every line that was read was one that had been written; the most lines that one bit cost."""
    content = (folder / "metrics.jsonl").read_bytes()
    lines = [decode_line(line) for line in content.splitlines(keepends=True)]
    right = most = 0
    for number, bad in enumerate(damages(content, count, TRUNCATIONS, draw)):
        found = [record for line in io.BytesIO(bad) if (record := decode_line(line)) is not None]
        right += all(record in lines for record in found)
        if number < count:
            most = max(most, len(lines) - len(found))
    return right, most


def _events(root: Path, count: int, draw: random.Random) -> tuple[int, int]:
    """How often a damaged event file shows no point that was not drawn; how often it is whole after a rebuild."""
    shown = rebuilt = 0
    cut = max(1, TRUNCATIONS * count // 1000)
    rebuild("run", root)
    file = next((root / "run" / "manual").iterdir())
    good, points = file.read_bytes(), _points(root / "run" / "manual")
    for bad in damages(good, count, cut, draw):
        _only(root / "run" / "manual", lambda folder: (folder / file.name).write_bytes(bad))  # noqa: B023 - at once
        shown += not _points(root / "run" / "manual") - points
        rebuild("run", root)
        rebuilt += _points(root / "run" / "manual") == points
    return shown, rebuilt


def _only(folder: Path, write: Callable[[Path], object]) -> None:
    for path in folder.iterdir():
        path.unlink()
    write(folder)


def _points(folder: Path) -> Counter[tuple[str, int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return Counter((tag, e.step, e.value) for tag in reader.Tags()["scalars"] for e in reader.Scalars(tag))
