"""The process that children are forked from, and the supervisor that stands above each child.

    parent (the harness) - fork server - supervisor - child - whatever the user's code starts

The fork server has imported torch and the service and nothing of any user's, so that a child starts in milliseconds.
The supervisor is a "child subreaper" (Linux): a process whose own parent ends becomes the supervisor's child, whatever
group or session it is in, so none can leave the tree. When the parent asks for the end, or dies, the supervisor kills
its descendants until it has none and only then ends. Should the user's code kill its supervisor, the descendants fall
to the fork server, which kills them. Elsewhere than on Linux there is no subreaper: a process that detaches itself is
then killed only if the parent has seen it.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from typing import Any, NoReturn

import numpy as np
import psutil
import torch

from compare import scratch
from compare.child import serve

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
CHANNEL = 3  # the file descriptor for messages to the parent, of a child and of a supervisor
GRACE = 2.0  # seconds that supervisors have to end once the parent has gone


def main(control_fd: int) -> NoReturn:
    """Runs the fork server: each line of JSON with three file descriptors that comes over the control socket is one
    child to start, and is answered by its supervisor's process id; a line `"sweep"` kills what fell to this process.
    """
    become_subreaper()
    control = socket.socket(fileno=control_fd)
    wake = wake_on_child()
    supervisors: set[int] = set()
    null = os.open(os.devnull, os.O_RDWR)
    control.sendall(b'"ready"\n')
    os.dup2(null, 2)  # until here, what goes wrong is for the parent to read
    os.close(null)
    while True:
        ready, _, _ = select.select([control.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            ended = reap()
            killed = any(os.WIFSIGNALED(ended[pid]) for pid in supervisors & ended.keys())
            supervisors.difference_update(ended)
            if killed:
                kill_all(keep=supervisors)
        if control.fileno() in ready:
            line, fds = receive_order(control)
            if not line:
                break
            order = json.loads(line)
            if order == "sweep":
                kill_all(keep=supervisors)
                control.sendall(b'"done"\n')
                continue
            with contextlib.suppress(Exception):  # the child imports it again and reports what is wrong
                importlib.import_module(order["service"].partition(":")[0])
            pid = os.fork()
            if pid == 0:
                supervise(order, *fds)
            supervisors.add(pid)
            for fd in fds:
                os.close(fd)
            control.sendall(f"{pid}\n".encode())
    deadline = time.monotonic() + GRACE
    while supervisors and time.monotonic() < deadline:  # each sees for itself that the parent has gone
        supervisors.difference_update(reap())
        time.sleep(0.01)
    kill_all(keep=supervisors)
    os._exit(0)  # there is nothing to put back, and to take torch apart takes most of a second


def receive_order(control: socket.socket) -> tuple[bytes, list[int]]:
    """One line from the parent and the file descriptors sent with it; an empty line where the parent has gone."""
    line, fds, _, _ = socket.recv_fds(control, 65536, 3)
    while line and not line.endswith(b"\n"):
        piece = control.recv(65536)
        if not piece:
            return b"", fds
        line += piece
    return line, fds


def become_subreaper() -> None:
    """Makes every orphan below this process its child."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wake_on_child() -> int:
    """A file descriptor that becomes readable when a child of this process changes its state."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return read


def reap() -> dict[int, int]:
    """Collects the children that have ended: their process ids and statuses."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (pair := os.waitpid(-1, os.WNOHANG))[0]:
            ended[pair[0]] = pair[1]
    return ended


def kill_all(keep: set[int]) -> None:
    """Kills every descendant of this process, except children in `keep` and what is below them, until none is left."""
    while doomed := descendants(keep):
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended = reap()
        keep.difference_update(ended)
        if not ended:
            time.sleep(0.001)


def descendants(keep: set[int]) -> list[int]:
    """The process ids of this process's descendants, those that have ended and wait to be collected included.

    psutil reads each process several times; where a fork bomb leaves little of the processor, this is soon enough.
    """
    me = os.getpid()
    if sys.platform != "linux":
        return [process.pid for process in psutil.Process(me).children(recursive=True) if process.pid not in keep]
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found = [pid for pid in children.get(me, []) if pid not in keep]
    for pid in found:  # grows as it goes
        found += children.get(pid, [])
    return found


def supervise(order: dict[str, Any], channel: int, output: int, status: int) -> NoReturn:
    """Starts the child, tells the parent how it ends, and kills all that is left once the parent goes."""
    try:
        os.setsid()
        become_subreaper()
        handlers = ignore_signals()
        child = os.fork()
        if child == 0:
            run_child(order, channel, output, handlers)
        keep_only(status)
        wake = wake_on_child()
        while True:
            if (code := reap().get(child)) is not None:
                os.write(CHANNEL, f"ended {os.waitstatus_to_exitcode(code)}\n".encode())
            ready, _, _ = select.select([CHANNEL, wake], [], [])
            if CHANNEL in ready:
                parent_lives = bool(os.read(CHANNEL, 1))  # it asks for the end with a byte; where it died there is none
                break
            os.read(wake, 4096)
        kill_all(keep=set())
        if parent_lives:
            os.write(CHANNEL, b"gone\n")
        else:
            scratch.remove(order["tmp"])
    finally:
        os._exit(0)


def ignore_signals() -> dict[int, Any]:
    """Makes this process deaf to what the user's code may send it, and returns how each signal was handled before."""
    handlers: dict[int, Any] = {}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # a signal that the C library keeps for itself
            handlers[number] = signal.signal(number, signal.SIG_IGN)
    return handlers


def keep_only(fd: int) -> None:
    """Moves `fd` to `CHANNEL` and closes all other descriptors but the standard three."""
    if fd != CHANNEL:
        os.dup2(fd, CHANNEL)
    os.set_inheritable(CHANNEL, False)
    os.closerange(CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))


def run_child(order: dict[str, Any], channel: int, output: int, handlers: dict[int, Any]) -> NoReturn:
    """Turns this process into the child: its descriptors, limits and surroundings, then the loop of requests."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else handler)
        os.dup2(output, 1)
        os.dup2(output, 2)
        keep_only(channel)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (order["memory"], order["memory"])
        )  # of one file: it may lie in memory
        if sys.platform == "linux":
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")  # if the machine runs out of memory, this is the process to lose
        os.environ["TMPDIR"] = tempfile.tempdir = order["tmp"]
        os.environ["OMP_NUM_THREADS"] = str(order["threads"])
        os.chdir(order["cwd"])
        torch.set_num_threads(order["threads"])
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        faulthandler.enable(2, all_threads=False)
        serve(socket.socket(fileno=CHANNEL), order["service"], order["token"])
    except BaseException:
        traceback.print_exc()  # into what the parent keeps of the output
        os._exit(1)
    os._exit(0)  # neither atexit handlers nor threads of the user's code can hold the process up
