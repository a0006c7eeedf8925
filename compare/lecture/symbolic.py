"""Proofs: the same formulas on networks of symbols, held against derivatives that sympy takes.

The sigmoid is a function s of which nothing is known but s' = s (1 - s). An identity that comes out as 0 = 0 here
holds for all values at once.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy  # type: ignore[import-untyped]

from compare.lecture.statement import Claim, Text

Symbols = dict[str, Any]  # quantities, as NumPy arrays of expressions


class s(sympy.Function):  # type: ignore[misc]  # sympy's own way to define a function
    """The sigmoid: s' = s (1 - s)."""

    def fdiff(self, argindex: int = 1) -> Any:
        """Its derivative."""
        return self * (1 - self)


sigma = np.frompyfunc(s, 1, 1)


def array(name: str, rows: int, columns: int) -> Any:
    """A matrix of real symbols."""
    return np.array(
        [[sympy.Symbol(f"{name}_{i}{j}", real=True) for j in range(1, columns + 1)] for i in range(1, rows + 1)],
        dtype=object,
    )


def log_loss(a: Any, y: Any) -> Any:
    """The cost, summed over outputs."""
    return sum(-(t * sympy.log(p) + (1 - t) * sympy.log(1 - p)) for p, t in zip(a.flat, y.flat, strict=True))


def gradient(J: Any, of: Any) -> Any:
    """dJ/d(each entry of `of`), in the shape of `of`."""
    return np.array([sympy.diff(J, entry) for entry in of.flat], dtype=object).reshape(of.shape)


def jacobian(p: Any, q: Any) -> Any:
    """dp/dq: a row an entry of p, a column an entry of q."""
    return np.array([[sympy.diff(above, below) for below in q.flat] for above in p.flat], dtype=object)


@functools.cache
def network(d: int, h: int, k: int) -> tuple[Symbols, Symbols]:
    """The quantities of a d-h-k network, and {name: dJ/dname} by sympy.

    To differentiate by a z or an a, the network after it is built from symbols of its own, which are then put back.
    """
    q: Symbols = {"x": array("x", d, 1), "y": array("y", k, 1)}
    q |= {"W2": array("W", h, d), "b2": array("b", h, 1), "W3": array("V", k, h), "b3": array("c", k, 1)}
    q["z2"] = q["W2"] @ q["x"] + q["b2"]
    q["a2"] = sigma(q["z2"])
    q["z3"] = q["W3"] @ q["a2"] + q["b3"]
    q["a3"] = sigma(q["z3"])
    z2, a2, z3, a3 = array("z", h, 1), array("a", h, 1), array("u", k, 1), array("v", k, 1)
    from_a2 = q["W3"] @ a2 + q["b3"]
    by_a2 = gradient(log_loss(sigma(from_a2), q["y"]), a2)
    by_z2 = gradient(log_loss(sigma(q["W3"] @ sigma(z2) + q["b3"]), q["y"]), z2)
    by_z3 = gradient(log_loss(sigma(z3), q["y"]), z3)
    slope_2 = np.diagonal(jacobian(sigma(z2), z2)).reshape(h, 1)
    q["s2"] = put(slope_2, z2, q["z2"])
    q["d3"] = put(by_z3, z3, q["z3"])
    J = log_loss(q["a3"], q["y"])
    truth = {name: gradient(J, q[name]) for name in ("W2", "b2", "W3", "b3")}
    truth |= {"a2": put(by_a2, a2, q["a2"]), "z2": put(by_z2, z2, q["z2"]), "z3": q["d3"]}
    q["J"] = np.array([[J]], dtype=object)
    # the factors of the chain rule, each a derivative by itself
    truth |= {
        "dJ/da3": put(jacobian(np.array([[log_loss(a3, q["y"])]], dtype=object), a3), a3, q["a3"]),
        "da3/dz3": put(jacobian(sigma(z3), z3), z3, q["z3"]),
        "dJ/dz3": q["d3"].reshape(1, k),
        "dz3/da2": jacobian(from_a2, a2),
        "da2/dz2": put(jacobian(sigma(z2), z2), z2, q["z2"]),
        "dz2/dW2": jacobian(q["z2"], q["W2"]),
        "dz2/db2": jacobian(q["z2"], q["b2"]),
    }
    return q, truth


def put(expressions: Any, symbols: Any, values: Any) -> Any:
    """The expressions with values for some symbols."""
    swap = dict(zip(symbols.flat, values.flat, strict=True))
    return np.array([e.subs(swap, simultaneous=True) for e in expressions.flat], dtype=object).reshape(
        expressions.shape
    )


def is_zero(difference: Any) -> bool:
    """Whether every entry is 0 for all values of its symbols."""
    return all(_vanishes(sympy.sympify(entry)) for entry in np.asarray(difference, dtype=object).flat)


def equal(p: Any, q: Any) -> bool:
    """Whether two arrays have one shape and equal entries, for all values of their symbols."""
    p, q = np.asarray(p, dtype=object), np.asarray(q, dtype=object)
    return bool(p.shape == q.shape) and is_zero(p - q)


def _vanishes(expression: Any) -> bool:
    """Sigmoids and logarithms become symbols of their own: what is left is a rational function."""
    if expression == 0:
        return True
    atoms = sorted(expression.atoms(s) | expression.atoms(sympy.log), key=sympy.default_sort_key, reverse=True)
    atoms.sort(key=sympy.count_ops, reverse=True)  # the outermost first: s(V a) before the s(z) within
    plain = expression.subs([(atom, sympy.Dummy()) for atom in atoms])
    return bool(sympy.expand(sympy.numer(sympy.together(plain))) == 0)


def proved(what: Text, holds: bool, tex: str = "", *, should: bool = True) -> Claim:
    """The claim that an identity holds for all values."""
    said = Text("proved symbolically", "provada simbolicamente")
    refuted = Text("refuted symbolically", "refutada simbolicamente")
    return Claim(what, holds, should, tex, evidence=said if holds else refuted)


def put_all(expressions: Any, values: Mapping[Any, Any]) -> Any:
    """The expressions with some symbols replaced."""
    old = np.asarray(expressions, dtype=object)
    new = [sympy.sympify(entry).subs(values, simultaneous=True) for entry in old.flat]
    return np.array(new, dtype=object).reshape(old.shape)
