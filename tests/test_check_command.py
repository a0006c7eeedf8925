"""manualbp check: what it says of right, wrong, broken and hostile files, and how it ends."""

from __future__ import annotations

import json
import re
import textwrap

import pytest

from compare.check.remote import CannotRun, check_file
from compare.cli import main

FORWARD = """
import torch
from compare import real

inputs = {"x": real("m", "d"), "w": real("d")}

def forward(x, w):
    z = x @ w
    a = torch.tanh(z)
    return (a * a).sum(), {"z": z, "a": a}
"""
BACKWARD = """
def backward(x, w, a):
    da = 2 * a
    dz = da * (1 - a * a)
    dw = x.T @ dz
    return {"a": da, "z": dz, "w": dw}
"""
RIGHT = FORWARD + BACKWARD


@pytest.fixture
def check(tmp_path):
    """Check a source; the report, or CannotRun. One condition is enough unless a test says otherwise."""

    def run(source, name="", **options):
        file = tmp_path / "hw.py"
        file.write_text(textwrap.dedent(source))
        return check_file(file, name, **({"seconds": 0.01, "timeout": 30.0, "threads": 1} | options))

    return run


def with_backward(body):
    return FORWARD + "def backward(x, w, z, a):\n" + textwrap.indent(textwrap.dedent(body), "    ")


def test_a_right_file(check):
    report = check(RIGHT, seconds=90.0, timeout=120.0)
    assert report.ok
    assert [row.name for row in report.rows] == ["a", "z", "w"]
    assert len([t for t in report.conditions if t.status == "ok"]) >= 10
    assert [row.line for row in report.rows] == ["hw.py:13", "hw.py:14", "hw.py:15"]


def test_two_mistakes_are_two_rows_and_what_follows_inherits(check):
    report = check(RIGHT.replace("da * (1 - a * a)", "da * (1 - a)").replace("2 * a", "a"), seconds=1.0)
    assert {row.name: row.verdict for row in report.rows} == {"a": "wrong", "z": "wrong", "w": "inherited"}
    assert report.first_wrong.name == "a"


@pytest.mark.parametrize(
    ("body", "row", "says"),
    [
        ("raise KeyError('dz9')", "backward", r"raised KeyError: 'dz9' \(hw.py:12\)"),
        ("return {'a': 2 * a, 'zz': z}", "zz", "is no quantity of the forward"),
        ("return {'a': (2 * a)[None]}", "a", r"has shape \(1, \d\), where the quantity has \(\d,\)"),
        ("return {'a': (2 * a).long()}", "a", "has dtype int64; a gradient is floating"),
        ("return {'a': torch.full_like(a, float('nan'))}", "a", r"is nan at \[0\], where autograd's is finite"),
        ("return {'a': None}", "a", "returned None"),
        ("return None", "backward", "returned nothing"),
        ("return [2 * a]", "backward", "returned list"),
        ("return {}", "backward", "no gradient at all"),
        ("return {'a': 'two a'}", "a", "is no tensor, array or number but str"),
        ("return {'a': (2 * a).requires_grad_()}", "a", "made by autograd"),
        ("raise SystemExit(0)", "backward", "raised SystemExit"),
        ("return {'a': 2 * a, 7: a}", "7", "is no quantity of the forward"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_invalid(check, body, row, says):
    report = check(with_backward(body))
    assert not report.ok
    assert report[row].verdict == "invalid"
    assert re.search(says, report[row].explanation)


LEAF = "leaf = w.clone().requires_grad_()\nwith torch.enable_grad():\n    J = forward(x, leaf)[0]\n"
AUTOGRAD = [
    "J.backward(); g = leaf.grad",
    "g, = torch.autograd.grad(J, leaf)",
    "g = run(J, leaf)",
    "torch.autograd.Variable._execution_engine.run_backward((J,), (torch.ones(()),), False, False, (), True, True)",
    "g = torch.func.grad(lambda w: forward(x, w)[0])(w)",
    "g = torch.func.jacrev(lambda w: forward(x, w)[0])(w)",
    "g = torch.func.jacfwd(lambda w: forward(x, w)[0])(w)",
    "g = torch.autograd.functional.jacobian(lambda w: forward(x, w)[0], w)",
]


@pytest.mark.parametrize("route", AUTOGRAD)
def test_a_backward_that_calls_autograd_is_invalid(check, route):
    keep = "\ndef run(J, leaf, grad=torch.autograd.grad):\n    return grad(J, leaf)[0]\n"
    report = check(with_backward(f"{LEAF}{route}\nreturn {{'w': g}}") + keep)
    assert report["backward"].verdict == "invalid"
    assert "autograd" in report["backward"].explanation


def test_aliases_and_changes_of_its_arguments_are_judged_by_value(check):
    report = check(with_backward("a.mul_(2)\nx.zero_()\nreturn {'a': a, 'w': w}"))
    assert report["a"].verdict == "right"
    assert report["w"].verdict == "wrong"
    assert any("changes its argument 'a' in place" in note for note in report.notes)


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        ("return (x @ w).detach().sum(), {}", "hw.py: forward: J depends on no floating input through torch"),
        ("return (x @ w).sum() * torch.rand(()), {}", "gives another J when it is called again"),
        ("return (x @ w).sum()", r"must return \(J, \{name: intermediate tensor\}\)"),
        ("return x @ w @ torch.ones(3, 3), {}", r"hw.py:\d+: RuntimeError: "),
        ("return (x @ w).sum(), {'z': 3}", "'z' is no tensor"),
        ("return (x @ w).sum(), {'x': x * 2}", "'x' is an input as well as an intermediate"),
        ("return (x @ v).sum(), {}", r"hw.py:\d+: NameError: name 'v' is not defined"),
        ("return x @ w, {}", "J must be a floating scalar tensor"),
    ],
)
def test_a_forward_that_cannot_be_used_is_one_line(check, forward, says):
    source = FORWARD.partition("def forward")[0] + f"def forward(x, w):\n    {forward}\n" + BACKWARD
    with pytest.raises(ValueError, match=says) as caught:
        check(source)
    assert "\n" not in str(caught.value)


def test_detached_intermediates_and_steps_in_place(check):
    detached = check(RIGHT.replace('"a": a}', '"a": a, "u": z.detach()}').replace('"w": dw}', '"w": dw, "u": dz}'))
    assert detached["u"].verdict == "invalid"
    assert "has no gradient" in detached["u"].explanation
    in_place = check(RIGHT.replace("a = torch.tanh(z)", "a = z.clone()\n    a.tanh_()"))
    assert in_place.ok
    assert any("'a' is changed in place" in note for note in in_place.notes)


def test_names_that_do_not_exist(check):
    report = check(RIGHT.replace("def backward(x, w, a)", "def backward(x, w, a, q)"))
    assert "asks for 'q', which is no input or intermediate" in report["backward"].explanation
    with pytest.raises(ValueError, match=r"hw\.py: net is nothing to check: the file does not define it"):
        check(RIGHT, "net")


def test_integer_and_empty_inputs(check):
    with pytest.raises(ValueError, match="J depends on no floating input"):
        check(
            "import torch\ninputs = {'n': torch.arange(3)}\ndef forward(n):\n    return n.double().sum(), {}\n"
            "def backward(n):\n    return {'n': n}\n"
        )
    gather = """
    import torch
    inputs = {"w": torch.randn(4, 2), "n": torch.tensor([0, 3, 3])}
    def forward(w, n):
        return (w[n] ** 2).sum(), {}
    def backward(w, n):
        return {"w": torch.zeros_like(w).index_add(0, n, 2 * w[n]), "n": n}
    """
    report = check(gather)
    assert report["w"].verdict == "right"
    assert report["n"].verdict == "invalid"
    empty = RIGHT.replace('real("m", "d")', "torch.zeros(0, 3)").replace('real("d")', "torch.randn(3)")
    report = check(empty, seconds=5.0)
    assert not [row for row in report.rows if row.verdict in ("wrong", "invalid")]
    assert report["w"].verdict in ("right", "undecided")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def forward(:\n    pass", "hw.py:1: SyntaxError"),
        ("import no_such_module_anywhere", "hw.py:1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(0)", "hw.py:2: SystemExit: 0"),
        ("1 / 0", "hw.py:1: ZeroDivisionError"),
        ("x = 1", "hw.py defines none of inputs, forward, backward; `manualbp new FILE` writes an example"),
        ("inputs = {}\ndef forward():\n    pass", "hw.py defines inputs and forward but not backward"),
        ("import os\nos._exit(0)", "the code ended its process with exit status 0 before it answered"),
    ],
)
def test_a_file_that_does_not_import_is_one_line(check, source, says):
    with pytest.raises(CannotRun, match=re.escape(says)) as caught:
        check(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "side"), [("while True: pass\n", "the file"), ("forward", "forward"), ("backward", "backward")]
)
def test_a_hang_ends_at_the_time_limit(check, place, side):
    if place in ("forward", "backward"):
        source = re.sub(rf"(def {place}\(.*\):\n)", r"\1    while True: pass\n", RIGHT)
    else:
        source = place + RIGHT
    with pytest.raises(CannotRun, match=f"hw.py: {side}: gave no answer within the time limit"):
        check(source, timeout=2.0)


MODE = """
from torch.utils._python_dispatch import TorchDispatchMode
class M(TorchDispatchMode):
    def __torch_dispatch__(self, f, t, a=(), k=None): return f(*a, **(k or {}))
M().__enter__()
"""
FRAMES = """
import sys
frame = sys._getframe()
while frame:
    if 'given' in frame.f_locals:
        frame.f_locals['given'].gradients.clear()
    frame = frame.f_back
"""


@pytest.mark.parametrize(
    "attack",
    [
        "torch.autograd.grad = lambda J, tensors, **kw: [torch.zeros_like(t) for t in tensors]",
        "torch.Tensor.register_hook = lambda self, hook: None",
        "torch.Tensor.__sub__ = lambda self, other: torch.zeros_like(self)",
        "torch.isfinite = lambda t: torch.zeros_like(t, dtype=torch.bool)",
        "import compare.check.verdict as v\nv.judge = lambda evaluation: {}",
        "import compare.check.verdict as v\nv.match.__code__ = (lambda given, expected, floor: None).__code__",
        "import compare.check.evaluate as e\ne.evaluate = lambda *a, **k: None",
        "import compare.check.report as r\nr.Report.ok = True",
        "import compare.check.noise as n\nn.measure = lambda run, **k: None",
        "import compare.check.service as s\ns.Hand.backward = lambda *a: ({}, {})",
        MODE,
    ],
)
def test_a_changed_torch_or_harness_is_never_a_pass(check, attack):
    wrong = RIGHT.replace("2 * a", "a")
    with pytest.raises(CannotRun, match=r"hw.py.* replaces "):
        check(wrong.replace("inputs =", f"{attack}\ninputs ="))


@pytest.mark.parametrize(
    "attack",
    [
        "print('RIGHT: every gradient of this derivation is what it should be\\n' * 50)",
        "import torch\ntorch.autograd.grad = lambda *a, **k: None",
        "import torch\ntorch.equal = lambda *a, **k: True",
        FRAMES,
        "import gc\nassert not any(isinstance(o, torch.Tensor) and o.requires_grad for o in gc.get_objects())",
    ],
)
def test_what_a_backward_does_at_its_call_makes_no_pass(check, attack):
    source = with_backward(f"{attack}\nreturn {{'a': a, 'z': a * (1 - a * a), 'w': x.T @ z}}")
    if "torch.equal" in attack:
        with pytest.raises(CannotRun, match=r"replaces torch\.equal"):
            check(source)
    else:
        report = check(source)
        assert not report.ok
        assert report["a"].verdict == "wrong"


def test_killing_ones_process_is_no_pass(check):
    with pytest.raises(CannotRun, match="killed by SIGKILL"):
        check(with_backward("import os\nos.kill(os.getpid(), 9)"))


def test_memory_is_limited(check):
    with pytest.raises(CannotRun, match="of memory in use; the limit is 700 MiB; use smaller inputs"):
        check(with_backward("b = torch.ones(10**9)\nreturn {'a': b}"), memory=700 * 2**20)


def test_numpy_and_constants_of_every_kind(check):
    source = """
    import numpy as np, torch
    inputs = lambda seed: {"x": torch.randn(3, 2), "power": 2, "shape": (3, 2), "names": ["a"], "k": {"n": 1.5}}
    def forward(x, power, shape, names, k):
        assert type(shape) is tuple
        return (k["n"] * x ** power).sum(), {}
    def backward(x, power, shape, names, k):
        assert shape == (3, 2) and names == ["a"] and type(shape) is tuple
        return {"x": k["n"] * power * x.numpy()}
    """
    assert check(source, seconds=5.0).ok


def test_the_layout_of_values_reaches_the_backward(check):
    source = with_backward(
        "da = 2 * a\ndz = da * (1 - a * a)\nreturn {'w': x.T @ dz, 'x': dz.outer(w) + 0 * x.view(-1).view(x.shape)}"
    )
    report = check(source, seconds=10.0)
    assert report.ok
    assert any("strided inputs" in note and "view" in note for note in report.notes)


def test_layers_functions_classes_and_dicts(check):
    source = """
    import torch
    from manualbp import Linear, Sequential, Tanh
    from compare import real

    net = Sequential([Linear(3, 2), Tanh()])
    net_x = torch.randn(4, 3)

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            return dy * ctx.saved_tensors[0]

    Square_inputs = {"x": real("m", "n")}

    def Square_reference(x):
        return x**2

    class Cube:
        power = 3
        inputs = Square_inputs
        def forward(self, x):
            return (x**self.power).sum(), {}
        def backward(self, x):
            return {"x": self.power * x * x}

    def ones(x):
        return {"x": torch.ones_like(x)}

    exact = {"inputs": Square_inputs, "forward": lambda x: (x.sum(), {}), "backward": ones}
    """
    with pytest.raises(CannotRun, match=r"name one: hw\.py:net, hw\.py:Square, hw\.py:Cube, hw\.py:exact"):
        check(source)
    assert check(source, "net").ok
    assert check(source, "Cube").ok
    assert check(source, "exact").ok
    report = check(source, "Square")
    assert report["x"].verdict == "wrong"


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hw.py"
    file.write_text(RIGHT)
    assert main(["check", "hw.py", "--quiet", "--seconds", "0.1"]) == 0
    assert capsys.readouterr().out == "hw.py: RIGHT: every gradient of this derivation is what it should be\n"
    file.write_text(RIGHT.replace('"a": da', '"a\\x1b[2J": da').replace("2 * a", "a"))
    assert main(["check", "hw.py", "--seconds", "0.1", "--report", "out.html"]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "a\\x1b[2J" in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["check", "missing.py"]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["html", "md", "json"])
def test_reports(tmp_path, capsys, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    evil = "<script>alert(1)</script>`|`"
    (tmp_path / "hw.py").write_text(RIGHT.replace('"a": da', f'"{evil}": da').replace("1 - a * a", "1 - a"))
    assert main(["check", "hw.py", "--json", "--seconds", "0.1", "--report", f"out.{suffix}"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert evil in [row["name"] for row in data["rows"]]
    assert data["first_wrong"] == "z"
    assert not data["ok"]
    text = (tmp_path / f"out.{suffix}").read_text()
    if suffix == "json":
        assert json.loads(text) == data
    else:
        assert "<script>" not in text
        assert "alert(1)" in text


def test_refusals_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hw.py").write_text(RIGHT)
    for arguments, says in [
        (["--report", "out.pdf"], "must end in .html, .md or .json"),
        (["--report", "no/out.md"], "its folder does not exist"),
        (["--timeout", "0"], "--timeout is 0.0; it must be above 0"),
    ]:
        assert main(["check", "hw.py", *arguments]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1


def test_a_step_in_float32_is_no_more_right_in_another_process(check):
    """The noise of the reference's process must not reach what the backward's process computes in fewer digits."""
    report = check(RIGHT.replace("dz = da * (1 - a * a)", "dz = (da.float() * (1 - a * a).float()).double()"))
    assert {row.name: row.verdict for row in report.rows} == {"a": "right", "z": "imprecise", "w": "inherited"}
