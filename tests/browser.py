"""Debian's chromium without a window: a page after its scripts have run, what it complained of, where it went."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CHROMIUM = (
    "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps --disable-extensions "
    "--disable-3d-apis "  # TensorBoard then draws its curves as SVG paths, which the page's source shows
    "--window-size=1500,3000 --virtual-time-budget=20000 --enable-logging=stderr"
).split()
# chromium's own, before any page is open: it looks for a proxy and for its maker's services, which is not the page
OWN = re.compile(r"(^|\.)(google|googleapis|gvt1|gstatic)\.com$|^wpad$")


@dataclass(frozen=True)
class Page:
    """What came of opening an address."""

    source: str
    console: list[str]  # messages, warnings of TensorBoard's own libraries apart
    hosts: set[str]  # that anything was asked of
    shot: Path


def open_page(address: str, folder: Path, name: str) -> Page:
    """Open it twice, for its source and for a screenshot, which also goes to $MANUALBP_SCREENSHOTS if that is set."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: apt-get install chromium")
    shots = Path(os.environ.get("MANUALBP_SCREENSHOTS", folder)).absolute()
    log, shot = folder / "net.json", shots / f"{name}.png"
    command = [*CHROMIUM, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=240, check=True)
    subprocess.run([*command[:-1], f"--screenshot={shot}", address], capture_output=True, timeout=240, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "Three.js" not in line]
    return Page(done.stdout, said, _hosts(log), shot)


def _hosts(log: Path) -> set[str]:
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().rstrip(",")
    try:
        record = json.loads(text)
    except ValueError:  # chromium was ended before it closed the list
        record = json.loads(text + "]}")
    asked = {event.get("params", {}).get("url", "") for event in record["events"]}
    hosts = {urlsplit(url).hostname or "" for url in asked if url.startswith(("http", "ws"))}
    return {host for host in hosts if not OWN.search(host)}
