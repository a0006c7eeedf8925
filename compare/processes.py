"""The harness's view of the processes that it starts: the fork server's handle, and one child's tree of processes."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import psutil

FEW = 16  # processes whose shared memory is told apart
STARTUP = 120.0  # seconds to import torch on a busy machine
KEPT = (  # what a child sees of the environment: where programs and libraries are, language, threads; no credentials
    "PATH HOME USER LOGNAME LANG LANGUAGE TZ PYTHONPATH VIRTUAL_ENV CONDA_PREFIX LD_LIBRARY_PATH DYLD_LIBRARY_PATH "
    "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_HOME NVIDIA_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG"
).split()
KEPT_PREFIXES = ("LC_", "KMP_", "GOMP_", "MKL_", "PYTORCH_", "TORCH_")
SET = {
    "PYTHONHASHSEED": "0",  # sets iterate in the same order in every run
    "PYTHONDONTWRITEBYTECODE": "1",  # nothing is left in the user's folder
    "PYTHONUTF8": "1",
    "OMP_NUM_THREADS": "1",  # a process with threads cannot be forked safely; the child then sets its own number
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def child_environment() -> dict[str, str]:
    """The environment of every child; `TMPDIR` and `OMP_NUM_THREADS` are set in each."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    return kept | SET


class ServerError(RuntimeError):
    """The fork server does not start, or has ended."""


class Server:
    """The handle of a fork server; see `compare.forkserver`. One serves all children and threads of this process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._is_ready = False
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[1])
        code = (
            "import sys\n"
            f"if {root!r} not in sys.path: sys.path.insert(0, {root!r})\n"
            f"from compare.forkserver import main; main({theirs.fileno()})"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=child_environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def wait(self) -> None:
        """Returns once it has imported torch and answers. Raises `ServerError`, and is closed, where it does not."""
        if self._is_ready:
            return
        assert self._process.stderr is not None
        try:
            self._reply(STARTUP)
        except ServerError:
            self._process.kill()
            lines = self._process.stderr.read(65536).decode(errors="replace").split("\n")
            self.close()
            last = next((line for line in reversed(lines) if line.strip()), "no message")
            raise ServerError(f"the process for user code does not start: {last}") from None
        self._process.stderr.close()
        self._is_ready = True

    def start(self, order: dict[str, Any], fds: Sequence[int]) -> int:
        """Starts a child and returns its supervisor's process id. Raises `ServerError`."""
        with self._lock:
            try:
                socket.send_fds(self._control, [json.dumps(order).encode() + b"\n"], fds)
            except OSError:
                raise ServerError("the fork server has ended") from None
            return int(self._reply(STARTUP))

    def sweep(self, seconds: float) -> None:
        """Has every process killed that lost its supervisor."""
        with self._lock, contextlib.suppress(OSError, ServerError):
            self._control.sendall(b'"sweep"\n')
            self._reply(seconds)

    def _reply(self, seconds: float) -> Any:
        line = b""
        deadline = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._control], [], [], max(0.0, deadline - time.monotonic()))
            piece = self._control.recv(4096) if ready else b""
            if not piece:
                self._process.kill()  # an answer that comes late would be taken for the next one
                raise ServerError("the fork server has ended" if ready else "the fork server does not answer")
            line += piece
        return json.loads(line)

    def close(self) -> None:
        """Ends the fork server, and with it what is left of its children."""
        if self.owner != os.getpid():
            return
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


_server: Server | None = None
_server_lock = threading.Lock()


def prepare() -> None:
    """Starts the fork server and does not wait: it imports torch while the caller does what else there is to do."""
    if hasattr(os, "fork"):  # elsewhere `Child` says what is missing
        with _server_lock:
            _begun()


def start(order: dict[str, Any], fds: Sequence[int]) -> tuple[Server, int]:
    """Starts a child of the fork server, and the fork server first where there is none, or none any more."""
    with _server_lock:
        for is_last in (False, True):
            server = _begun()
            try:
                server.wait()
                return server, server.start(order, fds)
            except ServerError:
                _forget(server)
                if is_last:
                    raise
    raise AssertionError("the last attempt returns or raises")


def _begun() -> Server:
    """The fork server of this process; a forked copy of the harness starts its own."""
    global _server
    if _server is None or _server.owner != os.getpid():
        _server = Server()
        atexit.register(_server.close)
    return _server


def _forget(server: Server) -> None:
    global _server
    atexit.unregister(server.close)
    server.close()
    _server = None


class Tree:
    """A supervisor and every process that was ever seen below it, also those that have left its tree since."""

    def __init__(self, pid: int) -> None:
        self.supervisor = psutil.Process(pid)
        self._seen: set[psutil.Process] = set()  # psutil compares process ids and times of creation

    def look(self) -> list[psutil.Process]:
        """The child's processes that are alive now."""
        self._seen.update(descendants(self.supervisor))
        self._seen = {process for process in self._seen if process.is_running()}
        return list(self._seen)

    def kill(self) -> None:
        """Kills what was seen below the supervisor."""
        kill(self._seen)

    def wait(self, seconds: float) -> None:
        """Returns once they have ended, and after `seconds` in any case."""
        psutil.wait_procs(self._seen, seconds)


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Every process below `process`; none where it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def kill(processes: Collection[psutil.Process]) -> None:
    """Kills `processes` and the process groups that they lead or belong to.

    A signal to a group reaches also what its members are forking at this moment, which no list of them can.
    """
    groups = set()
    for process in processes:
        with contextlib.suppress(OSError, psutil.Error):
            if process.is_running():  # and its id has not gone to another process
                groups.add(os.getpgid(process.pid))
    for group in groups - {os.getpgrp()}:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def resident(processes: Sequence[psutil.Process], enough: int) -> int:
    """Bytes of memory that `processes` hold together.

    Where the plain sum of a few processes exceeds `enough`, pages that they share are counted once (Linux). Of many it
    is not asked: the answer waits for each process, and in a fork bomb for a long time.
    """
    total = sum(_resident(process) for process in processes)
    if total > enough and 1 < len(processes) <= FEW:
        total = sum(_proportional(process) or _resident(process) for process in processes)
    return total


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    try:
        return int(getattr(process.memory_full_info(), "pss", 0))
    except psutil.Error:
        return 0
