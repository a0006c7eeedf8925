"""TensorBoard on a run: what its readers, its HTTP routes and a browser show, and how the server starts and ends."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest

from compare.run.board import Server, board, serving
from compare.run.events import EventFile
from compare.run.record import RunRecord

ROOT = Path(__file__).parents[1]
STEPS = 1500  # more than the 1,000 points that TensorBoard samples
TAGS = ("loss/train", "loss/val")


def curve(run: str, tag: str, step: int) -> float:
    return math.exp(-step / 500) + 0.2 * TAGS.index(tag) + 0.05 * (run == "autograd")


def gap(step: int) -> float:
    return 2.0**40 if step == 777 else 0.0


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board") / "runs [1]"
    with RunRecord.create(root, "Größe, 2", "breast-cancer", {"lr": 0.5}, overwrite=False) as record:
        worst = 0.0
        for step in range(STEPS):
            values = {run: {tag: curve(run, tag, step) for tag in TAGS} for run in ("manual", "autograd")}
            worst = max(worst, gap(step))
            values["gap"] = {"gap/ulp largest": gap(step), "gap/ulp worst so far": worst}
            values["gap"] |= {"gap/relative worst so far": worst * 2.0**-50}
            record.scalars(step, values)
        record.text("verdict", "equal **bit for bit**")
    for first, last in ((0, 9), (5, 12)):  # a run that went to step 9 and was continued from step 5
        (root / "continued").mkdir(exist_ok=True)
        events = EventFile(root / "continued", first)
        for step in range(first, last + 1):
            events.scalars(step, {"loss/train": float(first)})
        events.close()
    with RunRecord.create(root, "resumed", "iris", {}, overwrite=False) as first:  # killed after step 9
        for step in range(10):
            first.scalars(step, {"manual": {"loss/train": 0.0}, "gap": {"gap/ulp largest": 0.0}})
            if step == 4:
                sizes = first.sync()
    with RunRecord.reopen(root / "resumed") as second:
        second.rewind(sizes, 5, complete=True)
        for step in range(5, 13):
            second.scalars(step, {"manual": {"loss/train": 5.0}, "gap": {"gap/ulp largest": 5.0}})
    return record.path


def get(port: int, route: str, **query: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://localhost:{port}{route}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.loads(answer.read())


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)


def test_event_accumulator(run_folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    readers = {}
    for run in ("manual", "autograd", "gap"):
        readers[run] = EventAccumulator(str(run_folder / run), size_guidance={"scalars": 0}).Reload()
    for run in ("manual", "autograd"):
        assert readers[run].Tags()["scalars"] == list(TAGS)
        for tag in TAGS:
            events = readers[run].Scalars(tag)
            assert [e.step for e in events] == list(range(STEPS))
            assert [e.value for e in events] == [np.float32(curve(run, tag, step)) for step in range(STEPS)]
    values = {tag: [e.value for e in readers["gap"].Scalars(tag)] for tag in readers["gap"].Tags()["scalars"]}
    assert max(values["gap/ulp largest"]) == values["gap/ulp worst so far"][-1] == 2.0**40
    assert values["gap/log10 relative worst so far"][0] == -20.0
    assert values["gap/log10 relative worst so far"][-1] == np.float32(math.log10(2.0**-10))
    assert "gap/relative worst so far" not in values


@pytest.fixture(scope="module", params=["true", "false"])
def server(request: pytest.FixtureRequest, run_folder: Path) -> Iterator[Server]:
    load_fast: Literal["true", "false"] = request.param
    with serving(run_folder.parent, load_fast=load_fast) as server:
        yield server


def test_http_route_returns_both_runs(server: Server, run_folder: Path) -> None:
    name = run_folder.name
    runs = {f"{name}/manual", f"{name}/autograd", f"{name}/gap", "continued"}
    runs |= {f"resumed/{run}" for run in ("manual", "gap")}

    def points(run: str, tag: str) -> list[tuple[int, float]]:
        return [(s, v) for _, s, v in get(server.port, "/data/plugin/scalars/scalars", run=run, tag=tag)]

    def loaded() -> bool:
        tags = get(server.port, "/data/plugin/scalars/tags")
        ends = ((f"{name}/autograd", TAGS[-1]), (f"{name}/manual", TAGS[-1]), (f"{name}/gap", "gap/ulp worst so far"))
        return tags.keys() == runs and all(t in tags[r] and points(r, t)[-1][0] == STEPS - 1 for r, t in ends)

    eventually(loaded)
    tags = get(server.port, "/data/plugin/scalars/tags")
    assert set(tags[f"{name}/manual"]) == set(tags[f"{name}/autograd"]) == set(TAGS)
    for run in ("manual", "autograd"):
        for tag in TAGS:
            shown = points(f"{name}/{run}", tag)
            assert len(shown) == 1000, "TensorBoard's own sample"
            assert shown[-1][0] == STEPS - 1
            assert all(v == np.float32(curve(run, tag, s)) for s, v in shown)
    assert points(f"{name}/gap", "gap/ulp worst so far")[-1][1] == 2.0**40, "one bad step outlives the sample"
    for run, tag in (("continued", TAGS[0]), ("resumed/manual", TAGS[0]), ("resumed/gap", "gap/ulp largest")):
        assert points(run, tag) == [(s, 0.0 if s < 5 else 5.0) for s in range(13)], "none is doubled, none is missing"
    verdict = get(server.port, "/data/plugin/text/text", run=f"{name}/gap", tag="verdict/text_summary")
    assert "<strong>bit for bit</strong>" in json.dumps(verdict)


def test_a_board_is_live(server: Server, run_folder: Path) -> None:
    with RunRecord.create(run_folder.parent, "live", "iris", {}, overwrite=True) as record:
        record.scalars(0, {"manual": {"loss/train": 1.0}})
        eventually(lambda: "live/manual" in get(server.port, "/data/runs"))
    shutil.rmtree(record.path)


def test_local_and_without_projector(server: Server) -> None:
    plugins = get(server.port, "/data/plugins_listing")
    assert {"timeseries", "scalars", "custom_scalars", "images", "histograms", "text", "hparams"} <= plugins.keys()
    assert "projector" not in plugins
    for process in (psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)):
        listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}


# --- the command --------------------------------------------------------------------------------------------

BOARD = "import sys; from compare.run.board import board; sys.exit(board(sys.argv[1] or None, runs=sys.argv[2]))"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_board_serves_and_ends(run_folder: Path, number: int, status: int) -> None:
    run = run_folder.name if number == signal.SIGINT else ""
    command = [sys.executable, "-c", BOARD, run, str(run_folder.parent)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        told = re.search(r"^  http://localhost:(\d+)/\?smoothing=0#timeseries$", lines[1])
        assert told is not None, "".join(lines) + process.communicate(timeout=60)[1]
        port = int(told[1])
        assert lines[5].startswith(f"  ssh -L {port}:localhost:{port} ")
        assert all(len(line) <= 81 for line in lines[1:])
        assert get(port, "/data/environment")["data_location"] == str(run_folder if run else run_folder.parent)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.send_signal(number)
        errors = process.communicate(timeout=20)[1]
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, errors) == (status, "")
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, "nothing outlives the board"


def test_ended_server_is_an_error(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def end_the_child() -> None:
        me = psutil.Process()
        eventually(lambda: "localhost" in capsys.readouterr().out, 30)
        for process in me.children():
            if "tensorboard_server.py" in " ".join(process.cmdline()):
                process.kill()

    thread = threading.Thread(target=end_the_child)
    thread.start()
    with pytest.raises(ValueError, match=r"TensorBoard ended by itself \(.*\); start it again"):
        board(run_folder.name, runs=str(run_folder.parent))
    thread.join()


def test_refusals(run_folder: Path, tmp_path: Path) -> None:
    runs = str(run_folder.parent)
    with pytest.raises(ValueError, match=r"no run 'Größe' there; (did you mean|there are) Größe, 2"):
        board("Größe", runs=runs)
    with pytest.raises(ValueError, match=r"no runs there; make one with `manualbp train`, or name their folder"):
        board(None, runs=str(tmp_path))
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=rf"--port must be between 1 and 65535.*, got {port}"):
            board(None, runs=runs, port=port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"--port {port} cannot be had \(Address already in use\)"):
            board(None, runs=runs, port=port)


def test_server_that_does_not_start(run_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(ValueError, match=r"TensorBoard ended at its start; its last line: .*already in use"),
            serving(run_folder, taken.getsockname()[1]),
        ):
            pass


# --- a browser ----------------------------------------------------------------------------------------------

CHROMIUM = (
    "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync "
    "--disable-3d-apis "  # TensorBoard then draws its curves as SVG paths, which the page's source shows
    "--window-size=1500,3000 --virtual-time-budget=20000"
).split()


def open_page(address: str, profile: Path) -> str:
    """The source of the page after its scripts have run; a screenshot goes to $MANUALBP_SCREENSHOTS if that is set."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: apt-get install chromium")
    command = [*CHROMIUM, f"--user-data-dir={profile}", "--dump-dom", address]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    if folder := os.environ.get("MANUALBP_SCREENSHOTS"):
        command[-2] = f"--screenshot={Path(folder).absolute()}/time-series.png"
        subprocess.run(command, capture_output=True, timeout=120, check=True)
    return page


@pytest.mark.browser
def test_browser_shows_both_curves_on_one_chart(run_folder: Path, tmp_path: Path) -> None:
    with serving(run_folder) as server:
        page = open_page(f"http://localhost:{server.port}/?smoothing=0#timeseries", tmp_path)
    charts = {}
    for card in re.findall(r"<scalar-card .*?</scalar-card>", page, re.DOTALL):
        tag = re.search(r'<tb-truncated-path [^>]*title="([^"]*)"', card)
        assert tag is not None
        paths = [path for path in re.findall(r"<path [^>]*>", card) if "stroke:" in path or "stroke=" in path]
        rows = set(re.findall(r">\s*(manual|autograd|gap)\s*<", card))
        charts[tag[1]] = (paths, rows)
    for tag in TAGS:
        paths, rows = charts[tag]
        assert rows == {"manual", "autograd"}, "both are named below the chart"
        lines = {re.search(r' d="([^"]*)"', f" {path}")[1] for path in paths}  # type: ignore[index]
        assert len(lines) == 2, "two different curves"
        assert all(line.count("L") > 500 and "NaN" not in line for line in lines)
    assert charts["gap/log10 relative worst so far"][1] == {"gap"}


@pytest.mark.parametrize(("port", "tries"), [(0, 4), (6100, 1)], ids=["any port", "a port that was asked for"])
def test_a_port_that_another_program_takes_first(
    port: int, tries: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[int] = []

    def taken(process: subprocess.Popen[str]) -> Server:
        begun.append(process.pid)
        assert process.stdout is not None
        process.stdout.close()
        raise ValueError("its last line: Port 6008 is in use by another program. Either identify and stop that program")

    monkeypatch.setattr("compare.run.board._started", taken)
    with pytest.raises(ValueError, match="Port 6008 is in use"), serving(tmp_path, port):
        pass
    assert len(begun) == tries
    assert not any(psutil.pid_exists(pid) for pid in begun)
