"""Figure 1's network at numbers that can be followed by hand.

W[2] x = 0 and W[3] a[2] = 0, so that every z is 0, every a is 1/2 and every slope 1/4: what is left is a few fractions,
which float64 holds exactly. "=" therefore means equal, not nearly equal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from compare.lecture.network import apply, forward, quantities
from compare.lecture.statement import Table, Text, same

POINT = {
    "x": ((1.0,), (2.0,), (4.0,)),
    "W2": ((2.0, -1.0, 0.0), (0.0, 2.0, -1.0), (4.0, 0.0, -1.0)),
    "b2": ((0.0,), (0.0,), (0.0,)),
    "W3": ((2.0, 4.0, -6.0),),
    "b3": ((0.0,),),
    "y": ((1.0,),),
}
NO_PRODUCT = Text("the shapes do not fit", "as formas não se encaixam")


def _leaves() -> dict[str, Tensor]:
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in POINT.items()}


@functools.cache
def point() -> dict[str, Any]:
    """All quantities that formulas take, at this point."""
    values = _leaves()
    return quantities(values | forward(**values)[1])


@functools.cache
def truth() -> dict[str, Tensor]:
    """{name: dJ/dname} by autograd, for parameters, z2, a2 and z3."""
    leaves = {name: value.requires_grad_() for name, value in _leaves().items()}
    J, named = forward(**leaves)
    of = {**{name: leaves[name] for name in ("W2", "b2", "W3", "b3")}, **named}
    of.pop("a3")  # the cost is computed from z3
    return dict(zip(of, torch.autograd.grad(J, list(of.values())), strict=True))


@functools.cache
def jacobians() -> dict[str, Tensor]:
    """The factors of the chain rule at this point, by autograd, entries of matrices row by row."""
    v = _leaves()
    z, half = torch.zeros(3, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)

    def factor(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        found = torch.autograd.functional.jacobian(function, at)  # type: ignore[no-untyped-call]
        return torch.as_tensor(found).reshape(-1, at.numel())

    return {
        "dJ/dz3": truth()["z3"].T,
        "dJ/da3": factor(lambda a: -torch.log(a), half),  # y = 1
        "da3/dz3": factor(torch.sigmoid, z[:1]),
        "dz3/da2": factor(lambda a: v["W3"] @ a, z + 0.5),
        "da2/dz2": factor(torch.sigmoid, z),
        "dz2/dW2": factor(lambda W: W @ v["x"], v["W2"]),
        "dz2/db2": factor(lambda b: v["W2"] @ v["x"] + b, v["b2"]),
    }


def written(value: Any) -> str:
    """Rows of fractions with semicolons between them, (1/2 -1; 0 3), and a single number as it is."""
    rows = torch.as_tensor(value, dtype=torch.float64)
    rows = rows.reshape(-1, rows.shape[-1]) if rows.ndim else rows.reshape(1, 1)
    text = "; ".join(" ".join(str(Fraction(entry)) for entry in row) for row in rows.tolist())
    return text if rows.numel() == 1 else f"({text})"


def line(formula: Callable[..., Any], shown: str, of: Tensor) -> tuple[str | Text, ...]:
    """One row of a table: how the formula is written, its value here, and whether that is `of`."""
    try:
        value = torch.as_tensor(apply(formula, point()))
    except RuntimeError:  # torch's word for shapes that have no product
        return shown, NO_PRODUCT, "≠"
    return shown, written(value), "=" if torch.equal(value, of) else "≠"


def table(lines: Sequence[tuple[str | Text, ...]], of: Tensor, given: str, title: str) -> Table:
    """Lines beside autograd's value of the quantity that they should be; `given` says what goes into them."""
    caption = Text(f"By hand: {given}", f"À mão: {given}")
    head = (same(title), Text("value", "valor"), same(""))
    return Table(caption, head, (*lines, ("autograd", written(of), "")))


def given(*names: str) -> str:
    """`x = (1; 2; 4), y = 1`: quantities at this point, by the names that formulas have for them."""
    called = {"x": "x", "y": "y", "s2": "sigma'(z[2])", "d3": "delta[3]"}
    return ", ".join(f"{called.get(name, f'{name[0]}[{name[1:]}]')} = {written(point()[name])}" for name in names)
