"""The pages on the check are true: their snippets run, and say what the pages say that they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import compare
from compare.check.constants import ENOUGH
from compare.check.verdict import OK, WORST_FIRST
from compare.grading.weights import CREDIT, read_weights
from tests.test_readme import run, verdicts

DOCS = Path(__file__).parent.parent / "docs"
METHOD = (DOCS / "how-the-check-works.md").read_text(encoding="utf-8")
PASS = (DOCS / "what-a-pass-means.md").read_text(encoding="utf-8")
GRADING = (DOCS / "grading.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", METHOD, re.DOTALL)
OUTPUTS = re.findall(r"```\n(WRONG.*?)```", METHOD, re.DOTALL)


def complete(number: int) -> str:
    """A snippet with what it takes from the one before it."""
    source = SNIPPETS[number]
    if "print(" in source:
        return source
    first = SNIPPETS[0]
    return first[: first.index("def backward")] + source + first[first.index("print(") :]


@pytest.mark.parametrize("number", range(3))
def test_the_three_mistakes_are_told_as_shown(number: int, tmp_path: Path) -> None:
    said, shown = run(complete(number), tmp_path), OUTPUTS[number]
    assert said.splitlines()[0] == shown.splitlines()[0]
    assert verdicts(said) == verdicts(shown)
    example = shown.partition("smallest case found")[2]
    assert example in said
    for line in re.findall(r"^ +(\w+\[.*, should be .*)$", shown, re.MULTILINE):
        name, got, should = re.findall(r"(\w+\[.*\]) is (\S+), should be (\S+)", line)[0]
        found = re.findall(rf"{re.escape(name)} is (\S+), should be (\S+)", said)[0]
        assert [float(number) for number in found] == pytest.approx([float(got), float(should)], rel=1e-6)


def test_the_text_on_the_first_mistake(tmp_path: Path) -> None:
    """A factor of 6 in b3 where m is 6, and of 9 in z2[4, 0]; with equal sizes a transpose goes unnoticed."""
    scope: dict[str, object] = {}
    exec(compile(SNIPPETS[0].partition("print(")[0], str(tmp_path / "two_mistakes.py"), "exec"), scope)
    report = compare.check_derivation(scope["forward"], scope["backward"], scope["inputs"])  # type: ignore[arg-type]
    assert report["b3"].expected / report["b3"].got == pytest.approx(6)
    assert report["z2"].got / report["z2"].expected == pytest.approx(9, rel=0.1)
    assert report["b3"].condition.startswith("plain (m=6,")
    assert [name for name in ("W2", "b2") if report[name].verdict == "inherited"] == ["W2", "b2"]
    assert len([tried for tried in report.conditions if tried.status == "failed"]) == ENOUGH


def test_a_normalisation_with_half_of_its_formula_passes_where_the_cost_is_a_sum(tmp_path: Path) -> None:
    source = SNIPPETS[2].replace("(out * c).sum()", "out.sum()").replace("c * gamma", "1 * gamma + 0 * xhat")
    source = source.replace(
        '{"out": c, "gamma": (c * xhat).sum(0), "beta": c.sum(0), "xhat": dxhat, "x": dx}', '{"x": dx}'
    )
    source = source.replace('"gamma": real("d")', '"gamma": constant(1.0)').replace("import ", "import constant, ")
    assert run(source, tmp_path).startswith("RIGHT")


def test_the_page_on_passes_names_what_is_ok() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PASS, re.MULTILINE)
    assert tuple(rows) == OK


def test_the_page_on_grading_lists_every_verdict_and_its_weights_can_be_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", GRADING, re.DOTALL)
    (tmp_path / "weights.toml").write_text(text, encoding="utf-8")
    assert read_weights(tmp_path / "weights.toml").points == 10
    listed = {name: float(credit) for name, credit in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", GRADING, re.MULTILINE)}
    assert listed == CREDIT
    assert set(WORST_FIRST) <= set(listed)
