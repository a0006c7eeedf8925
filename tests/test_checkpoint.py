"""Checkpoints as files: what is written comes back, and what was not written does not load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.reliability.faults import KINDS, faulty, intact, state
from benchmarks.reliability.flips import damages
from compare.run.checkpoint import (
    Checkpoint,
    DamagedError,
    checkpoint_steps,
    intact_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from compare.run.durable import write_durably


def save(run: Path, *steps: int, keep: int = 3) -> None:
    for step in steps:
        save_checkpoint(run, state(step), keep=keep)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    tensors = {
        "W": torch.tensor([[1 / 3, float("nan"), -0.0]], dtype=torch.float64),
        "strided": torch.arange(6.0).reshape(2, 3).t(),
        "generator order": torch.Generator().manual_seed(1).get_state(),
        "empty": torch.zeros(0, dtype=torch.int64),
        "a name / with \x1b": torch.tensor(3),
    }
    save_checkpoint(tmp_path, Checkpoint(7, tensors, {"worst": [0.1, "inf"], "name": "ü"}), keep=1)
    found = load_checkpoint(tmp_path, 7)
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name].nan_to_num(), tensor.nan_to_num())
    assert found.state == {"worst": [0.1, "inf"], "name": "ü"}
    assert json.loads((tmp_path / "checkpoints" / "000000000007.json").read_text())["step"] == 7, "any parser reads it"


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 5, 10, 200, keep=2)
    assert checkpoint_steps(tmp_path) == [200, 10]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4
    assert checkpoint_steps(tmp_path / "nowhere") == []


def test_what_a_crash_left_is_removed_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    (folder / "000000000002.safetensors").write_bytes(b"whole, but its JSON was never written")
    (folder / "000000000002.json.new").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    assert checkpoint_steps(tmp_path) == [1]
    save(tmp_path, 3)
    assert sorted(os.listdir(folder)) == [
        *("000000000001.json", "000000000001.safetensors", "000000000003.json", "000000000003.safetensors"),
        "notes.txt",
    ]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_every_flipped_bit_and_every_length_is_detected(suffix: str, tmp_path: Path) -> None:
    import random

    save(tmp_path, 1, 2)
    file = tmp_path / "checkpoints" / f"000000000002{suffix}"
    good = file.read_bytes()
    for bad in [*damages(good, 200, 40, random.Random(0)), good + b"\n", b"", good[:-1]]:
        file.write_bytes(bad)
        with pytest.raises(DamagedError) as caught:
            load_checkpoint(tmp_path, 2)
        assert str(caught.value).startswith(str(file))
        assert str(caught.value).isprintable()
        told: list[str] = []
        assert next(intact_checkpoints(tmp_path, told)).step == 1
        assert len(told) == 1


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    tensors, described = folder / "000000000001.safetensors", folder / "000000000001.json"
    (folder / "000000000002.json").write_bytes(described.read_bytes())
    with pytest.raises(DamagedError, match="does not belong to step 2"):
        load_checkpoint(tmp_path, 2)
    tensors.rename(tmp_path / "elsewhere")
    for make in (lambda: None, lambda: tensors.symlink_to(tmp_path / "elsewhere"), tensors.mkdir):
        tensors.unlink(missing_ok=True)
        make()
        with pytest.raises(DamagedError, match="is missing, or no regular file"):
            load_checkpoint(tmp_path, 1)


def test_a_length_is_checked_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    file = tmp_path / "checkpoints" / "000000000001.safetensors"
    os.truncate(file, 2**40)  # sparse: a TiB that takes no room
    read: list[Path] = []
    right = Path.read_bytes

    def watched(path: Path) -> bytes:
        read.append(path)
        return right(path)

    monkeypatch.setattr(Path, "read_bytes", watched)
    with pytest.raises(DamagedError, match=r"holds 1,099,511,627,776 bytes instead of"):
        load_checkpoint(tmp_path, 1)
    assert file not in read
    os.truncate(tmp_path / "checkpoints" / "000000000001.json", 2**40)
    with pytest.raises(DamagedError, match="instead of at most"):
        load_checkpoint(tmp_path, 1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("killed")])
def test_every_call_of_a_save_may_fail(kind: str, tmp_path: Path) -> None:
    """Also the listing of the folder, which once made `prune` take all checkpoints for old ones."""
    (tmp_path / "count").mkdir()
    with faulty(-1, kind) as counting:
        save(tmp_path / "count", 1)
    assert counting.calls > 12
    for fail in range(counting.calls):
        folder = tmp_path / str(fail)
        folder.mkdir()
        save(folder, 1)
        with faulty(fail, kind):
            try:
                save(folder, 2, keep=2)
            except OSError:
                assert checkpoint_steps(folder)[-1] == 1
            else:
                assert checkpoint_steps(folder)[0] == 2
        assert intact(folder, 1)
        save(folder, 3, keep=2)
        assert intact(folder, 3)
        assert len(os.listdir(folder / "checkpoints")) == 4


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_durably(file, b"one")
    calls: list[Any] = []
    with faulty(2, "EIO"), pytest.raises(OSError, match="Input/output"):  # fsync
        write_durably(file, b"two")
    assert (file.read_bytes(), os.listdir(tmp_path), calls) == (b"one", ["a"], [])
