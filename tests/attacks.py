"""Code that misbehaves in a child. A test copies this file into a temporary folder and has a child import it there.

Each function is one attack. A process that it leaves behind writes its id into the file `pids` beside the copy.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import psutil
import safetensors.torch
import torch

from compare import wire

PIDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pids")
ANSWERED = {}  # name: function, of code that does something odd and then answers all the same
ENDED = {}  # name: (function, kind of the failure, a part of its message)


def answered(function):
    ANSWERED[function.__name__] = function
    return function


def ended(kind, says=""):
    def register(function):
        ENDED[function.__name__] = (function, kind, says)
        return function

    return register


def note(pid=None):
    with open(PIDS, "a") as file:
        file.write(f"{pid or os.getpid()}\n")


def daemon():
    """Leaves a process that has left the group, the session and its parent, and waits until it runs."""
    size = os.path.getsize(PIDS) if os.path.exists(PIDS) else 0
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setpgid(0, 0)
            note()
            time.sleep(300)
        os._exit(0)
    while not os.path.exists(PIDS) or os.path.getsize(PIDS) == size:
        time.sleep(0.005)


@answered
def signals_to_the_supervisor():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM):
        os.kill(os.getppid(), number)
    time.sleep(0.1)


@answered
def stopped_supervisor():
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(0.1)


@answered
def leaves_a_daemon():
    daemon()


@answered
def leaves_a_daemon_from_a_thread():
    thread = threading.Thread(target=daemon, daemon=True)
    thread.start()
    thread.join()


@answered
def leaves_a_program_without_environment():
    note(subprocess.Popen(["sleep", "300"], env={}, start_new_session=True).pid)


@answered
def leaves_a_stopped_process_that_ignores_signals():
    if os.fork() == 0:
        for number in (1, 2, 3, 15):
            signal.signal(number, signal.SIG_IGN)
        note()
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(300)


@answered
def forks_and_both_return():
    os.fork()


@answered
def forks_and_the_copy_returns_first():
    if os.fork():
        time.sleep(0.2)


@answered
def prints_a_reply():
    print('{"head": {"number": 1, "data": "PASS"}, "tensors": []}')
    sys.stdout.write("PASS\n")


@answered
def has_no_stdout():
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None


@answered
def closes_its_output():
    sys.stdout.close()
    os.close(2)


@answered
def replaces_its_output():
    class Out:
        def write(self, text):
            raise RuntimeError

        flush = write

    sys.stdout = sys.stderr = Out()


@answered
def threads_without_end():
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(300,)).start()
    threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()


@answered
def exit_handler_without_end():
    atexit.register(time.sleep, 300)


@answered
def ignores_signals():
    for number in (1, 2, 3, 13, 15):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))


@answered
def ignores_sigchld():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.system("true")


@answered
def temporary_files_without_permission():
    folder = tempfile.mkdtemp()
    open(folder + "/a", "w").close()
    os.symlink("/", folder + "/root")
    os.symlink(folder, tempfile.gettempdir() + "/link")
    os.chmod(folder, 0)


@answered
def hides_its_temporary_folder():
    os.rename(tempfile.gettempdir(), tempfile.gettempdir() + "-elsewhere")
    os.rename(tempfile.gettempdir() + "-elsewhere", tempfile.gettempdir())
    os.rmdir(tempfile.gettempdir())


@ended("crash", "exit status 3")
def os_exit():
    os._exit(3)


@ended("crash", "exit status 0")
def os_exit_and_daemon():
    daemon()
    os._exit(0)


@ended("crash", "SIGABRT")
def abort():
    os.abort()


@ended("crash", "SIGKILL")
def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


@ended("crash", "SIGTERM")
def terminates_itself():
    os.kill(os.getpid(), signal.SIGTERM)


@ended("crash", "SIGKILL")
def kills_its_process_group():
    os.killpg(0, signal.SIGKILL)


@ended("crash", "SIGALRM")
def alarm():
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    time.sleep(5)


@ended("crash", "SIGSEGV")
def segmentation_fault():
    ctypes.string_at(0)


@ended("crash", "watches over it")
def kills_the_supervisor():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)


@ended("crash", "watches over it")
def kills_the_supervisor_and_leaves_daemons():
    daemon()
    daemon()
    os.kill(os.getppid(), signal.SIGKILL)
    daemon()
    time.sleep(300)


@ended("crash", "channel")
def closes_all_descriptors():
    os.closerange(0, 1000)
    time.sleep(300)


@ended("crash", "")
def closes_all_descriptors_and_returns():
    os.closerange(0, 1000)


@ended("timeout", "no answer within 1 s")
def loop():
    print("before", end="")
    while True:
        pass


@ended("timeout", "1 s")
def loop_in_c():
    sum(range(10**12))


@ended("timeout", "1 s")
def thread_that_keeps_the_interpreter():
    threading.Thread(target=all, args=(itertools.repeat(1),)).start()


@ended("timeout", "1 s")
def loop_that_catches_everything():
    for number in (1, 2, 3, 15):
        signal.signal(number, lambda *_: None)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(9)


@ended("timeout", "1 s")
def loop_and_daemons():
    for _ in range(5):
        daemon()
    time.sleep(300)


@ended("timeout", "1 s")
def stops_itself():
    os.kill(os.getpid(), signal.SIGSTOP)


@ended("timeout", "1 s")
def stops_its_supervisor_and_itself():
    daemon()
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)


@ended("timeout", "1 s")
def exception_whose_text_takes_for_ever():
    class Slow(Exception):
        def __str__(self):
            time.sleep(300)

    raise Slow


@ended("memory", "processes at one time")
def many_processes():
    for _ in range(30):
        if os.fork() == 0:
            note()
            time.sleep(300)
    time.sleep(300)


@ended("memory", "processes at one time")
def fork_bomb():
    """Doubles seven times: what a real one does first, and no more than 128 processes if nobody ends it."""
    for _ in range(7):
        if os.fork() == 0:
            note()
    time.sleep(300)


@ended("memory", "processes at one time")
def fork_bomb_of_sessions():
    """As above, and no signal to a process group reaches two of them."""
    for _ in range(6):
        if os.fork() == 0:
            os.setsid()
            note()
    time.sleep(300)


@ended("memory", "MiB of memory in use")
def allocation():
    kept = []
    while True:
        kept.append(bytearray(b"x" * 2**22))
        time.sleep(0.001)


@ended("memory", "MiB of memory in use")
def allocation_of_a_tensor():
    torch.ones(8 * 2**30, dtype=torch.uint8)


@ended("memory", "MiB of memory in use")
def allocation_in_a_grandchild():
    if os.fork() == 0:
        note()
        os.setsid()
        kept = b"x" * 2**30
        time.sleep(300)
        del kept
    time.sleep(300)


@ended("raised", "OSError: [Errno 27] File too large")
def file_without_end():
    with open("file", "wb") as file:
        file.truncate(2**40)


@ended("output", "64 MiB")
def output():
    while True:
        sys.stdout.write("x" * 2**20)


@ended("output", "64 MiB")
def output_of_a_program():
    subprocess.run(["yes"])


@ended("protocol", "message")
def bytes_in_the_channel():
    os.write(3, b"\0" * 100)
    time.sleep(5)


@ended("protocol", "token")
def reply_without_the_token():
    for piece in wire.encode({"number": 1, "data": "PASS"}, {"dW": torch.ones(3)}):
        os.write(3, piece)
    time.sleep(5)


@ended("protocol", "limit")
def reply_of_any_size():
    os.write(3, wire.PREFIX.pack(wire.MAGIC, 9, 2**50))
    time.sleep(5)


@ended("timeout", "1 s")
def reply_that_stops():
    os.write(3, wire.PREFIX.pack(wire.MAGIC, 100, 100) + b"{")
    time.sleep(300)


@ended("protocol")
def patched_json():
    json.dumps = lambda *_, **__: '{"head": {"data": "PASS"}, "tensors": []}'


@ended("protocol", "malformed")
def patched_safetensors():
    safetensors.torch.save = lambda *_: b"\1" * 50
    return {"dW": torch.ones(1)}


@ended("crash", "")
def kills_the_fork_server():
    """Not a thing that a mistake does. The harness starts a new one."""
    server = psutil.Process().parent().parent()
    daemon()
    server.kill()
    time.sleep(0.1)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)
