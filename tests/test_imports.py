"""The house's rules of who imports whom, and that importing the check is light. Read from the sources."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("manualbp", "torch_ref", "compare")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


# who -> what it must not import
FORBIDDEN = {
    "manualbp": ("torch_ref", "compare", "torch.autograd", "torch.func", "torch.nn"),
    "torch_ref": ("manualbp", "compare"),
    "compare.check": ("compare.explain", "compare.run", "compare.show", "compare.lecture", "compare.cli"),
    "compare.explain": ("compare.run", "compare.show", "compare.lecture", "compare.cli"),
    "compare.run": ("compare.show", "compare.lecture", "compare.cli", "compare.commands"),
    "compare.show": ("compare.explain", "compare.lecture", "compare.cli", "compare.commands", "manualbp", "torch_ref"),
    "compare.lecture": ("compare.cli", "compare.commands"),
    "compare.twin": ("compare.check", "compare.run", "compare.show"),
    "compare.names": ("compare.check", "compare.run", "compare.show"),
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: name_of(path))
def test_arrows(path: Path) -> None:
    name = name_of(path)
    found = set(imported(ast.parse(path.read_text())))
    for package, forbidden in FORBIDDEN.items():
        if within(name, package):
            wrong = [each for each in found if any(within(each, other) for other in forbidden)]
            assert not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("manualbp")], ids=lambda p: name_of(p))
def test_the_manual_side_has_no_autograd(path: Path) -> None:
    """No autograd, and none of torch's own derivatives (`sigmoid_backward` and the like), by any spelling."""
    for node in ast.walk(ast.parse(path.read_text())):
        words = {
            ast.Name: lambda n: n.id,
            ast.Attribute: lambda n: n.attr,
            ast.keyword: lambda n: n.arg or "",
        }.get(type(node), lambda n: "")(node)
        assert words not in ("autograd", "grad", "requires_grad", "requires_grad_", "enable_grad", "vjp", "jvp")
        assert not words.endswith("_backward"), f"{path.name}: {words}"
        if isinstance(node, ast.Attribute) and node.attr == "backward":
            # `layer.backward`, `loss.backward` of our own; never `J.backward()` of a tensor
            assert not isinstance(node.value, ast.Name) or node.value.id not in ("J", "loss_value", "z", "a", "x")


def modules_after(statement: str) -> set[str]:
    code = (
        f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(found.stdout))


def test_importing_loads_torch_and_numpy_only() -> None:
    allowed = modules_after("import torch, numpy") | sys.stdlib_module_names | set(PACKAGES)
    names = "GradientMismatch, TrainConfig, check_derivation, check_function, check_layer"
    assert modules_after(f"import manualbp, compare\nfrom compare import {names}") <= allowed


def test_help_loads_no_torch() -> None:
    statement = (
        "from compare.cli import main\nsys.stdout, out = sys.stderr, sys.stdout\nmain(['--help'])\nsys.stdout = out"
    )
    assert not modules_after(statement) & {"torch", "numpy", "tyro", "rich"}


def test_public_names() -> None:
    import compare

    for name in compare.__all__:
        assert getattr(compare, name).__doc__, f"{name} has no docstring"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        compare.nothing  # noqa: B018
    assert set(compare.__all__) <= set(dir(compare))


def test_a_run_loads_no_compiler() -> None:
    """torch's compiler, and sympy with it, take longer to load than a small run takes."""
    statement = (
        "import tempfile\nfrom compare.run.config import TrainConfig\nfrom compare.run.train import train\n"
        "with tempfile.TemporaryDirectory() as folder: train(TrainConfig(data='xor', epochs=1, runs=folder))"
    )
    assert not modules_after(statement) & {"sympy", "matplotlib", "pandas"}
