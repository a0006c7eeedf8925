"""Looking at runs: what TensorBoard is given, figures, pages, tables, notebooks."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from PIL import Image

import manualbp as mbp
from compare import GradientMismatch, Report, TrainResult, train
from compare.check.report import Row
from compare.cli import COMMANDS, main
from compare.names import names
from compare.run.chart import losses
from compare.run.closeup import close_up
from compare.run.jsonl import encode_line
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.past import read_folder
from compare.run.pictures import SIDE, boundary, confusion_matrix, heat_map
from compare.run.record import read_metrics
from compare.run.tags import GAPS, gap_tags
from compare.run.watch import Watch
from compare.show.axes import whole_epochs
from compare.show.drawing import DPI, render
from compare.show.figures import comparison, of_run
from compare.show.formulas import mathml
from compare.show.run_html import run_page
from compare.show.runs_terminal import folded
from compare.show.theme import THEMES, themed
from tests.planted import config, small_data, spoiled

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: classes, two inputs with a mistake that comes later, and regression."""
    root = tmp_path_factory.mktemp("runs")
    train(config(root, name="classes", epochs=4, hidden=(6,)), data=small_data("classes"))
    train(config(root, name="regression", epochs=4, hidden=(6,)), data=small_data("regression"))
    calls = {"n": 0}

    def later(params: Any, cache: Any, dy: Any, right: Any) -> Any:
        calls["n"] += len(dy) == 8
        return (right[0] * 1.01, {}) if calls["n"] > 10 else right

    net = mbp.Sequential(
        [mbp.Linear(2, 7), mbp.Tanh(), mbp.Linear(7, 6), spoiled(mbp.Sigmoid, later), mbp.Linear(6, 1)]
    )
    with pytest.raises(GradientMismatch):
        train(config(root, name="late <b>$x", epochs=9), net=net, data=small_data(features=2))
    return root


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(
        str(folder), size_guidance=dict.fromkeys(("scalars", "images", "tensors", "histograms"), 0)
    ).Reload()


def test_messages_are_those_that_tensorboard_makes() -> None:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2
    from torch.utils.tensorboard import summary

    from compare.run.summaries import session, session_ended, text

    assert text("a tag", "**ü**") == summary.text("a tag", "**ü**")
    for made in (*session({"data": "digits", "lr": 0.1}, "run", "manual", classes=True), session_ended(well=True)):
        (value,) = made.value
        data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
        assert value.tag == f"_hparams_/{data.WhichOneof('data')}"
        theirs = metadata.create_summary_metadata(data).plugin_data  # their content holds a map, in any order
        assert value.metadata.plugin_data.plugin_name == theirs.plugin_name
        assert data == plugin_data_pb2.HParamsPluginData.FromString(theirs.content)
        assert value.tensor == metadata.NULL_TENSOR


def test_what_tensorboard_gets(runs: Path) -> None:
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.hparams import metadata

    folder = runs / "classes"
    assert {path.parent.name for path in folder.rglob("events.*")} == {"autograd", "gap", "manual"}, "no stray run"
    manual, autograd, gap = (events(folder / run) for run in ("manual", "autograd", "gap"))
    assert {"deltas/z2", "deltas/z3", "parameters/W2", "parameters/b3"} <= set(manual.Tags()["histograms"])
    assert "error in ulps/z3" in gap.Tags()["histograms"]
    assert {"confusion matrix/validation", "curves/loss (Figure 2)"} <= set(manual.Tags()["images"])
    assert {"difference of the gradients/W2", "difference of the gradients/W3"} <= set(gap.Tags()["images"])
    for name in ("W2", "b3"):
        for tag in ("log10 relative {}", "ulp {}", "log10 relative {} worst so far", "ulp {} worst so far"):
            assert len(gap.Scalars(f"gap of parameters/{tag.format(name)}")) == 4
    assert {e.value for e in gap.Scalars("gap of deltas/log10 relative z2 worst so far")} == {-20.0}
    scalars = set(manual.Tags()["scalars"])
    assert (
        {"weight norm/layer 2", "update to weight/log10 layer 3", "overfitting/since epoch"}
        <= scalars
        == set(autograd.Tags()["scalars"])
    )
    texts = {tag.partition("/")[0] for tag in gap.Tags()["tensors"]}
    assert {"network", "verdict", "what is computed", "what it ran with"} <= texts
    made = layout_pb2.Layout.FromString(gap.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [category.title.partition(",")[0] for category in made.category] == [
        "manual vs autograd", "where the gap is", "layers",
    ]  # fmt: skip
    drawn = set(gap.Tags()["scalars"]) | scalars
    for category in made.category:
        for chart in category.chart:
            for tag in chart.multiline.tag:
                assert any(re.match(tag, each) for each in drawn), f"{chart.title}: {tag} matches no tag"
    for run in (manual, autograd):
        assert {metadata.EXPERIMENT_TAG, metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG} <= set(
            run.summary_metadata
        )


def test_a_mistake_that_comes_later_is_seen(runs: Path) -> None:
    folder = runs / "late <b>$x"
    gap, manual = events(folder / "gap"), events(folder / "manual")
    for name, jumps in (("z4", False), ("z3", True), ("z2", True)):
        points = gap.Scalars(f"gap of deltas/log10 relative {name} worst so far")
        assert points[0].value == -20.0
        assert (points[-1].value > -3) is jumps, name
    for name, jumps in (("W4", False), ("W3", True), ("W2", True)):
        points = gap.Scalars(f"gap of parameters/log10 relative {name} worst so far")
        assert {p.value for p in points[:-1]} == {-20.0}
        assert (points[-1].value > -3) is jumps, name
    mismatch = json.loads((folder / "mismatch" / "mismatch.json").read_text())
    assert (mismatch["step"], points[-1].step) == (13, mismatch["epoch"])  # every fourth batch of 30 rows has 6
    assert len(manual.Images("decision boundary/training")) >= 3
    run = read_folder(folder)
    assert run.mismatch is not None
    assert run.mismatch[0] == mismatch["epoch"]


def test_close_up_is_both_sides(runs: Path) -> None:
    net = mbp.Sequential([mbp.Linear(5, 4), mbp.GELU(), mbp.Linear(4, 3)])
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    pair = Pair(net, mbp.CrossEntropy(), params, lr=0.1, l2=0.1)
    data = small_data("classes")
    before = pair.state()
    seen = close_up(pair, names(net, params), Part(data.x_train, data.y_train))
    assert seen.ours.keys() == seen.theirs.keys() == {"z2", "z3", "W2", "b2", "W3", "b3"}
    assert all(relative < 1e-12 for _, relative in seen.gaps().values())
    after = pair.state()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_worst_gap_of_a_delta_outlives_a_resume() -> None:
    tag = "gap of deltas/ulp z2 worst so far"
    before, after = Watch(Mock(), Mock()), Watch(Mock(), Mock())
    before.restore({tag: 7.0})
    after.restore(json.loads(json.dumps(before.state())))
    assert gap_tags(GAPS["deltas"], {"z2": (3.0, 0.0)}, after.state())[tag] == 7.0
    assert gap_tags(GAPS["deltas"], {"z2": (9.0, 0.0)}, after.state())[tag] == 9.0


def test_gaps_of_deltas_are_in_the_record(runs: Path) -> None:
    looked = [line["step"] for line in read_metrics(runs / "classes") if "gap of deltas/ulp z2" in line.get("gap", {})]
    assert looked[0] == 0
    assert looked[-1] == 4


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures(runs: Path, theme: str) -> None:
    past = [read_folder(runs / name) for name in ("classes", "regression", "late <b>$x")]
    for drawing in (*of_run(past[0]), *of_run(past[2]), comparison(past)):
        png = render(drawing, "png", THEMES[theme])
        assert min(Image.open(io.BytesIO(png)).size) > 500
        svg = render(drawing, "svg", THEMES[theme])
        ElementTree.fromstring(svg)
        assert svg == render(drawing, "svg", THEMES[theme]), "the same numbers give the same file"
        assert all(len(row) == len(drawing.head) for row in drawing.rows)
    with pytest.raises(ValueError, match="7 runs are given"):
        comparison([past[0]] * 7)


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(light: float, paper: str) -> float:
    high, low = sorted((light, luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_contrast(theme: Any) -> None:
    for colour in (theme.ink, theme.soft, *theme.curves):
        assert contrast(luminance(colour), theme.paper) >= 4.5, colour


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_figures_at_half_size_and_in_greyscale(runs: Path, theme: Any) -> None:
    """Curves are told apart without colour, and no letter is smaller than 9 pixels at half size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_hex, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    past = [read_folder(runs / name) for name in ("classes", "regression", "late <b>$x")]
    for drawing in (*of_run(past[0]), *of_run(past[2]), comparison([*past, *past])):
        with themed(theme):
            figure = Figure(figsize=drawing.size, layout="constrained")
            FigureCanvasAgg(figure)
            drawing.draw(figure, theme)
            figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        assert min(text.get_fontsize() * DPI / 72 / 2 for text in texts) >= 9, drawing.name
        assert all(contrast(luminance(to_hex(text.get_color())), theme.paper) >= 4.5 for text in texts)
        for axes in figure.axes:
            curves = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
            looks = {(str(line._unscaled_dash_pattern), line.get_marker()) for line in curves}
            assert len(looks) == len(curves) > 0, f"{drawing.name}: two curves differ by colour alone"
            for line in curves:
                grey = sum(
                    w * c for w, c in zip((0.299, 0.587, 0.114), to_rgb(line.get_markeredgecolor()), strict=True)
                )
                assert contrast(((grey + 0.055) / 1.055) ** 2.4, theme.paper) >= 3, "a curve fades in greyscale"


def test_the_help_of_each_command_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for name, command in COMMANDS.items():
        assert main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out, name
        assert max(map(len, out.splitlines())) <= 80, name
        assert f"Example: {command.example}" in " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split()), name
    assert main(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_page(runs: Path) -> None:
    page = run_page(read_folder(runs / "late <b>$x"))
    assert "<b>$x" not in page
    assert "late &lt;b&gt;$x" in page
    assert not re.search(r"""(src|href)=["'](?!#)|<script|@import|url\((?!#)""", page.replace('xlink:href="#', "")), (
        "no file but this"
    )
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') == page.count("<figcaption>") == 3
    assert page.count('scope="col"') > 10
    assert "delta of z3, layer 3 is wrong" in page
    assert "<math" in page
    assert "confusion matrix" in page.lower()
    assert 'lang="en"' in page


def test_formulas() -> None:
    shown = mathml("δz2 = dJ/da2 ∘ a2 ∘ (1 - a2)    (4)")
    ElementTree.fromstring(shown.partition(" <span")[0])
    assert "<msub><mi>δ</mi><mn>2</mn></msub>" in shown
    assert shown.endswith('<span class="number">(4)</span>')
    assert "<msup><msub><mi>W</mi><mn>3</mn></msub><mi>T</mi></msup>" in mathml("z3 = a2 W3ᵀ + b3")
    assert "<script" not in mathml("x = <script>")


def test_notebook(runs: Path) -> None:
    page = Report((Row("z<2>", "wrong", 1.0, 2.0),))._repr_html_()
    assert "z&lt;2&gt;" in page
    assert "is wrong" in page
    result = train(config(runs, name="shown", overwrite=True), data=small_data())
    assert isinstance(result, TrainResult)
    page = result._repr_html_()
    assert "equal bit for bit" in page
    assert "<svg" in page


def test_pictures_are_as_wide_as_tensorboard_shows_them() -> None:
    for n in (2, 3, 10):
        image = confusion_matrix([[i * n + j for j in range(n)] for i in range(n)], [f"c{k}" for k in range(n)])
        assert (image.mode, image.width) == ("P", SIDE), n
    assert losses([0, 1], [1.0, 0.5], [1.0, math.nan], 0, None).width == SIDE


def test_a_single_epoch_has_one_tick() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([3], [1.0], marker="o")
    whole_epochs(axes)
    assert list(axes.get_xticks()) == [3]


def test_commands(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--runs", str(runs)]
    assert main(["runs", *where]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "mismatch" in out
    assert main(["runs", *where, "--json"]) == 0
    listed = {each["run"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed["classes"]["verdict"] == "equal bit for bit"
    assert listed["classes"]["epochs"] == 4
    assert main(["diff", "classes", "classes", *where]) == 0
    out = capsys.readouterr().out
    assert "The options are the same." in out
    assert "the same, in every bit, at every epoch that both evaluated (5)." in " ".join(out.split())
    assert main(["diff", "classes", "regression", *where]) == 0
    out = capsys.readouterr().out
    assert "before any step, seen at epoch 0" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert main(["plot", "classes", *where, "--out", str(tmp_path / "f")]) == 0
    assert {p.name for p in (tmp_path / "f").iterdir()} == {
        f"classes-{kind}.{form}" for kind in ("curves", "gap", "gradient-flow") for form in ("png", "svg")
    }
    assert main(["plot", "classes", "regression", *where, "--out", str(tmp_path / "g")]) == 0
    assert {p.name for p in (tmp_path / "g").iterdir()} == {"comparison.png", "comparison.svg"}
    assert main(["report", "classes", *where, "--out", str(tmp_path / "r.html")]) == 0
    capsys.readouterr()
    for bad, words in (
        (["plot", "nothing", *where], "no run 'nothing' there"),
        (["plot", *where], "plot needs the name of a run"),
        (["report", "classes", *where, "--out", "r.pdf"], "must end in .html"),
        (["report", "classes", *where, "--out", str(tmp_path / "no" / "r.html")], "cannot be written"),
        (["runs", "--runs", str(tmp_path)], "no runs there"),
        (["diff", "classes", "nothing", *where], "no run 'nothing' there"),
    ):
        assert main(bad) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_a_run_that_was_killed(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(runs / "classes", folder)
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])
    (folder / "text.jsonl").unlink()
    (folder / "timing.jsonl").unlink()
    run = read_folder(folder)
    assert (run.epochs, run.damaged, run.verdict, run.speed) == ([0, 1, 2], 1, "", 0.0)
    assert "no verdict yet" in run_page(run)


FOREIGN: dict[str, list[dict[str, Any]]] = {  # lines with a checksum that fits, by someone else
    "metrics.jsonl": [
        {"step": "x", "manual": {"loss/train": 1.0}},
        {"manual": {"loss/train": 1.0}},
        {"step": 10**30, "manual": {"loss/train": 1.0}},
        {"step": 1, "manual": [1, 2]},
        {"step": 1, "manual": {"loss/train": None}},
        {"step": 1, "manual": {"loss/train": 10**400}},
    ],
    "text.jsonl": [
        {"step": 0, "tag": "x", "rows": 3},
        {"step": 0, "tag": "confusion matrix", "text": "", "rows": [1], "head": None},
        {"step": 0, "tag": ["a"], "text": {"b": 1}},
    ],
    "timing.jsonl": [{"step": 0, "seconds": "x", "steps": 1}, {"seconds": 3}, {"step": 0, "seconds": 1, "steps": "y"}],
}


@pytest.mark.parametrize("log", FOREIGN)
def test_a_run_with_lines_of_someone_else(log: str, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(runs / "classes", folder)
    before = read_folder(folder)
    with open(folder / log, "ab") as file:
        file.writelines(encode_line(line) for line in FOREIGN[log])
    (folder / "config.toml").write_text("config = 3\n")
    run = read_folder(folder)
    for part in ("epochs", "history", "texts", "tables"):  # as text: a NaN is not equal to itself
        assert repr(getattr(run, part)) == repr(getattr(before, part))
    assert run.damaged == (len(FOREIGN[log]) if log == "metrics.jsonl" else 0)
    run_page(run)


def test_one_broken_run_hides_no_other(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("broken", "whole"):
        shutil.copytree(runs / "classes", tmp_path / name)
    (tmp_path / "broken" / "config.toml").write_bytes(b"\xff")
    assert main(["runs", "--runs", str(tmp_path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert [each["run"] for each in json.loads(out)] == ["whole"]
    assert "broken/config.toml: cannot be read" in err
    assert err.count("\n") == 1


def test_names_are_folded_at_their_marks() -> None:
    assert folded("breast-cancer-2026-11-23-083012", 17).splitlines() == ["breast-cancer-", "2026-11-23-083012"]
    assert folded("30-16-1, Sigmoid, LogLoss", 13).splitlines() == ["30-16-1,", "Sigmoid,", "LogLoss"]
    assert folded("x" * 20, 8).splitlines() == ["x" * 8, "x" * 8, "x" * 4]
    assert folded("", 8) == ""


def test_pictures_of_odd_numbers() -> None:
    nothing = torch.zeros(3, 4)
    assert heat_map(nothing, nothing).getpixel((0, 0)) == 0
    error = torch.tensor([[0.0, 1e-16], [1e-8, float("nan")]])
    image = heat_map(error, torch.ones(2, 2))
    shades = [
        image.getpixel((image.width * (1 + 2 * j) // 4, image.height * (1 + 2 * i) // 4))
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert shades == sorted(shades)
    assert (shades[0], shades[-1]) == (0, 255)
    assert max(heat_map(torch.rand(500, 3000), torch.ones(500, 3000)).size) <= 320
    nan, inf = float("nan"), float("inf")
    losses([0, 1, 2], [1.0, nan, inf], [nan, nan, nan], None, None)
    losses([0, 1], [0.0, 0.0], [0.0, 0.0], 0, None)
    losses([0, 1], [1e300, 1.0], [1e-300, 1.0], 1, 1)
    import numpy as np

    x = np.zeros((3, 2))
    boundary(np.zeros((4, 4)), x, [0, 1, 0], np.array([-1.0, -1.0]), np.array([1.0, 1.0]))


def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("manualbp", "--activation", "lecture", "completion"))
    if (bash := shutil.which("bash")) is None:
        return
    for words, expected in (
        (["tr"], {"train"}),
        (["train", "--activ"], {"--activation"}),
        (["r"], {"runs", "resume", "replay", "report"}),
    ):
        asked = f"COMP_WORDS=(manualbp {' '.join(words)}) COMP_CWORD={len(words)}"
        ask = f'{asked}; $(complete -p manualbp | sed "s/.*-F \\([^ ]*\\).*/\\1/"); printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run([bash, "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=60)
        assert set(done.stdout.split()) == expected, (words, done.stderr)


def in_a_terminal(arguments: list[str], folder: Path, *, no_color: str = "1") -> tuple[int, str, list[str]]:
    """The status of a command in a terminal of its own of 80 columns, what it wrote, and its lines without codes."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"NO_COLOR": no_color, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "compare.cli", *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=folder, env=environment)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 65536):
            said += piece
    os.close(ours)
    text = said.decode()
    return process.wait(60), text, re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))


def test_options_in_a_terminal(tmp_path: Path) -> None:
    """A mistaken option is told in one plain line there too; help has colours, unless they are not wanted."""
    for no_color in ("", "1"):
        status, text, _ = in_a_terminal(["runs", "--bogus"], tmp_path, no_color=no_color)
        assert status == 2
        assert text.strip() == "manualbp: Unrecognized options: --bogus; `manualbp runs --help` lists the options"
        status, text, lines = in_a_terminal(["runs", "--help"], tmp_path, no_color=no_color)
        assert status == 0
        assert ("\x1b" in text) == (not no_color)
        assert "List all runs" in text
        assert max(map(len, lines)) <= 80


@pytest.mark.slow
def test_a_live_bar_of_80_columns(tmp_path: Path) -> None:
    """In a terminal of its own: no line is wider, and without colours none is asked for."""
    status, text, lines = in_a_terminal(["train", "--data", "digits", "--epochs", "6", "--name", "live"], tmp_path)
    assert status == 0, text[-500:]
    assert not re.search(r"\x1b\[(\d+;)*(3|4|9|10)\d(;\d+)*m", text), "no colours"
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"epoch +[1-5]/6 .*loss \d\.\d+ .*val \d\.\d+ .*/s", line) for line in lines), "seen alive"


@pytest.mark.slow
def test_every_command_in_a_terminal_of_80_columns(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    named = tmp_path / f"{'a_long_name_' * 6}.py"
    wrong = (tmp_path / "examples" / "hw_wrong.py").read_text(encoding="utf-8")
    named.write_text(wrong.replace("z2", "a_pre_activation_with_a_long_name_2"), encoding="utf-8")
    teacher = "examples/class/teacher.py"
    for arguments, status in (
        (["causes"], 0),
        (["causes", "missing_activation_derivative"], 0),
        (["new", "hw.py"], 0),
        (["check", named.name, "--no-explain", "--timeout", "300"], 1),
        (["grade", "examples/class/submissions", "--reference", teacher, "--no-explain", "--timeout", "300"], 0),
        (["runs", "--runs", str(runs)], 0),
        (["diff", "classes", "regression", "--runs", str(runs)], 0),
        (["lecture", "eq-4"], 0),
    ):
        found, text, lines = in_a_terminal(arguments, tmp_path)
        assert found == status, text[-500:]
        wide = [line for line in lines if len(line) > 80 and not line.startswith(named.name)]  # a path stays whole
        assert wide == [], arguments


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "no terminal"])
def test_terminal_of_80_columns(tty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from compare.run.train import execute
    from compare.show.terminal import Terminal

    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    console = Console(file=out, force_terminal=tty, width=80, highlight=False, markup=False)
    with Terminal(console=console) as terminal:
        terminal.finished(execute(config(tmp_path, epochs=12, hidden=(4,)), terminal, data=small_data("classes")))
    assert not re.search(r"\x1b\[(\d+;)*(3|4|9|10)\d", out.getvalue()), "no colours"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    lines = re.split(r"[\r\n]+", plain)
    assert max(map(len, lines)) <= 80
    assert ("\x1b" in out.getvalue()) is tty
    progress = [line for line in lines if re.match(r"\s*epoch +\d+/12", line)]
    assert any(re.search(r"loss \d\.\d+ +val \d\.\d+ +acc \d\.\d+ +gap 0 ulp +[\d,]+/s", line) for line in progress), (
        progress
    )
    assert tty or any(line.endswith(" s left") for line in progress)
