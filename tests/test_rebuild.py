"""TensorBoard's event files made again from metrics.jsonl."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compare import train
from compare.cli import main
from compare.run.crc32c import masked_crc32c
from compare.run.derived import MISMATCH_GAPS
from compare.run.events import EventFile
from compare.run.folder import LOGS
from compare.run.jsonl import encode_line
from compare.run.old_events import read_old_events
from compare.run.rebuild import rebuild
from compare.run.record import RunRecord, drawn, read_metrics
from compare.run.summaries import histogram, scalars
from compare.run.tags import mismatch_tags
from tests.planted import config, small_data


def events(folder: Path) -> list[Any]:
    """Every point and text: run, tag, step, value, and the time of points."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: list[Any] = []
    for run in ("manual", "autograd", "gap"):
        reader = EventAccumulator(str(folder / run), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        found += [(run, t, e.step, e.value) for t in reader.Tags()["scalars"] for e in reader.Scalars(t)]
        found += [
            (run, t, e.step, e.tensor_proto.string_val[0])
            for t in reader.Tags()["tensors"]
            for e in reader.Tensors(t)
            if "hparams" not in t
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
    assert str(rebuild("a", tmp_path)).endswith(
        "a: the points of 4 lines and 2 texts are drawn again; the old event files of manual and gap are missing or "
        "damaged: histograms and pictures that cannot be read there are lost, as no log holds them"
    )
    assert set(before) <= set(events(path))
    assert {tag.partition("/")[0] for _, tag, *_ in set(events(path)) - set(before)} == {"what it ran with"}
    assert all(len(list((path / run).iterdir())) == 1 for run in ("manual", "autograd", "gap"))
    assert np.float32(-20.0) in [value for *_, value in before]


def shown(folder: Path) -> dict[str, list[tuple[str, int, str]]]:
    """Whatever TensorBoard would show, by kind: run and tag, step, a digest."""
    found: dict[str, list[tuple[str, int, str]]] = {}
    for run in ("manual", "autograd", "gap"):
        for step, _, value in read_old_events(folder / run).values:
            kind = value.WhichOneof("value")
            digest = hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()
            found.setdefault(kind, []).append((f"{run} {value.tag}", step, digest))
    return {kind: sorted(each) for kind, each in found.items()}


def names(values: list[tuple[str, int, str]]) -> set[tuple[str, int]]:
    """The end of a session is at the verdict's step where it was made again."""
    return {(name, step) for name, step, _ in values if "session_end" not in name}


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with classes, whose gradients do not agree at last."""
    root = tmp_path_factory.mktemp("late")
    folder = train(config(root, name="late", epochs=4, hidden=(6,)), data=small_data("classes")).folder
    so_far = {tag: value for line in read_metrics(folder) for tag, value in line.get("gap", {}).items()}
    gaps = dict.fromkeys(("z2", "W2", "b2"), (1000000000.0, 0.02))
    with RunRecord.reopen(folder) as record:
        record.rewind(record.sync(), 6, complete=True)
        record.table(5, MISMATCH_GAPS, ["quantity", "ulp", "relative"], [[name, *gap] for name, gap in gaps.items()])
        record.drawing("gap", 5, scalars(drawn(mismatch_tags(gaps, so_far))))
    return folder


def test_all_of_a_run_comes_back(late: Path, tmp_path: Path) -> None:
    shutil.copytree(late, tmp_path / "late")
    before = shown(late)
    assert {"image", "histo", "simple_value", "tensor"} == before.keys()
    before["tensor"] = sorted(set(before["tensor"]))
    said = str(rebuild("late", tmp_path))
    assert re.search(r"; \d+ pictures and \d+ histograms are kept$", said)
    assert shown(tmp_path / "late") == before


def test_what_is_lost_is_told(late: Path, tmp_path: Path) -> None:
    shutil.copytree(late, tmp_path / "late")
    folder = tmp_path / "late"
    for run in ("manual", "autograd", "gap"):
        for file in (folder / run).iterdir():
            file.unlink()
    assert "of manual and autograd and gap are missing or damaged" in str(rebuild("late", tmp_path))
    before, after = shown(late), shown(folder)
    assert after["simple_value"] == before["simple_value"], "the point of the mismatch as well"
    assert names(after["tensor"]) == names(before["tensor"]), "layout, texts and hyper-parameters"
    layout = [[digest for name, _, digest in each["tensor"] if "custom_scalars" in name] for each in (before, after)]
    assert layout[0] == layout[1] != []
    assert {name for name, *_ in after["image"]} == {
        "manual confusion matrix/validation",
        "manual curves/loss (Figure 2)",
    }
    assert set(after["image"]) <= set(before["image"])
    assert "histo" not in after


def test_one_flipped_byte_costs_one_event(late: Path, tmp_path: Path) -> None:
    shutil.copytree(late, tmp_path / "late")
    folder = tmp_path / "late"
    file = min((folder / "gap").iterdir())
    content = bytearray(file.read_bytes())
    content[content.index(b"PNG") + 60] ^= 1
    file.write_bytes(content)
    assert "the old event files of gap are missing or damaged" in str(rebuild("late", tmp_path))
    before, after = shown(late), shown(folder)
    assert after["simple_value"] == before["simple_value"]
    assert 0 < len(after["image"]) < len(before["image"])
    assert set(after["image"]) < set(before["image"])


def test_superseded_points_stay_away(tmp_path: Path) -> None:
    path = logged(tmp_path)
    with RunRecord.reopen(path) as record:
        record.rewind({name: (path / name).stat().st_size for name in LOGS}, 2, complete=True)
        record.drawing("gap", 3, histogram("deltas/z2", torch.ones(3)))
    assert len(list((path / "gap").iterdir())) == 2
    kept = read_old_events(path / "gap").values
    assert {step for step, *_ in kept} == {0, 1, 3}
    rebuild("a", tmp_path)
    assert [name for name, *_ in shown(path)["histo"]] == ["gap deltas/z2"]


@given(st.binary(max_size=700))
def test_checksum_is_tensorboards(data: bytes) -> None:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as theirs

    assert masked_crc32c(data) == theirs(data)


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
    shutil.copytree(path, tmp_path / "b")
    done = rebuild("a", tmp_path)
    assert (done.lines, done.damaged) == (3, 1 + 4 + 1)
    assert str(done).endswith("; 6 damaged lines are left out")

    def losses(folder: Path) -> list[tuple[int, float]]:
        return [each[2:] for each in events(folder) if each[:2] == ("manual", "loss/train")]

    assert losses(path) == [(0, 1.0), (1, 0.5), (2, np.float32(1 / 3)), (3, 0.25)], "the old files had that point"
    for file in (tmp_path / "b" / "manual").iterdir():
        file.unlink()
    rebuild("b", tmp_path)
    assert [step for step, _ in losses(tmp_path / "b")] == [0, 2, 3]


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = logged(tmp_path)
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventFile, "summary", full)
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
