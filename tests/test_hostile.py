"""Inputs as an attacker or a careless user would give them, through the commands."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compare.cli import main
from compare.run.record import RunRecord

ROOT = Path(__file__).parents[1]
ESCAPE = "\x1b[2J\x1b]0;owned\x07"
TRICKS = [ESCAPE, "\u202eevil", "\x9b31m", "<script>alert(1)</script>", "[red]markup[/red]", "{{7*7}}", "%s%n"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *args: None)


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.splitlines())


def test_names_out_of_a_file_are_escaped_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns, classes and the file's own name hold what would move a cursor, or be markup."""
    header = ",".join(f'"{trick}"' for trick in TRICKS)
    rows = "".join(
        ",".join([*(str((i * k) % 7) for k in range(1, len(TRICKS))), f'"{TRICKS[i % 2]}"']) + "\n" for i in range(20)
    )
    name = f"d{ESCAPE}\u202e.csv"
    Path(name).write_text(f"{header}\n{rows}")
    target = TRICKS[-1]
    assert main(["train", "--data", f"./{name}", "--target", target, "--epochs", "1", "--batch-size", "4"]) == 0
    out, err = capsys.readouterr()
    assert printable(out), out
    assert err == ""
    run = next(Path("runs").iterdir())
    assert run.name.isprintable()
    for file in run.rglob("*"):
        assert str(file).isprintable()
    assert main(["train", "--data", f"./{name}", "--target", "none"]) == 2
    assert printable(capsys.readouterr().err)


def test_a_run_of_a_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    """Its logs hold control sequences behind good checksums."""
    with RunRecord.create(Path("runs"), "a", "x", {"data": ESCAPE}, overwrite=False) as record:
        record.text(ESCAPE, ESCAPE)
        record.scalars(0, {"manual": {ESCAPE: 1.0}})
    for command in (["board", "--rebuild", "a"], ["resume", "a"], ["replay", "a"], ["resume", f"a{ESCAPE}"]):
        main(command)
        out, err = capsys.readouterr()
        assert printable(out + err), command


@pytest.mark.parametrize("runs", ["/tmp/elsewhere", "../elsewhere", "a/../../elsewhere"])
def test_a_strangers_options_write_nowhere_else(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text(f'data = "iris"\nepochs = 1\nruns = "{runs}"\noverwrite = true\n')
    assert main(["train", "--config", "c.toml"]) == 2
    assert "which is not below this folder; say --runs yourself to write there" in capsys.readouterr().err
    assert not Path(runs).exists()
    assert main(["train", "--config", "c.toml", "--runs", "mine", "--quiet"]) == 0
    Path("c.toml").write_text('data = "iris"\nname = "../../x"\n')
    assert main(["train", "--config", "c.toml"]) == 2


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge"])
def test_files_that_cannot_be_read_whole(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a small file is expected: one line, at once."""
    with RunRecord.create(Path("runs"), "a", "x", {"data": "x"}, overwrite=False) as record:
        record.scalars(0, {"manual": {"loss/train": 1.0, "loss/val": 1.0}})
    Path("t.py").write_text("")
    Path("class").mkdir()
    for file, commands in (
        ("c.toml", [["train", "--config", "c.toml"]]),
        ("w.toml", [["grade", "class", "--reference", "t.py", "--weights", "w.toml"]]),
        ("runs/a/config.toml", [["plot", "a"], ["report", "a"], ["diff", "a", "a"]]),
    ):
        path = Path(file)
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        else:
            path.touch()
            os.truncate(path, 2**33)
        for command in commands:
            assert main(command) == 2
            err = capsys.readouterr().err
            assert file in err, err
            assert err.count("\n") == 1
            assert any(why in err for why in ("is no regular file", "Is a directory", "the limit is 4,194,304")), err


def test_overwriting_was_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "iris", "--epochs", "1", "--quiet"]
    assert main(["train", *options, "--name", "a", "--overwrite"]) == 0
    assert main(["train", "--config", "runs/a/config.toml"]) == 2
    assert "manualbp resume a" in capsys.readouterr().err


def test_files_that_have_no_end() -> None:
    os.mkfifo("pipe.csv")
    Path("loop.csv").symlink_to("loop.csv")
    for name in ("pipe.csv", "loop.csv", "/dev/zero", "/dev/stdin", "/proc/self/mem", "."):
        start = time.monotonic()
        assert main(["train", "--data", name if "/" in name else f"./{name}", "--target", "t"]) == 2, name
        assert time.monotonic() - start < 5


SECOND = """
import sys, time
start = time.process_time()
from compare.cli import main
status = main(sys.argv[1:])
print(status, time.process_time() - start, "torch" in sys.modules)
"""


def test_a_second_process_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    with RunRecord.create(tmp_path / "runs", "a", "x", {}, overwrite=False):
        for command in (
            ["train", "--name", "a"],
            ["train", "--name", "a", "--overwrite"],
            ["resume", "a"],
            ["board", "--rebuild", "a"],
        ):
            done = subprocess.run(
                [sys.executable, "-c", SECOND, *command],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
            )
            status, seconds, torch = done.stdout.split()
            assert (status, torch) == ("2", "False"), command
            assert float(seconds) < 1, "of the processor's time: the machine may be busy"
            assert done.stderr.startswith("manualbp: runs/a: another process is writing this run; wait for it to end")
            assert done.stderr.count("\n") == 1


READ_ONLY = """
import os, sys
from compare.cli import main
os.umask(0)
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # as a full disk, for root too
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(["train", "--data", "iris", "--epochs", "1", "--name", "full"]))
"""


def test_a_run_does_not_start_where_nothing_can_be_written(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no run can be written there (File too large)" in done.stderr
    assert not list((tmp_path / "runs").iterdir())


def test_a_folder_that_goes_away_while_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from compare.run.loop import Loop

    pause = Loop._pause

    def removed(loop: Loop, stops: object) -> None:
        if loop.done == 8:
            shutil.rmtree("runs/gone")
        pause(loop, stops)  # type: ignore[arg-type]

    monkeypatch.setattr(Loop, "_pause", removed)
    assert main(["train", "--data", "iris", "--epochs", "4", "--name", "gone", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"] == "equal bit for bit"
    assert err.count("warning") == 1
    assert "training goes on" in " ".join(err.split())
    assert not Path("runs/gone").exists()
