"""The lecture's derivations as files for `manualbp check`: what is right passes, and the slip is blamed on its step."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from compare import check_derivation

EXAMPLES = Path(__file__).parent.parent / "examples"


def checked(name: str) -> Any:
    module = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    return check_derivation(module["forward"], module["backward"], module["inputs"])


@pytest.mark.parametrize("name", ["lecture_eq_4", "lecture_exercise_3"])
def test_right(name: str) -> None:
    checked(name).raise_if_wrong()


def test_eq_4_as_printed() -> None:
    report = checked("lecture_eq_4_printed")
    assert report.first_wrong.name == "z2"
    verdicts = {row.name: row.verdict for row in report.rows}
    assert verdicts == {
        "z3": "right",
        "W3": "right",
        "b3": "right",
        "z2": "wrong",
        "W2": "inherited",
        "b2": "inherited",
    }
