"""The compiled exp, exp - 1 and log(1 + t) against NumPy's in higher precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="the compiled engine needs the extra fast")
from numba import njit

from manualbp.engines.compiled.exponential import exp, expm1, log1p

CASES = {
    "exp": (exp, np.exp, -80.0, 0.0),
    "expm1": (expm1, np.expm1, -80.0, -1e-9),
    "log1p": (log1p, np.log1p, 1e-9, 1.0),
}


def mapped(f: Any, z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    @njit(error_model="numpy")
    def run(z, a):  # type: ignore[no-untyped-def]
        for i in range(z.size):
            a[i] = f(z[i])

    a = np.empty_like(z)
    run(z, a)
    return a


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_digits(name: str, kind: type) -> None:
    f, reference, low, high = CASES[name]
    z = np.concatenate([np.linspace(low, high, 20001), -np.geomspace(1e-9, 1, 999) * np.sign(-high - low)]).astype(kind)
    z = z[(z >= low) & (z <= high)]
    expected = reference(z.astype(np.longdouble))
    error = np.abs(mapped(f, z) - expected) / np.abs(expected)
    assert float(error.max()) <= 2.0 * np.finfo(kind).eps


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ends(kind: type) -> None:
    z = np.array([0.0, -1e4, -np.inf, np.nan], kind)
    assert np.array_equal(mapped(exp, z), np.array([1, 0, 0, np.nan], kind), equal_nan=True)
    subnormal = np.array([-100 if kind is np.float32 else -740], kind)
    assert mapped(exp, subnormal)[0] == pytest.approx(float(np.exp(subnormal.astype(np.longdouble))[0]), rel=0.1)
