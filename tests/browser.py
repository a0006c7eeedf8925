"""Debian's chromium without a window, driven through its debugging pipe: what a page shows, says and asks for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1500,2600 --remote-debugging-pipe "
    "--disable-3d-apis"  # TensorBoard then draws its curves as SVG paths, which can be read
).split()
# the page with what is inside its components, which its plain source leaves out
DEEP = """(() => {
  const walk = (node) => {
    let text = node.nodeType === 3 ? node.data : '';
    if (node.nodeType === 1) {
      if (['SCRIPT', 'STYLE'].includes(node.tagName)) return '';
      const d = node.getAttribute('d');
      const names = ['alt', 'aria-label', 'role', 'scope'].filter((n) => node.hasAttribute(n));
      const given = names.map((n) => ` ${n}="${node.getAttribute(n)}"`).join('');
      text += '<' + node.localName + given + (d ? ` d="${d}"` : '') + '>';
      if (node.shadowRoot) node.shadowRoot.childNodes.forEach((child) => { text += walk(child); });
    }
    node.childNodes.forEach((child) => { text += walk(child); });
    return text;
  };
  return walk(document.body);
})()"""


@dataclass
class Page:
    """What came of opening an address."""

    content: str = ""
    said: list[str] = field(default_factory=list)  # errors and warnings on the console
    hosts: set[str] = field(default_factory=set)  # that anything was asked of
    shot: Path = Path()


class Browser:
    """One chromium with one page."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._number, self._buffer = 0, b""
        self._page = Page()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, address: str, shot: Path, *, until: str, seconds: float = 120.0) -> Page:
        """Go to `address`, wait until its content holds `until` and stays the same, and take a screenshot."""
        self._page = page = Page(shot=shot)
        self._call("Page.navigate", url=address)
        deadline = time.monotonic() + seconds
        before = ""
        while True:
            page.content = self._call("Runtime.evaluate", expression=DEEP)["result"].get("value", "")
            if until in page.content and page.content == before:
                break
            assert time.monotonic() < deadline, f"{address} does not show {until!r}"
            before = page.content
            time.sleep(2.0)
        shot.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))
        return page

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], 120)
            piece = os.read(self._back, 2**16) if ready else b""
            assert piece, "chromium does not answer"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            url = urlsplit(params["request"]["url"])
            if url.scheme in ("http", "https", "ws", "wss"):
                self._page.hosts.add(url.hostname or "")
        elif event == "Runtime.exceptionThrown":
            self._page.said.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self._page.said.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            text = " ".join(str(each.get("value", "")) for each in params["args"])
            if "Three.js" not in text:  # TensorBoard's projector and mesh plugins each bring one
                self._page.said.append(text)


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A chromium of its own, with its profile in `folder`; skipped where there is none."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: apt-get install chromium")
    theirs, to = os.pipe()
    back, answers = os.pipe()
    line = f'exec chromium {" ".join(FLAGS)} "--user-data-dir=$0" 3<&{theirs} 4>&{answers}'
    process = subprocess.Popen(
        ["bash", "-c", line, str(folder / "profile")], pass_fds=(theirs, answers), stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    os.close(answers)
    try:
        yield Browser(process, to, back)
    finally:
        os.close(to)  # chromium ends with its pipe
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(back)
