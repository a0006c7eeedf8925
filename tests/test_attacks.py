"""Code that misbehaves: what it gets for an answer, how soon, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from compare import processes
from compare.isolate import Child, Failure, Limits
from tests import attacks

pytestmark = pytest.mark.slow  # processes and limits of time: they want the machine to themselves

MIB = 2**20
SLACK = 2.0  # seconds past its limit at which a child must be gone
SERVICE = "tests.child_service:Runner"


@pytest.fixture
def path(tmp_path) -> Iterator[str]:
    """The attacks as a user's file; afterwards nothing is left of any process that the attack started."""
    path = tmp_path / "hw.py"
    shutil.copy(attacks.__file__, path)
    yield str(path)
    pids = tmp_path / "pids"
    left = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
    assert all(is_gone(pid) for pid in left)
    assert processes._server is not None
    below = psutil.Process(processes._server._process.pid).children(recursive=True)
    assert all(is_gone(process.pid) for process in below)


def is_gone(pid: int, seconds: float = 0.5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("name", attacks.ANSWERED)
def test_code_that_answers_all_the_same(name, path):
    with Child(SERVICE, Limits(seconds=8, memory=1500 * MIB), threads=1) as child:
        start = time.monotonic()
        assert child.call("run", [path, name]) == (None, {})
        assert child.call("echo", 7) == (7, {}), "it goes on answering"
        assert time.monotonic() - start < 8
        start = time.monotonic()
    assert time.monotonic() - start < SLACK


@pytest.mark.parametrize("name", attacks.ENDED)
def test_code_that_ends_its_child(name, path):
    _, kind, says = attacks.ENDED[name]
    seconds = 1 if kind == "timeout" else 8
    with Child(SERVICE, Limits(memory=800 * MIB, output=4096, processes=12), threads=1) as child:
        start = time.monotonic()
        with pytest.raises(Failure) as info:
            child.call("run", [path, name], seconds=seconds)
        assert time.monotonic() - start < seconds + SLACK
        failure = info.value
        assert failure.kind == kind
        assert says in failure.message
        assert failure.message.isprintable()
        assert len(failure.output) < 5000
        if name == "loop":
            assert failure.output == "before"
        if kind == "raised":
            assert child.call("echo", 1) == (1, {})
        else:
            with pytest.raises(Failure) as info:
                child.call("echo", 1)
            assert info.value is failure, "the child does not come back"
        folder = Path(child._scratch)
    assert not folder.exists()


def test_other_children_survive_the_fork_server(path):
    with Child(SERVICE, threads=1) as other:
        with Child(SERVICE, threads=1) as child, pytest.raises(Failure):
            child.call("run", [path, "kills_the_fork_server"], seconds=8)
        assert other.call("echo", 1)[0] == 1
        with Child(SERVICE, threads=1) as third:
            assert third.call("echo", 1)[0] == 1
        assert other.call("echo", 1)[0] == 1


def test_everything_ends_when_the_harness_is_killed(path):
    temporary = Path(path).parent / "temporary"
    temporary.mkdir()
    harness = (
        f"from compare.isolate import Child\n"
        f"with Child({SERVICE!r}, threads=1) as child: child.call('run', [{path!r}, 'loop_and_daemons'])\n"
    )
    pids = Path(path).parent / "pids"
    env = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", harness], cwd=Path(__file__).parents[1], env=env) as process:
        deadline = time.monotonic() + 60
        while not pids.exists() or len(pids.read_text().split()) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert list(temporary.iterdir())
        process.kill()
    assert all(is_gone(int(pid), SLACK) for pid in pids.read_text().split())
    deadline = time.monotonic() + SLACK
    while list(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not list(temporary.iterdir()), "the supervisor removes the temporary directory"
