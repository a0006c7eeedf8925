"""TensorBoard's event files made again from metrics.jsonl."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.cli import main
from compare.run.events import EventFile
from compare.run.jsonl import encode_line
from compare.run.rebuild import rebuild
from compare.run.record import RunRecord


def events(folder: Path) -> list[Any]:
    """Every point and text: run, tag, step, value, and the time of points."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: list[Any] = []
    for run in ("manual", "autograd", "gap"):
        reader = EventAccumulator(str(folder / run), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        found += [(run, t, e.step, e.value) for t in reader.Tags()["scalars"] for e in reader.Scalars(t)]
        found += [
            (run, t, e.step, e.tensor_proto.string_val[0]) for t in reader.Tags()["tensors"] for e in reader.Tensors(t)
        ]
    return found


def logged(root: Path, name: str = "a") -> Path:
    with RunRecord.create(root, name, "iris", {}, overwrite=False) as record:
        record.text("network", "4-3")
        for step in range(4):
            both = {"loss/train": 1 / (step + 1), "loss/val": float("inf")}
            record.scalars(step, {"manual": both, "autograd": both, "gap": {"gap/relative largest": 1e-9 * step}})
            record.timing(step, {"seconds": 1.0})
        record.text("verdict", "equal", step=5)
    return record.path


def test_what_comes_back(tmp_path: Path) -> None:
    path = logged(tmp_path)
    before = events(path)
    for file in (path / "manual").iterdir():
        file.write_bytes(file.read_bytes()[:60] + b"\0" + file.read_bytes()[61:])
    shutil.rmtree(path / "gap")
    (path / "gap").mkdir()
    assert events(path) != before
    assert str(rebuild("a", tmp_path)).endswith("a: the points of 4 lines and 2 texts are drawn again")
    assert events(path) == before
    assert all(len(list((path / run).iterdir())) == 1 for run in ("manual", "autograd", "gap"))
    assert np.float32(-20.0) in [value for *_, value in before]


def test_points_keep_their_time(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = logged(tmp_path)
    (path / "timing.jsonl").write_bytes(b"".join(encode_line({"step": s, "time": 1000.5 + s}) for s in range(4)))
    rebuild("a", tmp_path)
    shown = EventAccumulator(str(path / "manual")).Reload().Scalars("loss/train")
    assert [event.wall_time for event in shown] == [1000.5, 1001.5, 1002.5, 1003.5]


def test_damaged_and_odd_lines_are_left_out(tmp_path: Path) -> None:
    path = logged(tmp_path)
    odd = [{"step": "x"}, {"step": 2**64}, {"step": 9, "manual": 3}, {"step": 9, "gap": {"a": "b"}}, {"step": True}]
    content = (path / "metrics.jsonl").read_bytes() + b"".join(map(encode_line, odd[:4])) + b'{"step":3'
    (path / "metrics.jsonl").write_bytes(content.replace(b"0.5", b"0.6"))
    done = rebuild("a", tmp_path)
    assert (done.lines, done.damaged) == (3, 1 + 4 + 1)
    assert str(done).endswith("; 6 damaged lines are left out")
    assert [step for run, tag, step, _ in events(path) if (run, tag) == ("manual", "loss/train")] == [0, 2, 3]


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = logged(tmp_path)
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventFile, "text", full)
    with pytest.raises(ValueError, match="No space left on device"):
        rebuild("a", tmp_path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == files


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logged(tmp_path)
    assert main(["board", "--rebuild", "a", "--runs", str(tmp_path)]) == 0
    assert "a: the points of 4 lines" in capsys.readouterr().out
    assert main(["board", "b", "--rebuild", "a", "--runs", str(tmp_path)]) == 2
    assert "drop b" in capsys.readouterr().err
    with RunRecord.reopen(tmp_path / "a"):
        assert main(["board", "--rebuild", "a", "--runs", str(tmp_path)]) == 2
    assert "another process is writing this run" in capsys.readouterr().err


def test_a_clock_that_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are read in their order: a later file must not come first."""
    first = EventFile(tmp_path)
    monkeypatch.setattr("compare.run.events.time.time", lambda: 5.0)
    second = EventFile(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [first.path.name, second.path.name]
    first.close()
    second.close()
