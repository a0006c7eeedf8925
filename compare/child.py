"""What runs in the child: a loop that answers requests, and `load`, which imports a user's file.

A service is a class of this project. It is made in the child before any user code is loaded, and each of its public
methods answers one kind of request: `method(data, tensors) -> (data, tensors)`, where `data` is what JSON can hold and
`tensors` is a dict. An exception that leaves a method becomes a `Failure` of kind "raised" in the parent.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import re
import site
import socket
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from compare import wire

MAX_SOURCE = 4 * 2**20  # bytes of a user's file
_HARNESS = Path(__file__).resolve().parents[1]
_loaded: list[Path] = []  # the user's files, in the order in which they were loaded


class Refusal(ValueError):
    """An error whose text is the whole message: the parent shows it without the name of its type."""


def load(path: str | Path) -> ModuleType:
    """The user's Python file at `path` as a module under a private name; `__name__` is not `"__main__"`.

    Its folder joins `sys.path` behind the standard library and before installed packages: the file finds its
    neighbours, and a neighbour called `random.py` harms nobody. Raises `Refusal` where there is no Python file to
    import, and whatever the file itself raises while it runs, `SystemExit` included.
    """
    file = Path(path).resolve()
    name = wire.one_line(file.name, 100)
    if file.suffix == ".ipynb":
        raise Refusal(f"{name} is a notebook; save it as a script first: jupyter nbconvert --to script {name}")
    if not file.exists():
        raise Refusal(f"{wire.one_line(str(path), 300)}: no such file; check the path")
    if not file.is_file():
        raise Refusal(f"{wire.one_line(str(path), 300)} is not a regular file; name a .py file")
    if file.suffix != ".py":
        raise Refusal(f"{name} does not end in .py; name a Python file")
    if file.stat().st_size > MAX_SOURCE:
        raise Refusal(f"{name} holds {file.stat().st_size:,} bytes; at most {MAX_SOURCE:,} are read as a script")
    if str(file.parent) not in sys.path:
        sys.path.insert(_behind_standard_library(), str(file.parent))
    module_name = f"_user_{len(_loaded)}_" + re.sub(r"\W", "_", file.stem)
    loader = importlib.machinery.SourceFileLoader(module_name, str(file))
    spec = importlib.util.spec_from_file_location(module_name, file, loader=loader)
    assert spec is not None  # a loader was given
    module = importlib.util.module_from_spec(spec)
    _loaded.append(file)
    sys.modules[module_name] = module  # as import does: dataclasses look their module up
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _behind_standard_library() -> int:
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    standard |= {os.path.join(folder, "lib-dynload") for folder in standard}
    return max((i + 1 for i, entry in enumerate(sys.path) if entry in standard), default=len(sys.path))


def where(error: BaseException) -> str:
    """The user's file and line that an exception comes from: the deepest frame of theirs, as `hw.py:41`, or ``""``."""
    if isinstance(error, SyntaxError) and error.filename and (name := _user_file(error.filename)):
        return f"{name}:{error.lineno}"
    place = ""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        if name := _user_file(step.tb_frame.f_code.co_filename):
            place = f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return place


def _user_file(filename: str) -> str:
    """`filename` as the user knows it, where it is a loaded file or lies in the folder of one; else ``""``."""
    file = Path(filename)
    if file in _loaded:
        return file.name
    installed = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    installed += [site.getusersitepackages(), *(str(_HARNESS / name) for name in ("compare", "manualbp", "torch_ref"))]
    if not file.is_absolute() or any(file.is_relative_to(folder) for folder in installed):
        return ""
    folders = [loaded.parent for loaded in _loaded if file.is_relative_to(loaded.parent)]
    return str(file.relative_to(folders[0])) if folders else ""


def describe(error: BaseException) -> dict[str, str]:
    """An exception as the fields of a reply: one line `TypeName: text`, and where in the user's code it was raised."""
    try:
        text = wire.one_line(str(error))
    except BaseException as second:  # a `__str__` of the user's own may raise anything
        text = f"(its text cannot be read: {type(second).__name__})"
    name = wire.one_line(type(error).__name__, 100)
    if isinstance(error, Refusal):
        message = text
    else:
        message = f"{name}: {text}" if text else name
    return {"message": message, "where": wire.one_line(where(error), 300)}


def serve(channel: socket.socket, service: str, token: str) -> None:
    """Answers requests that come over `channel` until it closes.

    `service` is "package.module:Class". The first reply, number 0, says that it was made. Every reply carries `token`
    and the number of its request, so that bytes which the user's code writes into the channel are no reply.
    """
    owner, getpid, leave = os.getpid(), os.getpid, os._exit
    instance: Any = None

    def answer(head: dict[str, Any], tensors: Any) -> list[bytes]:
        nonlocal instance
        number = head["number"]
        try:
            if number == 0:
                module, _, name = service.partition(":")
                instance = getattr(importlib.import_module(module), name)()
                result, results = None, {}
            else:
                result, results = getattr(instance, head["method"])(head["data"], tensors)
            return wire.encode({"token": token, "number": number, "data": result}, results)
        except BaseException as error:  # what user code raises, SystemExit too, is an answer
            return wire.encode({"token": token, "number": number, "error": describe(error)}, {})

    request: tuple[dict[str, Any], Any] | None = ({"number": 0}, {})
    while request is not None:
        pieces = answer(*request)
        if getpid() != owner:
            leave(0)  # the user's code forked: the copy has nothing to say
        for piece in pieces:
            channel.sendall(piece)
        request = _receive(channel)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], Any] | None:
    """The next request, or None where the parent has closed the channel."""
    reader = wire.Reader(most=2**63)  # requests come from the parent, which is trusted
    while reader.wanted:
        piece = channel.recv(min(reader.wanted, 2**20))
        if not piece:
            return None
        reader.feed(piece)
    return reader.message()
