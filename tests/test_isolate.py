"""The child process: what comes back from it, what an error says, and what the code in it finds around itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from compare import processes, scratch
from compare.isolate import Child, Failure, Limits
from compare.wire import WireError
from tests.test_wire import TENSORS, same

pytestmark = pytest.mark.slow  # processes and limits of time: they want the machine to themselves

MIB = 2**20
SERVICE = "tests.child_service:Runner"


@pytest.fixture
def write(tmp_path) -> Callable[..., str]:
    def write_file(source: str, name: str = "hw.py") -> str:
        (tmp_path / name).write_text(source)
        return str(tmp_path / name)

    return write_file


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(SERVICE, Limits(seconds=20), threads=1) as child:
        yield child


def failure_of(child: Child, *args, **kwargs) -> Failure:
    with pytest.raises(Failure) as info:
        child.call(*args, **kwargs)
    return info.value


def test_all_tensors_in_one_message(child):
    sent = {name: make() for name, make in TENSORS.items()}
    data, got = child.call("echo", {"n": 1}, sent)
    assert data == {"n": 1}
    assert all(same(got[name], sent[name]) for name in sent)


def test_large_messages_in_both_directions(child):
    x = torch.arange(2_000_000, dtype=torch.float64)
    _, got = child.call("echo", None, {"x": x, "y": x.float()})
    assert torch.equal(got["x"], x)


def test_requests_that_cannot_be_sent_leave_the_child_usable(child):
    with pytest.raises(WireError):
        child.call("echo", object())
    assert child.call("echo", "x" * 1000)[0] == "x" * 1000
    assert json.dumps(child.call("echo", [1, 2.5, None, {"a": "b"}])[0]) == '[1, 2.5, null, {"a": "b"}]'


def test_limits_are_not_negative():
    with pytest.raises(ValueError, match="negative"):
        Limits(seconds=-1)
    with pytest.raises(ValueError, match="negative"):
        Limits(seconds=float("nan"))


def test_an_exception_gives_one_line_and_the_deepest_line_of_the_user(write, child):
    path = write(
        "import torch\n\ndef backward(x):\n    return helper(x)\n\ndef helper(x):\n    return x @ torch.ones(5)\n"
    )
    failure = failure_of(child, "run", path, {"x": torch.ones(3)})
    assert (failure.kind, failure.where) == ("raised", "hw.py:7")
    assert failure.message.startswith("RuntimeError: ")
    assert "\n" not in failure.message
    assert str(failure).startswith("hw.py:7: RuntimeError: ")
    assert child.call("echo", 5)[0] == 5, "the child still answers"


@pytest.mark.parametrize(
    ("source", "message", "where"),
    [
        ("x = 1\ndef f(:\n    pass\n", "SyntaxError: invalid syntax (hw.py, line 2)", "hw.py:2"),
        ("x = 1\n  y = 2\n", "IndentationError: unexpected indent (hw.py, line 2)", "hw.py:2"),
        ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'", "hw.py:1"),
        ("\nraise SystemExit(0)\n", "SystemExit: 0", "hw.py:2"),
        ("exit(0)\n", "SystemExit: 0", "hw.py:1"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt", "hw.py:1"),
        ("assert False\n", "AssertionError", "hw.py:1"),
        ("{}['W2']\n", "KeyError: 'W2'", "hw.py:1"),
        ("raise ValueError('a\\nb\\x1b[2Jc\\u202ed')\n", "ValueError: a b\\x1b[2Jc\\u202ed", "hw.py:1"),
        (
            "class E(Exception):\n    def __str__(self): return 1/0\nraise E\n",
            "E: (its text cannot be read: ZeroDivisionError)",
            "hw.py:3",
        ),
        ("def f(): return f()\nf()\n", "RecursionError: maximum recursion depth exceeded", "hw.py:1"),
        ("def backward(): return {'dW': 3}\n", "WireError: 'dW' must be a tensor, received int", ""),
        ("def backward(): return object()\n", "WireError: the data cannot be written as JSON", ""),
        ("\0", "SyntaxError: source code string cannot contain null bytes", ""),
    ],
)
def test_what_an_error_says(write, child, source, message, where):
    failure = failure_of(child, "run", write(source))
    assert failure.kind == "raised"
    assert failure.message.startswith(message)
    if where:
        assert failure.where == where


def test_a_long_message_is_cut(write, child):
    failure = failure_of(child, "run", write("raise ValueError('x' * 10**8)"))
    assert len(failure.message) < 600


def test_the_line_may_lie_in_a_neighbour_of_the_file(write, tmp_path, child):
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "dense.py").write_text("\n\ndef f():\n    return 1 / 0\n")
    failure = failure_of(child, "run", write("from layers.dense import f\nf()\n"))
    assert failure.where == "layers/dense.py:4"


def test_files_that_cannot_be_imported(write, tmp_path, child):
    for name, says in [
        ("hw.ipynb", "is a notebook"),
        ("hw.txt", "does not end in .py"),
    ]:
        failure = failure_of(child, "run", write("", name))
        assert failure.kind == "raised"
        assert says in failure.message
    assert "no such file" in failure_of(child, "run", str(tmp_path / "none.py")).message
    assert "not a regular file" in failure_of(child, "run", str(tmp_path)).message
    os.mkfifo(tmp_path / "fifo.py")
    assert "not a regular file" in failure_of(child, "run", str(tmp_path / "fifo.py")).message
    assert "at most" in failure_of(child, "run", write("#" * (5 * MIB))).message


def test_a_refusal_is_shown_without_its_type(child):
    assert failure_of(child, "refuse").message == "the derivation has no backward; define backward(...)"


def test_a_service_that_does_not_start():
    with pytest.raises(Failure, match="RuntimeError: no service today"):
        Child("tests.child_service:Broken")
    with pytest.raises(Failure, match="ModuleNotFoundError"):
        Child("tests.no_such_module:Broken")
    with pytest.raises(ValueError, match="must exist"):
        Child(SERVICE, cwd="/no/such/folder")


# The child's surroundings.


def test_the_process_above_the_children_may_be_started_before_it_is_needed(monkeypatch):
    monkeypatch.setattr(processes, "_server", None)
    processes.prepare()
    prepared = processes._server
    with Child(SERVICE, Limits(seconds=20), threads=1) as child:
        assert child.call("echo", 1)[0] == 1
    assert processes._server is prepared
    prepared.close()


def test_the_process_above_the_children_does_not_start(monkeypatch):
    monkeypatch.setattr(processes, "_server", None)
    monkeypatch.setattr(processes, "child_environment", lambda: {"PYTHONHOME": "/nowhere"})
    processes.prepare()
    with pytest.raises(Failure, match=r"^[^\n]*does not start: [^\n]+$"):
        Child(SERVICE)
    assert processes._server is None


def test_surroundings(write, child, monkeypatch, tmp_path):
    source = """
import os, random, sys, tempfile, torch, numpy, subprocess
def backward():
    return {
        "safe_path": sys.flags.safe_path, "stdin": sys.stdin.read(), "cwd": os.getcwd(), "tmp": tempfile.gettempdir(),
        "files": os.listdir(), "environment": dict(os.environ), "threads": torch.get_num_threads(),
        "random": [random.random(), torch.rand(1).item(), numpy.random.rand()], "name": __name__, "sid": os.getsid(0),
        "fds": [int(fd) for fd in os.listdir("/proc/self/fd")],
        "below": subprocess.run(["sh", "-c", "echo $TMPDIR"], capture_output=True, text=True).stdout.strip(),
    }
"""
    path = write(source)
    answers = []
    monkeypatch.setenv("SECRET_TOKEN", "do not tell")
    for _ in range(2):
        with Child(SERVICE, threads=1) as child:
            answers.append(child.call("raw", path)[0])
            assert Path(answers[-1]["tmp"]).is_dir()
    a, b = answers
    assert a["safe_path"]
    assert a["stdin"] == ""
    assert a["cwd"] == a["tmp"] == a["below"] != b["tmp"]
    assert a["files"] == []
    assert not Path(a["tmp"]).exists(), "the temporary directory is removed"
    assert not any("TOKEN" in name for name in a["environment"])
    assert "PATH" in a["environment"]
    assert a["threads"] == 1
    assert a["random"] == b["random"]
    assert a["name"] != "__main__"
    assert a["sid"] != os.getsid(0)
    assert sorted(a["fds"])[:4] == [0, 1, 2, 3]
    assert len(a["fds"]) <= 5, "listing them takes one"
    assert not (tmp_path / "__pycache__").exists()
    with Child(SERVICE, cwd=tmp_path, threads=2) as child:
        answer = child.call("raw", path)[0]
    assert answer["cwd"] == str(tmp_path.resolve())
    assert answer["threads"] == 2


def test_names_that_the_user_shares_with_the_harness_and_the_library(write, child):
    write("raise RuntimeError('the wrong one')", "compare.py")
    write("raise RuntimeError('the wrong one')", "statistics.py")
    write("mine = 1", "layers.py")
    path = write("import compare, statistics, layers\ndef backward(): return [compare.__file__, layers.mine]\n")
    where, mine = child.call("run", path)[0]
    assert where.endswith(os.path.join("compare", "__init__.py"))
    assert mine == 1


def test_output_is_kept_escaped_and_bounded(write):
    path = write(
        "import sys, os\nprint('a\\x1b[2J', end='')\nsys.stderr.write('é\\n')\n"
        "os.system('echo below')\nprint('z' * 5000)\n"
    )
    with Child(SERVICE, Limits(output=1000)) as child:
        child.call("run", path)
        assert child.output.startswith("a\\x1b[2Jé\nbelow\nzzz")
        assert "more bytes of output]" in child.output
        assert len(child.output) < 1100
    assert child.output.startswith("a"), "it can still be read when the child is closed"


def test_a_reply_never_answers_a_later_request(write):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Child(SERVICE, threads=1) as child:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                child.call("run", write("import time; time.sleep(2)"))
            assert failure_of(child, "echo").kind == "crash"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_children_in_several_threads(write):
    path = write("import time\ntime.sleep(0.3)\ndef backward(x): return {'y': x + 1}\n")
    results = {}

    def work(i: int) -> None:
        with Child(SERVICE, threads=1) as child:
            results[i] = child.call("run", path, {"x": torch.tensor(i)})[1]["y"].item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i + 1 for i in range(4)}


def test_a_child_that_is_made_while_an_exception_is_handled():
    try:
        raise ValueError
    except ValueError:
        with Child(SERVICE, threads=1) as child:
            assert child.call("echo", 1)[0] == 1


def test_a_temporary_directory_is_removed_whatever_is_in_it(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    top = tmp_path / "top"
    for name in ("a/b/c", "a/d", "e"):
        (top / name).mkdir(parents=True)
    for name in ("a/1", "a/b/2", "a/b/c/3", "4"):
        (top / name).touch()
    (top / "a" / "link").symlink_to(outside)
    (top / "loop").symlink_to(top)
    monkeypatch.chdir(top / "a" / "d")
    for _ in range(150):
        os.mkdir("deeper" * 20)  # longer together than a path may be
        os.chdir("deeper" * 20)
    monkeypatch.chdir(tmp_path)
    (top / "a" / "b" / "c").chmod(0)
    (top / "a").chmod(0)
    scratch.remove(str(top))
    assert not top.exists()
    assert (outside / "file").exists()
