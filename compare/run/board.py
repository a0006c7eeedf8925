"""TensorBoard on one run or on all of them, on this machine only."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

import psutil

from compare.run.folder import find_run, no_runs, run_names
from compare.run.refusal import escaped, place

START_SECONDS = 90.0
STOP_SECONDS = 3.0
TRIES = 4  # to find a port that nobody takes in the meantime
IN_USE = "is in use by another program"  # what TensorBoard says then


def board(run: str | None, *, runs: str = "runs", port: int = 0) -> int:
    """Serve TensorBoard on localhost until Ctrl-C (returns 130) or SIGTERM (returns 143).

    It shows the run that `run` names, by its name in the folder `runs` or by its path, or all runs in that folder.
    Port 0 is 6006 or the next free one. The address is printed once the server answers, and the `ssh` command that
    makes it reachable from another machine. Raises `ValueError` where there is no such run or no run at all, the
    port cannot be had, or TensorBoard does not start or ends by itself.
    """
    if run is not None:
        logdir = find_run(run, Path(runs))
    else:
        logdir = Path(runs)
        if not run_names(logdir):
            raise no_runs(logdir)
    if port:
        _require_free(port)
    try:
        with _sigterm_exits(), serving(logdir, port) as server:
            print(_invitation(logdir, server.port), flush=True)
            server.process.wait()
            raise ValueError(f"TensorBoard ended by itself ({server.last_line()}); start it again")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit:
        return 128 + signal.SIGTERM


@dataclass(frozen=True)
class Server:
    """A running TensorBoard: its port on localhost, its process, and the last lines that it printed."""

    port: int
    process: subprocess.Popen[str]
    lines: deque[str]

    def last_line(self) -> str:
        """The last thing that TensorBoard said, on one printable line."""
        return escaped(self.lines[-1])[-300:] if self.lines else "it said nothing"


@contextlib.contextmanager
def serving(logdir: Path, port: int = 0, *, load_fast: Literal["auto", "true", "false"] = "auto") -> Iterator[Server]:
    """TensorBoard on `logdir`, from the moment that it answers to the end of the `with`, when all of it is dead.

    `load_fast` chooses between TensorBoard's two readers of event files. The free port that it finds may be taken by
    another program before it listens there: it then looks again. Raises `ValueError` if it does not start.
    """
    for left in range(TRIES, 0, -1):
        process = _start(logdir, port, load_fast)
        try:
            try:
                server = _started(process)
            except ValueError as error:
                if port or left == 1 or IN_USE not in str(error):
                    raise
                continue
            yield server
            return
        finally:
            _end(process)


def _start(logdir: Path, port: int, load_fast: str) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("tensorboard_server.py")
    command = [sys.executable, "-P", str(script), str(logdir.absolute()), str(port), load_fast]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a Ctrl-C reaches this process alone, which then ends the child in order
    )


def _started(process: subprocess.Popen[str]) -> Server:
    """Wait for the server in `process` to tell its port and to answer."""
    assert process.stdout is not None
    lines: deque[str] = deque(maxlen=20)
    port_told: queue.Queue[int | None] = queue.Queue()
    threading.Thread(target=_listen, args=(process.stdout, lines, port_told), daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    server = Server(0, process, lines)
    try:
        port = port_told.get(timeout=START_SECONDS)
    except queue.Empty:
        what = f"did not start within {START_SECONDS:.0f} s"
        raise ValueError(f"TensorBoard {what}; its last line: {server.last_line()}") from None
    if port is None:
        raise ValueError(f"TensorBoard ended at its start; its last line: {server.last_line()}")
    server = replace(server, port=port)
    connection = http.client.HTTPConnection("localhost", port, timeout=max(1.0, deadline - time.monotonic()))
    try:
        connection.request("GET", "/data/environment")
        answer = connection.getresponse().status
    except OSError as error:
        raise ValueError(f"TensorBoard does not answer ({error}); its last line: {server.last_line()}") from None
    finally:
        connection.close()
    if answer != http.HTTPStatus.OK:
        raise ValueError(f"TensorBoard answers with HTTP status {answer}; its last line: {server.last_line()}")
    return server


def _listen(output: IO[str], lines: deque[str], port_told: queue.Queue[int | None]) -> None:
    """Drain what the child prints to its end: it must not block on a full pipe."""
    with output:
        for line in output:
            if line.startswith("serving "):
                port_told.put(int(line.split()[1]))
            elif line.strip():
                lines.append(line.strip())
    port_told.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    """End TensorBoard and the data server that it starts: in order if it can, by force if it must."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Make SIGTERM unwind the stack, where Python allows it (in the main thread), so that children are ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_free(port: int) -> None:
    """Refuse a port that is none, or that cannot be listened on."""
    if not 1 <= port <= 65535:
        raise ValueError(f"--port must be between 1 and 65535, or 0 for a free one, got {port}")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ValueError(f"--port {port} cannot be had ({reason}); leave --port out for a free one") from None


def _invitation(logdir: Path, port: int) -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        user = "user"
    # without smoothing: it hides a gap of a single step
    return (
        f"TensorBoard shows {place(logdir)} (Ctrl-C ends it) at\n"
        f"  http://localhost:{port}/?smoothing=0#timeseries\n"
        "and manual against autograd on one page at\n"
        f"  http://localhost:{port}/?smoothing=0#custom_scalars&_smoothingWeight=0\n"
        "From another machine, run this there first:\n"
        f"  ssh -L {port}:localhost:{port} {user}@{socket.gethostname()}"
    )
