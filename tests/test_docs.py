"""Every command and snippet of the README, the docs and the notebook runs, as a reader would run it."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import pytest
import torch

from compare.cli import COMMANDS, main
from compare.explain.causes import CAUSES
from compare.run.config import TrainConfig
from compare.run.train import train

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# pages whose snippets have a test of their own beside their subject
ELSEWHERE = {"README.md": "test_readme.py", "check-function.md": "test_check_function.py"}
FENCE = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# blocks that no test runs, by page and the start of their first line, with the reason
UNTESTED = {
    ("README.md", "make demo"): "targets of make: each change of the project runs them on a clean clone",
    ("README.md", "WRONG: "): "output; test_readme.py compares it",
    ("README.md", "RIGHT: "): "output; test_readme.py compares it",
    ("explanations.md", "Cause of z2"): "output; test_what_is_shown_is_said compares its words",
    ("explanations.md", "python benchmarks/"): "a benchmark, which takes minutes",
    ("find-a-mistake.md", "mismatch at step 500"): "output; test_snippets compares its start",
    ("first-run.md", "verdict "): "output; test_commands looks for its lines in that of the commands",
    ("grading.md", "points = "): "read by test_check_docs.py",
    ("how-the-check-works.md", "WRONG: "): "output; test_check_docs.py compares it",
    ("mutation.md", "python -m benchmarks."): "a benchmark, which takes hours",
    ("runs.md", "runs/breast-cancer"): "a folder's contents",
    ("runs.md", "ssh "): "needs another machine",
    ("runs.md", '{"step":3'): "a line of a file",
}
PRELUDE = {"explanations.md": "examples/hw_right.py"}  # what the snippets of a page speak of
STATUS = {"check": {0, 1}, "replay": {1}, "board": {130}}
MISSING = re.compile(r"t10k-images|grade submissions|--device cuda")


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks that are commands of ours, without prompt, comment and what is piped to."""
    found = []
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in ("", "console", "sh", "bash"):
            for line in block.splitlines():
                line = line.removeprefix("$ ").partition("  #")[0].partition(" |")[0].strip()
                if line.startswith("manualbp ") and line.split()[1] != "COMMAND":
                    found.append(line)
    return found


def outputs(page: Path) -> list[str]:
    """What a page shows of its commands' output, in pieces between its dots, with single spaces."""
    found = []
    for _, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if block.startswith(("$ manualbp ", "verdict ")):
            lines = [line for line in block.splitlines() if not line.startswith("$ manualbp ")]
            found += [" ".join(piece.split()) for piece in "\n".join(lines).split("...")]
    return [piece for piece in found if piece]


def snippets(page: Path) -> str:
    return "\n\n".join(
        block for language, block in FENCE.findall(page.read_text(encoding="utf-8")) if language == "python"
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the pages speak of: a derivation, a table, a config, and runs."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples" / "hw_wrong.py", folder / "hw.py")
    shutil.copytree(ROOT / "examples" / "class" / "submissions", folder / "DIR")
    for name in ("teacher.py", "weights.toml"):
        shutil.copy(ROOT / "examples" / "class" / name, folder / name)
    rows = "\n".join(f"{k % 7},{k % 5},{'ab'[k % 2]}" for k in range(40))
    (folder / "my.csv").write_text(f"width,height,species\n{rows}\n")
    (folder / "experiment.toml").write_text('data = "iris"\nepochs = 2\n')
    for name in ("NAME", "OTHER", "FIRST", "SECOND"):
        train(TrainConfig(data="iris", epochs=2, threads=1, runs=str(folder / "runs"), name=name))
    return folder


@pytest.fixture
def _at(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that folder; signals stay as they are, and a board is stopped as soon as it serves."""
    monkeypatch.chdir(desk)
    monkeypatch.setattr("signal.signal", lambda *args: None)
    process = mock.Mock()
    process.wait.side_effect = KeyboardInterrupt
    server = mock.Mock(port=6006, process=process)
    monkeypatch.setattr("compare.run.board.serving", lambda *args, **options: contextlib.nullcontext(server))


EVERY = [
    pytest.param(page, marks=() if page.name in ("commands.md", "runs.md") else pytest.mark.slow, id=page.stem)
    for page in PAGES
    if commands(page)
]


@pytest.mark.usefixtures("_at")
@pytest.mark.parametrize("page", EVERY)
def test_commands(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = ""
    for line in dict.fromkeys(commands(page)):
        words = shlex.split(line)[1:]
        assert words[0] in COMMANDS, line
        if MISSING.search(line) and not torch.cuda.is_available():
            assert main(words) == 2, line  # a file or device that is not here: said in one line
            assert capsys.readouterr().err.count("\n") == 1, line
            continue
        if words[0] == "new" and Path(words[1]).exists():
            words.append("--force")
        if words[0] == "replay":  # of a run without a mismatch
            assert main(words) == 2, line
            continue
        if "--name" in words and "--overwrite" not in words:
            words.append("--overwrite")  # several pages use one name
        status = main(words)
        said = capsys.readouterr()
        printed += said.out
        assert status in STATUS.get(words[0], {0}), f"{line}: {said.err}"
        if words[0] not in ("completion", "board", "check", "plot", "grade"):  # these print paths
            assert all(len(text) <= 80 for text in said.out.splitlines() if not text.startswith(("[", "{"))), line
    for shown in outputs(page):
        assert shown in " ".join(printed.split()), f"{page.name} shows {shown!r}"
    for image in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / image).is_file(), image


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if snippets(p) and p.name not in ELSEWHERE], ids=lambda p: p.stem)
def test_snippets(page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    file = desk / "snippet.py"
    before = (ROOT / PRELUDE[page.name]).read_text(encoding="utf-8") + "\n\n" if page.name in PRELUDE else ""
    file.write_text(before + snippets(page), encoding="utf-8")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), {"__name__": "snippet"})
    if page.name == "find-a-mistake.md":
        assert said.getvalue().startswith(
            "mismatch at step 500, epoch 12: delta of z3, layer 3 is wrong (wrong_factor); "
        )


def test_every_block_is_run_or_told_why_not() -> None:
    used = set()
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            lines = [line for line in block.splitlines() if line.strip()]
            if language == "python" or language.startswith("{"):  # Sphinx runs directives
                continue
            ours = [line.removeprefix("$ ").startswith("manualbp ") for line in lines]
            if language in ("", "console", "sh", "bash") and all(ours):
                continue
            if lines[0].startswith("$ manualbp "):  # a command, which is run, and what it says
                continue
            reason = next((key for key in UNTESTED if key[0] == page.name and lines[0].startswith(key[1])), None)
            assert reason is not None, f"{page.name}: no test runs the block that begins with {lines[0]!r}"
            used.add(reason)
    assert used == UNTESTED.keys(), "reasons for blocks that are not there"


def test_what_is_shown_is_said() -> None:
    shown = re.compile(r"Cause of \w+: (\w+): (.*?)(?:\.\.\.|\nRepair)", re.DOTALL)
    for page in PAGES:
        for name, text in shown.findall(page.read_text(encoding="utf-8")):
            cause = CAUSES[name]
            assert f"{cause.title}. {cause.mend}".startswith(" ".join(text.split())), f"{page.name}: {name}"


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`{name}`" not in page]
    assert not missing


def test_every_page_is_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = [line for line in index.splitlines() if re.fullmatch(r"[][a-z*-]+", line)]
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or any(fnmatch(page.stem, each) for each in listed), page.name


def test_docs_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    wanted = [*project["optional-dependencies"]["docs"], *project["optional-dependencies"]["test"]]
    assert {re.split(r"[>=<]", each)[0] for each in wanted} <= pinned


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="make docs installs it")
    import subprocess
    import sys

    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert "check_derivation" in page
    assert "raise_if_wrong" in page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's own packages
def test_notebook(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "first_derivation.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert len(pages) == 3, "two reports and a result show themselves"
    assert "is wrong" in pages[1]
    assert "<svg" in pages[2]
