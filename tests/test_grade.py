"""manualbp grade: partial credit, one page a student, what is handed in badly, and going on after a crash."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compare.check.report import Report, Row, Tried
from compare.cli import main
from compare.grade import SUMMARY, Graded, Job
from compare.grading.marker import Outcome, Settings
from compare.grading.score import grade_of
from compare.grading.submissions import submissions
from compare.grading.suspects import suspects
from compare.grading.table import Grade, Table
from compare.grading.weights import CREDIT, Weights, read_weights
from compare.show.grade_html import student_page, summary_page

EXAMPLE = Path(__file__).parent.parent / "examples" / "class"
TEACHER = """
import torch
from compare import real

inputs = {"x": real("m", "d"), "w": real("d")}

def forward(x, w):
    z = x @ w
    a = torch.tanh(z)
    return (a * a).sum(), {"z": z, "a": a}

def backward(x, a):
    da = 2 * a
    dz = da * (1 - a * a)
    return {"a": da, "z": dz, "w": x.T @ dz}
"""
RIGHT = "def backward(x, a):\n    dz = 2 * a * (1 - a * a)\n    return {'a': 2 * a, 'z': dz, 'w': x.T @ dz}\n"
WRONG = RIGHT.replace("a * a)", "a)")

AUTOGRAD = """
import torch

def backward(x, w):
    w = w.clone().requires_grad_()
    with torch.enable_grad():
        J = (torch.tanh(x @ w) ** 2).sum()
    return {"w": torch.autograd.grad(J, w)[0]}
"""
OWN_FORWARD = """
import torch

def forward(x, w):
    a = torch.tanh(OF)
    return (a * a).sum(), {"a": a}

"""


@pytest.fixture
def handed_in(tmp_path, monkeypatch):
    """A teacher's file and an empty folder for submissions, beside each other in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher.py").write_text(TEACHER)
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


PLAIN = ("--seconds", "0.001")  # one condition a submission: what is tested here is not the check


def grade(*options):
    return main(["grade", "in", "--reference", "teacher.py", "--processes", "1", *PLAIN, *options])


def table(file="grades.csv"):
    with open(file, encoding="utf-8", newline="") as lines:
        return {row["student"]: row for row in csv.DictReader(lines)}


# A class


def test_the_example_class(tmp_path, monkeypatch, capsys):
    """Right, one mistake, the convention dZ = A - Y, a backward that raises, and a gradient left out."""
    monkeypatch.chdir(tmp_path)
    arguments = [str(EXAMPLE / "submissions"), "--reference", str(EXAMPLE / "teacher.py"), *PLAIN]
    assert main(["grade", *arguments, "--weights", str(EXAMPLE / "weights.toml")]) == 0
    rows = table()
    assert {name: row["score"] for name, row in rows.items()} == {
        "anna": "10.00",
        "bruno": "7.78",
        "carla": "10.00",
        "diana": "8.89",
        "edu": "0.00",
    }
    assert rows["bruno"]["first wrong"] == "z2 (bruno.py:11): wrong_activation_derivative"
    assert (rows["bruno"]["z2"], rows["bruno"]["W2"]) == ("wrong", "inherited")
    assert rows["carla"]["z3"] == "rescaled"
    assert rows["diana"]["first wrong"] == "W2: missing"
    assert "NameError: name 'yy' is not defined (edu.py:7)" in rows["edu"]["note"]
    out = capsys.readouterr().out
    assert "5 submissions graded: mean 7.3 of 10 points" in out
    assert "W2: missing (1)" in out
    pages = tmp_path / "grades-pages"
    assert sorted(page.name for page in pages.iterdir()) == sorted([*(f"{name}.html" for name in rows), SUMMARY])
    assert "should be" in (pages / "bruno.html").read_text()
    assert 'href="bruno.html"' in (pages / SUMMARY).read_text()

    before = Path("grades.csv").read_text()
    assert main(["grade", *arguments, "--weights", str(EXAMPLE / "weights.toml"), "--quiet"]) == 0
    assert "5 submissions graded (5 of them before)" in capsys.readouterr().out
    assert Path("grades.csv").read_text() == before


def test_what_is_handed_in_badly(handed_in, capsys):
    """Everything that a folder of a hundred people holds, in one run: each gets a line, and none harms another."""
    cases = {
        "right.py": (RIGHT, "100.00", ""),
        "bom.py": (b"\xef\xbb\xbf" + RIGHT.encode(), "100.00", ""),
        "windows.py": (RIGHT.replace("\n", "\r\n").encode(), "100.00", ""),
        "latin.py": (RIGHT.encode() + "# não\n".encode("latin-1"), "100.00", ""),
        "declared.py": (b"# coding: latin-1\n" + RIGHT.encode() + "# não\n".encode("latin-1"), "100.00", ""),
        "empty.py": ("", "0.00", "backward"),
        "syntax.py": ("def backward(:\n", "0.00", "SyntaxError"),
        "null.py": (b"\0\0", "0.00", "SyntaxError"),
        "autograd.py": (AUTOGRAD, "0.00", "autograd"),
        "exits.py": ("import sys\nsys.exit(0)\n", "0.00", "SystemExit"),
        "exits_later.py": ("import os\ndef backward(x):\n    os._exit(0)\n", "0.00", "backward"),
        "prints.py": ("print('100 of 100 points')\n" + RIGHT, "100.00", ""),
        "=SUM(A1).py": (RIGHT, "100.00", ""),
        "João Ção.py": (RIGHT, "100.00", ""),
        "notebook.ipynb": ("{}", "0.00", "nbconvert"),
        "summary.py": (RIGHT, "100.00", ""),
        "half.py": ("def backward(a):\n    return {'a': 2 * a}\n", "33.33", ""),
    }
    for name, (source, _, _) in cases.items():
        (handed_in / name).write_bytes(source if isinstance(source, bytes) else source.encode())
    (handed_in / "link.py").symlink_to(handed_in / "right.py")
    (handed_in / "two").mkdir()
    for name in ("a.py", "b.py"):
        (handed_in / "two" / name).write_text(RIGHT)
    (handed_in / "nested" / "src").mkdir(parents=True)
    (handed_in / "nested" / "src" / "hw.py").write_text(RIGHT)
    (handed_in / "notes.txt").write_text("not a submission")
    os.mkfifo(handed_in / "pipe.py")
    assert grade() == 0
    rows = table()
    assert len(rows) == len(cases) + 4
    for name, (_, score, says) in cases.items():
        student = name.removesuffix(".py").removesuffix(".ipynb")
        row = rows[f"'{student}" if student.startswith("=") else student]
        assert row["score"] == score, (name, row)
        assert says in row["first wrong"] + row["note"], (name, row)
    assert rows["autograd"]["first wrong"] == "invalid: autograd"
    assert rows["syntax"]["first wrong"] == rows["two"]["first wrong"] == "nothing to grade"
    assert "is a link" in rows["link"]["note"]
    assert "2 Python files" in rows["two"]["note"]
    assert "no Python file" in rows["nested"]["note"]
    assert "no regular file" in rows["pipe"]["note"]
    out = capsys.readouterr().out
    assert "100 of 100" not in out
    pages = list(Path("grades-pages").iterdir())
    assert len(pages) == len(rows) + 1
    assert "submissions, mean" in (Path("grades-pages") / SUMMARY).read_text()

    # a file that was mended is graded anew, and only that one
    (handed_in / "syntax.py").write_text(RIGHT)
    (handed_in / "right.py").unlink()
    assert grade() == 0
    assert "19 of them before" in capsys.readouterr().out
    assert table()["syntax"]["score"] == "100.00"
    assert "right" not in table()


def test_refusals_in_one_line(handed_in, capsys):
    (handed_in / "anna.py").write_text(RIGHT)
    teacher = Path("teacher.py")

    def refused(says, *options):
        assert grade(*options) == 2
        err = capsys.readouterr().err
        assert says in err, err
        assert err.count("\n") == 1
        assert "Traceback" not in err

    refused("no such file", "--reference", "missing.py")
    refused("must be a .csv file", "--out", "grades.xlsx")
    refused("in a folder that exists", "--out", "no/grades.csv")
    refused("--timeout is 0.0", "--timeout", "0")
    Path("weights.toml").write_text("[weights]\nz9 = 1\n")
    refused("'z9' cannot be graded: on the path to J are", "--weights", "weights.toml")
    teacher.write_text(TEACHER.replace("1 - a * a", "1 - a"))
    refused("teacher.py: its own backward is not right: z is wrong; mend it first")
    teacher.write_text(TEACHER.partition("def backward")[0])
    refused("has no backward, and lists no quantities to grade; add: quantities = ['a', 'z', ")
    teacher.write_text("import no_such_module\n")
    refused("ModuleNotFoundError")
    assert main(["grade", "nowhere", "--reference", "teacher.py"]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_reference_without_a_backward_lists_its_quantities(handed_in, capsys):
    Path("teacher.py").write_text(TEACHER.partition("def backward")[0] + "quantities = ['z', 'w']\n")
    (handed_in / "anna.py").write_text(WRONG)
    assert grade() == 0
    (row,) = table().values()
    assert (row["z"], row["w"], row["score"]) == ("wrong", "inherited", "50.00")
    assert "a" not in row
    # another class against the same table would wipe these grades out
    (handed_in / "anna.py").rename(handed_in / "bea.py")
    assert grade() == 2
    assert "holds the grades of others (anna and 0 more)" in capsys.readouterr().err
    assert list(table()) == ["anna"]


@pytest.mark.slow
def test_the_time_limit_is_the_submissions_and_not_the_references(handed_in, capsys):
    slow = TEACHER.replace("    a = ", "    import time; time.sleep(0.6)\n    a = ", 1)
    assert slow != TEACHER
    Path("teacher.py").write_text(slow)
    (handed_in / "anna.py").write_text(RIGHT)
    (handed_in / "sleeps.py").write_text("import time\ndef backward(x):\n    time.sleep(1000)\n")
    assert grade("--timeout", "4") == 0
    rows = table()
    assert rows["anna"]["score"] == "100.00"
    assert "sleeps.py: backward: gave no answer within the time limit" in rows["sleeps"]["note"]


def test_a_reference_that_fails_is_no_submissions_fault(handed_in, capsys):
    start = TEACHER.partition("def backward")[0] + "quantities = ['z', 'w']\n"
    Path("teacher.py").write_text(start.replace("return (a * a).sum()", "return (a * torch.rand(())).sum()"))
    (handed_in / "anna.py").write_text(RIGHT)
    assert grade() == 2
    assert "forward gives another J" in capsys.readouterr().err
    assert not table()


def test_a_forward_of_ones_own_is_compared(handed_in):
    (handed_in / "same.py").write_text(OWN_FORWARD.replace("OF", "x @ w") + RIGHT)
    (handed_in / "other.py").write_text(OWN_FORWARD.replace("OF", "2 * (x @ w)") + RIGHT)
    Path("weights.toml").write_text("points = 4\n[weights]\nforward = 1\na = 1\nz = 1\nw = 1\n")
    assert grade("--weights", "weights.toml") == 0
    rows = table()
    assert (rows["same"]["forward"], rows["same"]["score"]) == ("right", "4.00")
    assert (rows["other"]["forward"], rows["other"]["score"]) == ("wrong", "3.00")
    assert "its own forward: a[" in rows["other"]["note"]


# Attacks, and crashes


@pytest.mark.slow
def test_hostile_submissions_end_and_harm_nobody(handed_in):
    sources = {
        "loop": "while True: pass\n",
        "loop_in_backward": "def backward(x):\n    while True: pass\n",
        "sleeps": "import time\ndef backward(x):\n    time.sleep(1000)\n",
        "output": "while True: print('x' * 10**6)\n",
        "memory": "x = bytearray(10**10)\nfor i in range(0, 10**10, 4096): x[i] = 1\n",
        "forks": "import os, time\nfor _ in range(8):\n    if os.fork() == 0: time.sleep(1000)\n" + RIGHT,
        "daemon": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n" + RIGHT,
        "kills": "import os, signal\ndef backward(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n",
        "patches": "import torch\ntorch.autograd.grad = lambda *a, **k: None\n" + RIGHT,
        "reads": "import glob\ndef backward(x):\n    raise ValueError(glob.glob('*'))\n",
        "right": RIGHT,
    }
    for name, source in sources.items():
        (handed_in / f"{name}.py").write_text(source)
    assert grade("--timeout", "15", "--memory", "512") == 0
    rows = table()
    assert rows["right"]["score"] == "100.00"
    for name in ("loop", "loop_in_backward", "sleeps", "output", "memory", "kills", "patches", "reads"):
        assert rows[name]["score"] == "0.00", rows[name]
    assert "time limit" in rows["loop"]["note"]
    assert "memory" in rows["memory"]["note"]
    assert "teacher" not in rows["reads"]["note"]
    assert rows["patches"]["first wrong"] == "invalid: changed torch or the harness"
    assert "uses os" in rows["forks"]["note"]


@pytest.mark.slow
def test_grading_goes_on_after_it_was_killed(handed_in):
    for k in range(6):
        (handed_in / f"s{k}.py").write_text(RIGHT if k % 2 else WRONG)
    command = [sys.executable, "-m", "compare.cli", "grade", "in", "--reference", "teacher.py", "--processes", "1"]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE.parent.parent), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (Path("grades.csv").exists() and len(table()) >= 2) and time.monotonic() < until:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = table()
    assert 2 <= len(kept) < 6
    with open("grades.csv", "a") as file:
        file.write("s5,100.00,ri")  # a line that the crash cut off
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"({len(kept)} of them before)" in said
    rows = table()
    assert [rows[f"s{k}"]["score"] for k in range(6)] == ["66.67", "100.00"] * 3
    assert rows | kept == rows


# The parts


def report(**verdicts):
    return Report(tuple(Row(name, verdict) for name, verdict in verdicts.items()), (Tried("plain", "ok"),))


def test_points_are_weights_times_credits():
    weights = Weights(10, {"z": 2, "w": 1, "b": 1}, CREDIT | {"inherited": 0.5})
    found = grade_of("anna", Outcome(report(z="wrong", w="inherited", b="right")), weights, "f")
    assert found.score == 10 * (0 + 0.5 + 1) / 4
    assert found.first_wrong == "z: wrong"
    assert grade_of("anna", Outcome(report(z="imprecise", w="right", b="right")), weights, "f").score == 7.5
    raises = report(z="right", w="wrong", b="right", backward="invalid")
    assert grade_of("anna", Outcome(raises), weights, "f").score == 10 * (2 * 0.5 + 0 + 0.5) / 4
    nothing = grade_of("anna", Outcome(failed="hw.py: SyntaxError"), weights, "f")
    assert (nothing.score, nothing.verdicts["z"], nothing.note) == (0, "missing", "hw.py: SyntaxError")
    cheat = grade_of("anna", Outcome(failed="hw.py replaces torch.grad", cheated=True), weights, "f")
    assert set(cheat.verdicts.values()) == {"invalid"}


def test_a_note_says_that_not_every_condition_was_tried():
    rows = report(z="right").rows
    late = Report(
        rows, (Tried("plain", "ok"), Tried("larger", "not tried: out of time")), stopped="; stopped after 1 s"
    )
    enough = Report(
        rows, (Tried("plain", "failed"), Tried("larger", "not tried: 3 failed")), stopped="; others not tried"
    )
    weights = Weights(10, {"z": 1})
    assert "stopped after 1 s" in grade_of("anna", Outcome(late), weights, "f").note
    assert not grade_of("anna", Outcome(enough), weights, "f").note


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("points = -1", "points must be a number of at least 0, got -1"),
        ("points = nan", "points must be a number"),
        ("points = true", "points must be a number"),
        ("weights = 3", "weights is a table of numbers: [weights]"),
        ("[weights]\nz = 'two'", "weights.z must be a number of at least 0, got 'two'"),
        ("[weights]\nz = 0", "all weights are 0"),
        ("[credit]\ninherited = 2", "credit.inherited must be a number from 0 to 1"),
        ("[credit]\ngood = 1", "credit.good is no verdict"),
        ("[wieghts]\nz = 1", "'wieghts' is unknown; there are points, weights and credit"),
        ("points = = 1", "cannot be read as TOML"),
        ("[weights]\nz = 1\nz = 2", "cannot be read as TOML"),
    ],
)
def test_weights_that_cannot_be_used(tmp_path, text, says):
    file = tmp_path / "weights.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"weights\.toml") as caught:
        read_weights(file)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_file(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_weights(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="Is a directory"):
        read_weights(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="cannot be read as TOML"):
        read_weights(tmp_path / "binary.toml")


EVIL = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "a,b",
    'a"b',
    "a\nb",
    "<script>",
    "\x1b[2J",
    "\udcff",
    "",
]


def test_no_cell_is_a_formula_and_all_are_read_back(tmp_path):
    file = Table(tmp_path / "grades.csv", ("z", "=W"))
    grades = [Grade(f"{text}#{k}", 1.0, {"z": text, "=W": "right"}, text, text, "f") for k, text in enumerate(EVIL)]
    file.write(grades[:5])
    for each in grades[5:]:
        file.add(each)
    with open(file.path, encoding="utf-8", newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert all(cell.isprintable() for cell in cells)
    read = file.read()
    assert len(read) == len(EVIL)
    assert [each.first_wrong for each in read.values()][:4] == EVIL[:4]


def test_a_table_of_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("name,points\nanna,3\n")
    with pytest.raises(ValueError, match="has other columns"):
        Table(path, ("z",)).read()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as a table of grades"):
        Table(path, ("z",)).read()


def test_students_names_are_all_different(tmp_path):
    for name in ("anna.py", "a b.py", "a  b.py", "x" * 120 + "1.py", "x" * 120 + "2.py", "ANNA2.py", "anna2.py"):
        (tmp_path / name).write_text(RIGHT)
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "hw.py").write_text(RIGHT)
    (tmp_path / ".hidden.py").write_text(RIGHT)
    with open(os.fsencode(tmp_path) + b"/caf\xe9.py", "w") as file:
        file.write(RIGHT)
    found = submissions(tmp_path)
    names = [each.student for each in found]
    assert len(found) == 9
    assert len(set(names)) == 9
    assert {"anna.py", "anna/", "ANNA2", "anna2"} <= set(names)
    job = Job(tmp_path, Settings(tmp_path / "teacher.py"), tmp_path / "grades.csv")
    pages = [job.page_of(name).name for name in [*names, "summary"]]
    assert len({page.lower() for page in pages}) == 10
    assert SUMMARY not in pages
    assert all(page.isascii() for page in pages)


def test_the_file_to_grade_may_be_named(tmp_path):
    (tmp_path / "anna").mkdir()
    for name in ("hw.py", "plots.py"):
        (tmp_path / "anna" / name).write_text(RIGHT)
    (only,) = submissions(tmp_path, named="hw.py")
    assert (only.file.name, only.refused) == ("hw.py", "")
    assert [source.name for source in only.sources] == ["hw.py", "plots.py"]
    (none,) = submissions(tmp_path, named="main.py")
    assert "holds no main.py" in none.refused


def test_a_teacher_is_told_what_to_read_by_eye():
    assert suspects(RIGHT) == ""
    assert suspects("from compare import real\n") == ""
    assert suspects("import os\nx = open('teacher.py')\n") == "uses os (line 1), open (line 2)"
    assert suspects("def backward(:") == ""
    assert suspects("x = " + "(" * 1000) == ""


def test_pages_escape_whatever_students_wrote():
    evil = "<img src=x onerror=alert(1)>"
    found = Grade(evil, 1.0, {"z": "wrong"}, f"z ({evil}.py:3): wrong", evil, "f")
    rows = (Row("z", "wrong", line=f"{evil}.py:3", explanation=evil, condition=evil),)
    page = student_page(
        found, Outcome(Report(rows, (Tried(evil, "failed"),), (evil,), example=evil)), Weights(9, {"z": 1})
    )
    summary = summary_page(Graded((found,), ("z",), 9, 1), evil, lambda student: f"{student}.html")
    for text in (page, summary):
        assert "<img" not in text
        assert "&lt;img" in text


def test_the_commonest_steps_are_counted_without_their_lines():
    firsts = ["z2 (anna.py:3): wrong", "z2 (bea.py:9): wrong", "b3 (c.py:1): mean for sum", "", "invalid: autograd"]
    graded = Graded(tuple(Grade(str(k), 1, {}, first, "", "f") for k, first in enumerate(firsts)), (), 1, 5)
    assert [(step, len(grades)) for step, grades in graded.commonest] == [
        ("z2: wrong", 2),
        ("b3: mean for sum", 1),
        ("invalid: autograd", 1),
    ]
