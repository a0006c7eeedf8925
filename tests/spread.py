"""Long tables of cases of one kind: a share of them in every run of the tests, all of them with the slow ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def spread(cases: Iterable[Any], every: int) -> list[Any]:
    """The cases for `parametrize`, all but each `every`-th marked slow. A tuple gives several arguments."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if i % every == 0 else pytest.mark.slow)
        for i, case in enumerate(cases)
    ]
