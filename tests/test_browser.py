"""What a browser shows of a default run in TensorBoard, and of each page: curves, titles, no complaint, no request.

MANUALBP_SCREENSHOTS=folder keeps the screenshots.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compare.cli import main
from compare.run.board import serving
from compare.run.config import TrainConfig
from compare.run.train import train
from tests.browser import Page, open_page

pytestmark = pytest.mark.browser
LOCAL = {"localhost", "127.0.0.1", "::1"}
ROOT = Path(__file__).parents[1]


def clean(page: Page) -> str:
    assert page.console == []
    assert page.hosts <= LOCAL, "nothing leaves the machine"
    assert page.shot.stat().st_size > 20_000
    return page.source


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TrainConfig(runs=str(tmp_path_factory.mktemp("runs")), name="default", threads=1)).folder


def test_board_of_a_default_run(run_folder: Path, tmp_path: Path) -> None:
    with serving(run_folder) as server:
        address = f"http://localhost:{server.port}/?smoothing=0#custom_scalars&_smoothingWeight=0"
        page = clean(open_page(address, tmp_path, "custom-scalars"))
    for title in (
        "manual vs autograd",
        "loss: training and validation of both runs",
        "gap of all gradients, log10 relative",
        "overfitting: since which epoch",
        "layer by layer from the output on",
        "layer 3: z3, W3, b3",
        "layer 2: z2, W2, b2",
        "gradient norm: vanishing or exploding",
        "size of an update relative to the weights",
    ):
        assert title in page, title
    chart = page[page.index("loss: training and validation") : page.index("gap of all gradients")]
    curves = [d for d in re.findall(r'<path [^>]*?d="(M[^"]*)"', chart) if d.count("L") > 20]
    assert len(curves) >= 4, "both losses of both runs"


def test_report_of_a_run(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.html"
    assert main(["report", str(run_folder), "--out", str(out)]) == 0
    page = clean(open_page(out.as_uri(), tmp_path, "report"))
    for said in ("equal bit for bit", "training, by hand", "validation, autograd", "overfitting since epoch", "<math"):
        assert said in page, said
    assert page.count('<svg role="img" aria-label="') == page.count("<figcaption>") == 3
    assert page.count("<caption>") >= 5


def test_report_of_a_check(tmp_path: Path) -> None:
    out = tmp_path / "check.html"
    assert main(["check", str(ROOT / "examples" / "hw_wrong.py"), "--quiet", "--report", str(out)]) == 1
    page = clean(open_page(out.as_uri(), tmp_path, "check"))
    assert "is wrong" in page
    assert "inherited" in page


def test_report_of_the_lecture(tmp_path: Path) -> None:
    out = tmp_path / "lecture.html"
    assert main(["lecture", "eq-4", "--report", str(out)]) == 0
    page = clean(open_page(out.as_uri(), tmp_path, "lecture"))
    assert "<math" in page
