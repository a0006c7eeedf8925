"""The command line: every ending is one line and a status, and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compare.cli import COMMANDS, main
from compare.show.numbers import fixed

ROOT = Path(__file__).parent.parent
QUICK = ["--data", "iris", "--epochs", "2"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go to a folder of their own; signals stay as they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *args: None)


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused with status 2."""
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("manualbp: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lrr", "3"], ["--lrr", "did you mean --lr?"]),
        (["--lr", "x"], ["--lr", "'x'"]),
        (["--lr"], ["--lr", "Missing value"]),
        (["--lr", "nan"], ["--lr is nan"]),
        (["--check", "ever"], ["--check", "{every,epoch,off}|INT"]),
        (["--check", "0"], ["--check is 0"]),
        (["--activation", "sigmod"], ["sigmod", "sigmoid"]),
        (["--hidden", "0"], ["--hidden is 0"]),
        (["--batch-size", "0"], ["--batch-size is 0"]),
        (["--batch-size", "1000"], ["from 1 to the 455 training samples, got 1000"]),
        (["--data", "digitz"], ["digitz", "did you mean digits?"]),
        (["--data", "none.csv"], ["none.csv", "no such file"]),
        (["--data", "iris", "--target", "x"], ["--target"]),
        (["--data", "diabetes", "--loss", "log-loss"], ["--loss log-loss needs classes"]),
        (["--data", "\x1b[31mred"], ["\\x1b[31mred"]),
        (["--name", "a/b"], ["--name must be a plain name"]),
        (["--seed", "-1"], ["--seed is -1"]),
        (["--val-fraction", "1"], ["--val-fraction is 1"]),
        (["stray"], ["stray"]),
        (["--config", "none.toml"], ["none.toml", "No such file"]),
        (["--config"], ["--config"]),
    ],
)
def test_bad_options(options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["train", *options], capsys)
    for word in words:
        assert word in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr = 0.1\nepoch = 3\n", ["unknown key 'epoch'", "did you mean epochs?"]),
        ("lr = \n", ["is no TOML"]),
        ('lr = "fast"\n', ["--lr is 'fast'"]),
        ("hidden = 3\n", ["--hidden"]),
        ("[train]\nlr = 1\n", ["unknown key 'train'"]),
        ("hidden = ['a']\n", ["--hidden is 'a'"]),
        ("epochs = 1e3\n", ["--epochs is 1000.0"]),
        ("overwrite = 1\n", ["--overwrite is 1"]),
        ("activation = []\n", ["--activation is []"]),
    ],
)
def test_bad_config_files(text: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text(text)
    line = refused(["train", "--config", "bad.toml"], capsys)
    for word in ["bad.toml", *words]:
        assert word in line


def test_a_config_file_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_bytes(b"\xff\xfe\x00")
    assert "no UTF-8 text" in refused(["train", "--config", "bad.toml"], capsys)


def test_config_file_and_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.toml").write_text('data = "iris"\nepochs = 2\nhidden = [4, 3]\nbatch-size = 10\nname = "a"\n')
    for spelling in (["--config", "good.toml"], ["--config=good.toml"]):
        assert main(["train", *spelling, "--epochs", "1", "--json", "--overwrite"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["run"], result["network"], result["epochs"]) == ("a", "4-4-3-3, Sigmoid, CrossEntropy", [0, 1])
        assert result["steps"] == 12


def test_the_config_of_a_run_trains_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "--name", "first", "--l2", "0.01", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["train", "--config", "runs/first/config.toml", "--name", "second", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["history"] == first["history"]


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "--epochs", "25", "--name", "shown"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert 8 <= sum(line.startswith("epoch ") for line in lines) <= 20
    last = [line.split(None, 1)[0] for line in lines[-5:]]
    assert last == ["verdict", "best", "validation", "run", "next"]
    assert "equal bit for bit: every gradient at all 100 steps, 0 ulp apart" in out
    assert lines[-1].rstrip().endswith("manualbp board shown")


def test_quiet_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "--quiet", "--name", "q"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("verdict ")
    assert main(["train", *QUICK, "--json", "--name", "j"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], result["exit_status"], result["folder"]) == ("equal bit for bit", 0, "runs/j")
    assert len(result["history"]["manual"]["loss/val"]) == 3


def test_an_existing_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "--quiet", "--name", "twice"]) == 0
    capsys.readouterr()
    line = refused(["train", *QUICK, "--name", "twice"], capsys)
    assert "--overwrite" in line
    assert "--overwrite" in line
    assert main(["train", *QUICK, "--quiet", "--name", "twice", "--overwrite"]) == 0


def test_divergence(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "diabetes", "--activation", "relu", "--init", "kaiming", "--lr", "1e6", "--name", "far"]
    assert main(["train", *options]) == 4
    out = capsys.readouterr().out
    assert "diverged at step " in out
    assert "lower --lr" in out
    assert Path("runs/far/metrics.jsonl").is_file()
    assert main(["train", *options, "--overwrite", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["exit_status"] == 4


def test_a_mismatch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import manualbp as mbp

    with monkeypatch.context() as broken:
        broken.setattr(mbp.l2, "add_gradient_", lambda net, grads, params, l2: None)
        assert main(["train", *QUICK, "--l2", "0.1", "--name", "wrong"]) == 1
        out = capsys.readouterr().out
        assert "mismatch at step 0, epoch 1: gradient of W3, layer 3, in its L2 part is wrong" in " ".join(out.split())
        assert "manualbp replay wrong" in out
        assert main(["replay", "wrong"]) == 1
        assert "gradient of W3, layer 3, in its L2 part is wrong" in capsys.readouterr().out
    assert main(["replay", "wrong"]) == 0
    assert "the gradients agree now" in capsys.readouterr().out
    assert "manualbp: " in refused(["replay", "nothing"], capsys)


def test_an_error_of_our_own_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("compare.run.train.load_data", broken)
    line = refused(["train"], capsys)
    assert "ZeroDivisionError: two lines (MANUALBP_TRACEBACK=1 shows where)" in line
    monkeypatch.setenv("MANUALBP_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def test_help_and_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert main([]) == 2
    assert "did you mean train?" in refused_after(capsys, ["trian"])
    for name, command in COMMANDS.items():
        assert main([name, "--help"]) == 0
        assert command.example in capsys.readouterr().out


def test_help_of_the_installed_command_is_no_failure() -> None:
    ask = [sys.executable, "-m", "compare.cli", "runs", "--help"]
    assert subprocess.run(ask, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60).returncode == 0


def test_no_command_is_forgotten() -> None:
    files = {path.stem for path in (ROOT / "compare" / "commands").glob("[!_]*.py")}
    assert files == set(COMMANDS)


def refused_after(capsys: pytest.CaptureFixture[str], args: list[str]) -> str:
    capsys.readouterr()
    return refused(args, capsys)


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_signals(sent: signal.Signals, status: int, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "compare.cli", "train", "--data", "iris", "--epochs", "100000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--name", "s"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        metrics = tmp_path / "runs" / "s" / "metrics.jsonl"
        deadline = time.monotonic() + 180  # the machine may be busy
        while time.monotonic() < deadline and not (metrics.is_file() and metrics.read_text().count("\n") > 2):
            time.sleep(0.05)
        child.send_signal(sent)
        out, err = child.communicate(timeout=60)
    assert child.returncode == status
    assert "stopped in epoch" in out
    assert err == ""
    assert metrics.read_text().count("\n") > 2
    saved = tmp_path / "runs" / "s" / "checkpoints"
    assert any(saved.glob("*.json")), "and `manualbp resume s` goes on"


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    command = f"{sys.executable} -P -m compare.cli train --data iris --epochs 40 --name p | head -1"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def nowhere() -> int:
        (tmp_path / "none\x1b" / "pages").mkdir()
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compare.cli._run", lambda args: nowhere())
        line = refused([], capsys)
    assert line.endswith(
        "none\\x1b/pages: No such file or directory; check the path, its permissions and the space there\n"
    )


def test_huge_losses_fit_their_columns() -> None:
    assert [fixed(v) for v in (0.5, 999999.0, -2.5e300, float("inf"), float("nan"))] == [
        "0.50000", "999999.00000", "-2.50000e+300", "inf", "nan",
    ]  # fmt: skip
