"""The README's Python runs, and says what the README says that it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
OUTPUTS = re.findall(r"```\n((?:WRONG|RIGHT).*?)```", README, re.DOTALL)


def run(source: str, folder: Path) -> str:
    file = folder / "snippet.py"
    file.write_text(source, encoding="utf-8")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(source, str(file), "exec"), {"__name__": "snippet"})
    return said.getvalue()


def verdicts(text: str) -> list[tuple[str, str]]:
    table = text.partition("quantity  verdict")[2].partition("\n\n")[0].splitlines()[1:]
    return [(line.split()[0], line.split()[1]) for line in table if not line.startswith(" ")]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(number: int, tmp_path: Path) -> None:
    run(SNIPPETS[number], tmp_path)


def without_measurements(text: str) -> list[str]:
    """The lines with what differs between machines left out: errors, seconds, the last digits of a number."""
    text = re.sub(r" +\d\.\de[+-]\d\d +[\d.e+]+(?= +plain)", "", text)
    text = re.sub(r"tried in [\d.]+ s", "tried", re.sub(r"\w+\.py:", "snippet.py:", text))
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.5g}", text).splitlines()


def test_the_outputs_are_those_shown(tmp_path: Path) -> None:
    wrong, right = OUTPUTS
    source = SNIPPETS[0]
    said = run(source, tmp_path)
    assert said.splitlines()[0] == "WRONG: the step that computes z2 is wrong"
    assert without_measurements(said) == without_measurements(wrong)
    mended = re.sub(r"\* a2  #.*", "* a2 * (1 - a2)", source)
    assert mended != source
    said = run(mended, tmp_path)
    assert without_measurements(said) == without_measurements(right)
