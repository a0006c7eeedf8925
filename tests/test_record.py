"""The folder of a run: what is in it, which names it takes, and what crashes and full disks leave of it."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compare.run.folder import find_run, is_run, run_names
from compare.run.jsonl import GrowingFile, decode_line, encode_line
from compare.run.record import RunRecord, log10_gap, read_metrics
from compare.run.toml_file import to_toml

ROOT = Path(__file__).parents[1]


def create(root: Path, name: str | None = "a", *, overwrite: bool = False, **config: Any) -> RunRecord:
    return RunRecord.create(root, name, "breast-cancer", config, overwrite=overwrite)


def refused(root: Path, name: str | None = "a", *, overwrite: bool = False) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        create(root, name, overwrite=overwrite)
    assert str(caught.value).isprintable(), "one line"
    return str(caught.value)


CREATE = """
import sys, time
from pathlib import Path
from compare.run.record import RunRecord
def create(overwrite=False):
    return RunRecord.create(Path(sys.argv[1]), "a", "breast-cancer", {}, overwrite=overwrite)
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CREATE + code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- what is written ----------------------------------------------------------------------------------------


def test_folder_and_config(tmp_path: Path) -> None:
    odd = 'quote " backslash \\ DEL \x7f bell \a line\nend, ünïcode \u202e \U0001f600'
    with create(tmp_path, lr=0.5, hidden=(16, 8), target=None, odd=odd, path=Path("a/b.csv"), shuffle=True) as record:
        assert record.path == tmp_path / "a"
    assert {p.name for p in record.path.iterdir()} == {
        *("manual", "autograd", "gap", "metrics.jsonl", "timing.jsonl", "text.jsonl", "config.toml")
    }
    text = (record.path / "config.toml").read_text()
    settings = tomllib.loads(text)
    assert settings["config"] == {"lr": 0.5, "hidden": [16, 8], "odd": odd, "path": "a/b.csv", "shuffle": True}
    assert "# target is not set\n" in text
    assert settings["versions"].keys() == {"python", "torch", "numpy", "tensorboard", "manualbp"}
    assert settings["machine"]["engine"] == "reference"
    assert settings["machine"]["threads"] == torch.get_num_threads()


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work can slow this machine down
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), toml_values, max_size=4))
def test_toml_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml({"config": table, "versions": {}})) == {"config": table, "versions": {}}


def test_toml_of_what_has_no_exact_form() -> None:
    back = tomllib.loads(to_toml({"a": {"nan": math.nan, "low": -math.inf, "bytes": "a\udcffb", "empty": None}}))["a"]
    assert math.isnan(back.pop("nan"))
    assert back == {"low": -math.inf, "bytes": r"a\udcffb"}
    with pytest.raises(TypeError, match="got Tensor"):
        to_toml({"a": {"x": torch.zeros(2)}})


def test_metrics_hold_every_bit_and_any_parser_reads_them(tmp_path: Path) -> None:
    values = {"third": 1 / 3, "tiny": 5e-324, "zero": -0.0, "nan": math.nan, "inf": math.inf, "low": -math.inf}
    with create(tmp_path) as record:
        record.scalars(3, {"manual": values, "gap": {"gap/ulp largest": torch.tensor(2.0).item()}})
        record.scalars(4, {"autograd": {"t": torch.tensor(0.1, dtype=torch.float64), "n": np.float32(0.1)}})  # type: ignore[dict-item]
        assert len(read_metrics(record.path)) == 2, "each line is there before the run ends"

    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    lines = (record.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0], parse_constant=no_constant)["manual"]["low"] == "-inf"
    first, second = read_metrics(record.path)
    assert first["step"] == 3
    assert {tag: value.hex() for tag, value in first["manual"].items()} == {t: v.hex() for t, v in values.items()}
    assert second == {"step": 4, "autograd": {"t": 0.1, "n": float(np.float32(0.1))}}


def test_timing_and_text(tmp_path: Path) -> None:
    with create(tmp_path) as record:
        record.timing(7, {"seconds": 0.25, "device": "cpu"})
        record.text("verdict", "a path \udcff and a \x1b code")
    timing = decode_line((record.path / "timing.jsonl").read_bytes())
    assert timing is not None
    assert (timing["step"], timing["seconds"], timing["device"]) == (7, 0.25, "cpu")
    text = decode_line((record.path / "text.jsonl").read_bytes())
    assert text == {"step": 0, "tag": "verdict", "text": "a path \\udcff and a \x1b code"}
    assert record.complete


def test_unknown_run_is_a_mistake(tmp_path: Path) -> None:
    with create(tmp_path) as record, pytest.raises(ValueError, match="got 'hand'"):
        record.scalars(0, {"hand": {"loss/train": 1.0}})


def test_log10_of_a_gap() -> None:
    assert [log10_gap(gap) for gap in (0.0, 1e-30, 1e-9, 1.0, math.inf)] == [-20.0, -20.0, -9.0, 0.0, math.inf]
    assert math.isnan(log10_gap(math.nan)), "never equal, so never drawn as no gap"


# --- names --------------------------------------------------------------------------------------------------


def test_default_name(tmp_path: Path) -> None:
    records = [RunRecord.create(tmp_path / "new" / "runs", None, "iris", {}, overwrite=False) for _ in range(3)]
    names = [r.path.name for r in records]
    assert re.fullmatch(r"iris-\d{4}-\d\d-\d\d-\d{6}", names[0])
    assert len(set(names)) == 3
    odd = RunRecord.create(tmp_path, None, "../../data/Größe\n\x1b[1m.csv", {}, overwrite=False)
    assert re.fullmatch(r"Größe---1m.csv-[\d-]+", odd.path.name)
    assert odd.path.parent == tmp_path
    for record in (*records, odd):
        record.close()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "a/b", "/a", "a\\b", "a\nb", "a\x1b", "a\0", " a", "x" * 101]
)
def test_bad_name(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path, name).startswith("--name must be a plain name")
    assert not list(tmp_path.iterdir())


def test_existing_name(tmp_path: Path) -> None:
    with create(tmp_path) as record:
        record.scalars(0, {"manual": {"loss/train": 1.0}})
    message = refused(tmp_path)
    assert "--name" in message
    assert "--overwrite" in message
    assert len(read_metrics(record.path)) == 1, "untouched"
    with create(tmp_path, overwrite=True) as record:
        assert read_metrics(record.path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_overwrite_removes_runs_only(tmp_path: Path) -> None:
    create(tmp_path, "run").close()
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.toml").write_text("mine")
    (tmp_path / "project" / "metrics.jsonl").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "file", "project", "dangling"):
        assert "is not the folder of a run" in refused(tmp_path, name, overwrite=True)
        assert "is not the folder of a run" in refused(tmp_path, name)
    assert is_run(tmp_path / "run")
    assert (tmp_path / "project" / "config.toml").read_text() == "mine"


def test_overwrite_follows_no_link(tmp_path: Path) -> None:
    create(tmp_path / "runs").close()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "runs" / "a" / "link").symlink_to(tmp_path / "mine")
    create(tmp_path / "runs", overwrite=True).close()
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"


def test_unusable_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "runs", Path("/proc/runs")):
        for name in ("a", None):
            assert str(root) in refused(root, name)


def test_half_made_folder_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert "No space left on device" in refused(tmp_path)
    assert not list(tmp_path.iterdir())


def test_runs_are_found(tmp_path: Path) -> None:
    assert run_names(tmp_path / "none") == []
    with pytest.raises(ValueError, match=r"no runs there; make one with `manualbp train`"):
        find_run("a", tmp_path)
    for name in ("iris-1", "iris-2", "wine"):
        create(tmp_path, name).close()
    (tmp_path / "other").mkdir()
    assert run_names(tmp_path) == ["iris-1", "iris-2", "wine"]
    assert find_run("wine", tmp_path) == tmp_path / "wine"
    assert find_run(f"{tmp_path}/wine/", Path("elsewhere")) == tmp_path / "wine"
    with pytest.raises(ValueError, match="no run 'iris' there; did you mean iris-2, iris-1"):
        find_run("iris", tmp_path)
    for run in ("zzzzzz", "other", "", "..", "\0", "\x1b[1m"):
        with pytest.raises(ValueError, match=r"there are iris-1, iris-2, wine$") as caught:
            find_run(run, tmp_path)
        assert str(caught.value).isprintable()


# --- one writer ---------------------------------------------------------------------------------------------


def test_overwriting_a_run_that_is_being_written(tmp_path: Path) -> None:
    with create(tmp_path) as record:
        assert "another process is writing this run" in refused(tmp_path, overwrite=True)
        record.scalars(0, {"manual": {"loss/train": 1.0}})
        assert record.complete
    assert len(read_metrics(record.path)) == 1


RACE = """
Path(sys.argv[4]).touch()
while not Path(sys.argv[2]).exists(): time.sleep(0.001)
try:
    record = create(overwrite=sys.argv[3] == "overwrite")
except ValueError as error:
    print("refused", error)
else:
    for step in range(20): record.scalars(step, {"manual": {"loss/train": 1.0}})
    print("wrote", record.complete)
    time.sleep(1)  # still the writer while the other one tries
"""


@pytest.mark.parametrize("mode", ["new", "overwrite"])
def test_two_processes(tmp_path: Path, mode: str) -> None:
    if mode == "overwrite":
        create(tmp_path).close()
    ready = [tmp_path / f"ready {k}" for k in range(2)]
    racers = [child(RACE, tmp_path, tmp_path / "go", mode, each) for each in ready]
    try:
        while not all(each.exists() for each in ready) and all(racer.poll() is None for racer in racers):
            time.sleep(0.01)
        (tmp_path / "go").write_text("")
        outputs = sorted(racer.communicate(timeout=60)[0] for racer in racers)
    finally:
        for racer in racers:
            racer.kill()
    assert outputs[0].startswith("refused")
    assert outputs[1] == "wrote True\n"
    assert [r["step"] for r in read_metrics(tmp_path / "a")] == list(range(20))


# --- what crashes, disks and damage leave -------------------------------------------------------------------


def test_kill_leaves_every_line(tmp_path: Path) -> None:
    code = """
record = create()
step = 0
while True:
    record.scalars(step, {"manual": {"loss/train": 1 / (step + 1)}, "gap": {"gap/ulp largest": 0.0}})
    step += 1
    print(step, flush=True)
"""
    process = child(code, tmp_path)
    assert process.stdout is not None
    logged = 0
    while logged < 500:
        logged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    logged = int((process.stdout.read().split("\n")[:-1] or [logged])[-1])
    process.communicate()
    metrics = read_metrics(tmp_path / "a")
    assert len(metrics) >= logged, "nothing that was logged is lost"
    assert metrics.damaged <= 1
    assert [r["manual"]["loss/train"] for r in metrics] == [1 / (step + 1) for step in range(len(metrics))]
    assert find_run("a", tmp_path)
    with create(tmp_path, overwrite=True) as record:  # the dead process holds no lock
        assert record.complete


def lines_of(count: int) -> list[bytes]:
    return [encode_line({"step": step, "manual": {"loss/train": 1 / (step + 1)}}) for step in range(count)]


def test_a_flipped_bit_loses_its_line_at_most() -> None:
    content = b"".join(lines_of(3))
    intact = [decode_line(line) for line in lines_of(3)]
    for at in range(len(content)):
        for bit in range(8):
            flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            found = [record for line in io.BytesIO(flipped) if (record := decode_line(line)) is not None]
            assert all(record in intact for record in found), "none is believed wrongly"
            assert len(found) >= (1 if content[at : at + 1] == b"\n" else 2), "a lost line end joins two lines"


def test_damaged_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    lines = lines_of(4)
    lines[1] = lines[1].replace(b"0.5", b"0.6")
    other = b'{"step":9,"crc32":"00000000"}\n\xff\xfe\n[]\n\n'
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines[:3]) + other + lines[3][:20])
    metrics = read_metrics(tmp_path)
    assert [r["step"] for r in metrics] == [0, 2]
    assert metrics.damaged == 1 + 4 + 1
    with pytest.raises(ValueError, match="no such file"):
        read_metrics(tmp_path / "none")


FULL_DISK = """
import resource
record = create()
tags = {f"loss/{k}": 1 / 3 for k in range(20)}
record.scalars(0, {"manual": tags, "gap": tags})
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
for step in range(1, 30):
    record.scalars(step, {"manual": tags, "gap": tags})
    record.timing(step, {"seconds": 1.0})
record.text("verdict", "equal " * 2000)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
record.scalars(30, {"manual": tags, "gap": tags})
record.close()
print(record.complete)
"""


def test_full_disk(tmp_path: Path) -> None:
    process = child(FULL_DISK, tmp_path)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "False\n")
    assert len(errors.splitlines()) == 1, errors
    assert re.fullmatch(
        r"warning: .*/a/\S+: cannot be written \(File too large\); the logs are incomplete from step \d+ on, "
        r"training goes on\n",
        errors,
    )
    metrics = read_metrics(tmp_path / "a")
    assert metrics.damaged == 0, "what did not fit is cut off again"
    steps = [r["step"] for r in metrics]
    assert steps[:3] == [0, 1, 2]
    assert steps[-1] == 30, "and what fits later is logged"
    assert len(steps) < 30


def test_removed_folder(tmp_path: Path) -> None:
    warnings: list[str] = []
    record = RunRecord.create(tmp_path, "a", "iris", {}, overwrite=False, on_warning=warnings.append)
    shutil.rmtree(record.path)
    for step in range(3):
        record.scalars(step, {"manual": {"loss/train": 1.0}})
        record.text("verdict", "equal")
    record.close()
    assert not record.complete
    assert len(warnings) == 1
    assert "it was removed" in warnings[0]
    assert "from step 0 on" in warnings[0]


def test_close_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = GrowingFile.close

    def late(file: GrowingFile) -> None:
        close(file)
        raise OSError(5, "Input/output error")

    warnings: list[str] = []
    record = RunRecord.create(tmp_path, "a", "iris", {}, overwrite=False, on_warning=warnings.append)
    monkeypatch.setattr(GrowingFile, "close", late)
    record.close()
    record.close()
    assert not record.complete
    assert warnings == [
        f"{record.path}: cannot be written (Input/output error); the logs are incomplete, training goes on"
    ]
