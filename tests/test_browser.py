"""What a browser shows of a default run in TensorBoard, and of each page: curves, titles, no complaint, no request.

MANUALBP_SCREENSHOTS=folder keeps the screenshots.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from compare.cli import main
from compare.run.board import serving
from compare.run.config import TrainConfig
from compare.run.train import train
from tests.browser import Browser, Page, browser

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
PAGE = "?smoothing=0#custom_scalars&_smoothingWeight=0"
FIRST_CHARTS = (355, 68, 1500, 1447)  # of that page: the first two of its categories, whole


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TrainConfig(runs=str(tmp_path_factory.mktemp("runs")), name="default", threads=1)).folder


def kept(folder: Path, name: str) -> Path:
    return Path(os.environ.get("MANUALBP_SCREENSHOTS", folder)).absolute() / f"{name}.png"


def cut(shot: Path) -> None:
    """Keep the first charts of a screenshot, in few colours, as docs show it."""
    with Image.open(shot) as whole:
        whole.crop(FIRST_CHARTS).convert("RGB").quantize(64).save(shot, optimize=True)


def clean(page: Page) -> str:
    assert page.said == []
    assert page.hosts <= {"localhost"}, "nothing leaves the machine"
    assert page.shot.stat().st_size > 20_000
    return page.content


def test_board_of_a_default_run(chromium: Browser, run_folder: Path, tmp_path: Path) -> None:
    """Its first screenshot is the picture of docs/first-run.md: MANUALBP_SCREENSHOTS=docs/figures makes it again."""
    shot = kept(tmp_path, "board")
    with serving(run_folder) as server:
        address = f"http://localhost:{server.port}/"
        charts = clean(chromium.open(address + PAGE, shot, until="size of an update relative"))
        pictures = clean(chromium.open(address + "#images", kept(tmp_path, "pictures"), until="curves/loss (Figure 2)"))
        texts = clean(chromium.open(address + "#text", kept(tmp_path, "texts"), until="network/text_summary"))
    for title in (
        "manual vs autograd",
        "loss: training and validation of both runs",
        "gap of all gradients, log10 relative",
        "overfitting: since which epoch",
        "layer by layer from the output on",
        "layer 3: z3, W3, b3",
        "layer 2: z2, W2, b2",
        "gradient norm, log10: vanishing or exploding",
    ):
        assert title in charts, title
    chart = charts[charts.index("loss: training and validation") : charts.index("gap of all gradients")]
    curves = [d for d in re.findall(r'<path d="(M[^"]*)"', chart) if d.count("L") >= 30 and "NaN" not in d]
    assert len(curves) >= 4, "both losses of both runs"
    assert "confusion matrix" in pictures
    assert "verdict" in texts
    cut(shot)


def test_board_of_a_mistake_that_comes_later(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture of docs/find-a-mistake.md: MANUALBP_SCREENSHOTS=docs/figures makes it again."""
    shot = kept(tmp_path, "late-board")
    page = (ROOT / "docs" / "find-a-mistake.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "late.py").write_text(source, encoding="utf-8")
    exec(compile(source, str(tmp_path / "late.py"), "exec"), {"__name__": "late"})
    with serving(tmp_path / "runs" / "late") as server:
        address = f"http://localhost:{server.port}/{PAGE}"
        charts = clean(chromium.open(address, shot, until="size of an update relative"))

    def jumps(title: str, following: str) -> bool:
        chart = charts[charts.index(title) : charts.index(following)]
        heights = [
            [float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", path)]
            for path in re.findall(r'<path d="(M[^"]*)"', chart)
            if "NaN" not in path
        ]
        return any(max(each) - min(each) > 20 for each in heights if len(each) > 2)

    assert not jumps("layer 4: z4, W4, b4", "layer 3: z3, W3, b3")
    assert jumps("layer 3: z3, W3, b3", "layer 2: z2, W2, b2")
    cut(shot)


def test_report_of_a_run(chromium: Browser, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.html"
    assert main(["report", str(run_folder), "--out", str(out)]) == 0
    page = clean(chromium.open(out.as_uri(), kept(tmp_path, "report"), until="Config and versions"))
    for said in ("equal bit for bit", "training, by hand", "validation, autograd", "overfitting since epoch", "<math"):
        assert said in page, said
    assert len(re.findall(r'<svg aria-label="[^"]{40,}" role="img">', page)) == page.count("<figcaption>") == 3
    assert page.count("<caption>") >= 5


def test_report_of_a_check(chromium: Browser, tmp_path: Path) -> None:
    out = tmp_path / "check.html"
    assert (
        main(["check", str(ROOT / "examples" / "hw_wrong.py"), "--quiet", "--timeout", "300", "--report", str(out)])
        == 1
    )
    page = clean(chromium.open(out.as_uri(), kept(tmp_path, "check"), until="What was tried"))
    assert "is wrong" in page
    assert "inherited" in page


def test_report_of_the_lecture(chromium: Browser, tmp_path: Path) -> None:
    out = tmp_path / "lecture.html"
    assert main(["lecture", "eq-4", "--report", str(out)]) == 0
    assert "<math" in clean(chromium.open(out.as_uri(), kept(tmp_path, "lecture"), until="All statements"))
