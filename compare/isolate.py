"""A child process for a user's code: the parent sends requests, the child returns JSON and tensors, never objects.

    with Child("compare.check.service:Derivation", Limits(seconds=10)) as child:
        child.call("load", "hw.py", {})
        data, gradients = child.call("backward", ["dW"], {"x": x})

The parent limits wall-clock time, resident memory, output and the number of processes, and kills every descendant at
the end, also one that left the process group or session. This contains accidents and common mischief. It is not a
sandbox: the code runs as the same user, with that user's files and network, and can signal that user's processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import psutil
import torch
from torch import Tensor

from compare import processes, scratch, wire
from compare.limits import MAX_WRITTEN, Captured, Failure, Kind, Limits, ending

__all__ = ["Child", "Failure", "Limits"]

MAX_REPLY = 2**30  # bytes of tensors in one reply
POLL = 0.05  # seconds between two looks at the processes
SLOW_POLL = 0.25  # the same on a machine with so many processes that to look takes long
ENDING = 1.5  # seconds that a supervisor may take to kill all that is below it


class Child:
    """A process that holds one service, "package.module:Class", which is made before any user code is loaded.

    It starts with a temporary directory of its own (`TMPDIR`, and where the code runs unless `cwd` is given), an
    environment without the caller's variables but those in `processes.KEPT`, fixed seeds, and `threads` threads for
    torch (default: as many as the caller's torch has). One thread at a time may use it. Raises `ValueError` for a
    folder that does not exist and `Failure` where the child or its service does not start.
    """

    def __init__(
        self,
        service: str,
        limits: Limits | None = None,
        *,
        cwd: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        if not hasattr(os, "fork"):
            raise ValueError(f"user code runs in a forked process, which {sys.platform} does not have; use WSL")
        if cwd is not None and not Path(cwd).is_dir():
            raise ValueError(f"{wire.one_line(str(cwd), 300)}: the child's folder must exist; check the path")
        self.limits = limits or Limits()
        self._failure: Failure | None = None  # what ended the child
        self._ended = ""  # what the supervisor said of the child's end
        self._number = 0
        self._next_look = time.monotonic() + POLL
        self._token = secrets.token_hex(16)
        self._tree: processes.Tree | None = None
        self._scratch = tempfile.mkdtemp(prefix="manualbp-")
        self._channel, channel = socket.socketpair()
        self._status, status = socket.socketpair()
        read, output = os.pipe()
        self._captured = Captured(read, self.limits.output)
        order = {
            "service": service,
            "token": self._token,
            "memory": self.limits.memory,
            "tmp": self._scratch,
            "cwd": str(Path(cwd).resolve()) if cwd is not None else self._scratch,
            "threads": threads if threads is not None else torch.get_num_threads(),
        }
        try:
            try:
                self._server, pid = processes.start(order, [channel.fileno(), output, status.fileno()])
            finally:
                channel.close()
                status.close()
                os.close(output)
            self._tree = processes.Tree(pid)
            self._channel.setblocking(False)
            self._exchange([], processes.STARTUP)
        except BaseException as error:
            self.close()
            if isinstance(error, processes.ServerError | psutil.Error):
                raise Failure("crash", wire.one_line(str(error))) from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def output(self) -> str:
        """What the user's code printed so far, cut at `limits.output` bytes, its control characters escaped."""
        return self._captured.text()

    def call(
        self,
        method: str,
        data: Any = None,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        seconds: float | None = None,
    ) -> tuple[Any, dict[str, Tensor]]:
        """The service's `method(data, tensors)`: data out of JSON, and tensors by value on the CPU.

        `seconds` replaces `limits.seconds` for this request. Raises `Failure`; once the child has been ended, every
        further call raises the failure that ended it. Raises `wire.WireError` where the arguments cannot be sent.
        """
        if self._failure is not None:
            raise self._failure
        pieces = wire.encode({"number": self._number + 1, "method": method, "data": data}, tensors or {})
        self._number += 1
        return self._exchange(pieces, self.limits.seconds if seconds is None else seconds)

    def close(self) -> None:
        """Ends the child and everything that it started."""
        if self._failure is None:
            self._failure = Failure("crash", "the child was closed")
        self._end()
        scratch.remove(self._scratch)

    def _exchange(self, pieces: list[bytes], seconds: float) -> tuple[Any, dict[str, Tensor]]:
        """Sends a request and waits for its reply while it watches the child's time, memory and output."""
        reader = wire.Reader(min(MAX_REPLY, self.limits.memory))
        try:
            try:
                self._transfer(pieces, reader, time.monotonic() + seconds, seconds)
                head, tensors = reader.message()
            except wire.WireError as error:
                self._fail("protocol", f"the reply is not one that the harness wrote: {error}")
            if head.get("token") != self._token or head.get("number") != self._number:
                self._fail("protocol", "the reply is not one that the harness wrote: its token or number is wrong")
            self._read_output()
        except Failure:
            raise
        except BaseException:  # an interrupt: a reply that nobody waits for must not answer the next request
            self.close()
            raise
        if "error" not in head:
            return head.get("data"), tensors
        raised = head["error"] if isinstance(head["error"], dict) else {}
        message, where = (wire.one_line(str(raised.get(key, ""))) for key in ("message", "where"))
        raise Failure("raised", message, where, self.output)

    def _transfer(self, pieces: list[bytes], reader: wire.Reader, deadline: float, seconds: float) -> None:
        """Writes `pieces` and reads one message, each as far as it goes without waiting for the other."""
        unsent = [memoryview(piece) for piece in pieces if piece]
        read = selectors.EVENT_READ
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, read | selectors.EVENT_WRITE if unsent else read)
            selector.register(self._status, read)
            selector.register(self._captured.fd, read)
            while reader.wanted:
                now = time.monotonic()
                if now >= deadline:
                    self._fail("timeout", f"no answer within {seconds:g} s")
                if now >= self._next_look:
                    self._look()
                ready = {key.fileobj for key, _ in selector.select(max(0.0, min(deadline, self._next_look) - now))}
                if self._captured.fd in ready and not self._read_output():
                    selector.unregister(self._captured.fd)  # all who could write have closed it
                if self._status in ready:
                    self._read_status()
                if self._channel not in ready and not self._ended:
                    continue
                is_open = self._receive(reader)
                if reader.wanted and (self._ended or not is_open):
                    if not self._ended and select.select([self._status], [], [], POLL)[0]:
                        self._read_status()  # the end of a process closes its channel first
                    self._fail("crash", self._ended or "the code closed the child's channel to the harness")
                if unsent:
                    self._send(unsent)
                    if not unsent:
                        selector.modify(self._channel, read)

    def _send(self, unsent: list[memoryview]) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):  # a closed channel is noticed by the reader
            sent = self._channel.send(unsent[0])
            unsent[0] = unsent[0][sent:]
            if not unsent[0]:
                del unsent[0]

    def _receive(self, reader: wire.Reader) -> bool:
        """Reads what has arrived of a reply; False where the channel has been closed."""
        try:
            while reader.wanted:
                piece = self._channel.recv(min(reader.wanted, 2**20))
                if not piece:
                    return False
                reader.feed(piece)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        return True

    def _read_output(self) -> bool:
        more = self._captured.read()
        if self._captured.written > MAX_WRITTEN:
            self._fail("output", f"more than {MAX_WRITTEN // 2**20} MiB of output")
        return more

    def _read_status(self) -> None:
        words = self._status.recv(4096).split()
        if b"ended" in words:
            self._ended = ending(int(words[words.index(b"ended") + 1]))
        elif not words:
            self._ended = "the code killed the process that watches over it"

    def _look(self) -> None:
        """Looks at the child's processes, at most every `POLL` seconds."""
        assert self._tree is not None
        start = time.monotonic()
        alive = self._tree.look()
        if len(alive) > self.limits.processes:
            self._fail("memory", f"{len(alive)} processes at one time; the limit is {self.limits.processes}")
        used, limit = processes.resident(alive, self.limits.memory), self.limits.memory
        if used > limit:
            self._fail("memory", f"{used / 2**20:,.0f} MiB of memory in use; the limit is {limit / 2**20:,.0f} MiB")
        now = time.monotonic()
        self._next_look = now + min(max(POLL, 20 * (now - start)), SLOW_POLL)

    def _fail(self, kind: Kind, message: str) -> NoReturn:
        """Ends the child and raises the failure, which answers all later calls too."""
        self._failure = Failure(kind, wire.one_line(message))
        self._end()
        self._failure.output = self.output
        raise self._failure

    def _end(self) -> None:
        """Kills everything that the child started, and returns once it is gone."""
        if self._channel.fileno() < 0:
            return
        if self._tree is not None:
            self._tree.kill()  # what is known is killed at once; the supervisor finds the rest
            if not self._supervisor_ends():
                processes.kill([self._tree.supervisor])
                self._server.sweep(ENDING / 6)
                self._tree.wait(ENDING / 6)
        self._channel.close()
        self._status.close()
        self._captured.read()
        os.close(self._captured.fd)

    def _supervisor_ends(self) -> bool:
        """Tells the supervisor to kill all that is below it; whether it has done so within `ENDING` seconds."""
        assert self._tree is not None
        with contextlib.suppress(psutil.Error):
            self._tree.supervisor.resume()  # the user's code may have stopped it
        said = b""
        with contextlib.suppress(OSError):
            self._status.settimeout(ENDING)
            self._status.send(b".")
            while b"gone" not in said and (piece := self._status.recv(4096)):
                said += piece
        return b"gone" in said
