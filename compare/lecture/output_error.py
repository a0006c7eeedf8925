"""Equation (11), line by line, and the slope of the sigmoid that stands before it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.network import FIGURE_1, check, sampled, some_inputs
from compare.lecture.runs import Runs
from compare.lecture.statement import Outcome, Statement, Table, Text, same

LINES = (
    r"\frac{\partial J}{\partial z^{[3]}}",
    r"-\frac{\partial}{\partial z^{[3]}} [(1 - y) \log(1 - \hat{y}) + y \log \hat{y}]",
    (
        r"-(1 - y) \frac{\partial}{\partial z^{[3]}} \log(1 - \sigma(z^{[3]})) "
        r"- y \frac{\partial}{\partial z^{[3]}} \log(\sigma(z^{[3]}))"
    ),
    r"-(1 - y) \frac{1}{1 - \sigma(z^{[3]})} (-1) \sigma'(z^{[3]}) - y \frac{1}{g(z^{[3]})} g'(z^{[3]})",
    r"(1 - y) a^{[3]} - y (1 - a^{[3]})",
    r"a^{[3]} - y",
)


def numbers(q: dict[str, Any], g: Callable[[Tensor], Tensor] = torch.sigmoid) -> list[Callable[[], Tensor]]:
    """The six lines at the tensors of `q`, `g` being the function that line 4 calls g."""
    z: Tensor = q["z3"]
    y: Tensor = q["y"]
    a3: Tensor = q["a3"]

    def D(function: Callable[[Any], Any]) -> Tensor:
        """The derivative at z by a complex step: the imaginary part of f(z + ih) / h, exact to rounding."""
        h = 1e-30
        moved = function(torch.complex(z, torch.full_like(z, h)))
        imaginary: Tensor = moved.imag
        return imaginary / h

    def sigma(t: Tensor) -> Tensor:
        return torch.reciprocal(1 + torch.exp(-t))

    def J(t: Tensor) -> Tensor:
        return torch.log(1 + torch.exp(t)) - y * t

    return [
        lambda: f.eq_11_line_1(D, J),
        lambda: f.eq_11_line_2(D, y, sigma, torch.log),
        lambda: f.eq_11_line_3(D, y, sigma, torch.log),
        lambda: f.eq_11_line_4(sigma(z), q["s3"], y, g(z), _slope(g, z)),
        lambda: f.eq_11_line_5(a3, y),
        lambda: f.eq_11_line_6(a3, y),
    ]


def _slope(g: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    h = 1e-30
    return torch.div(g(torch.complex(z, torch.full_like(z, h))).imag, h)


def symbols() -> tuple[list[Any], Any]:
    """The six lines on symbols, g being sigma, and line 4 once more with a g of which nothing is known."""
    import sympy  # type: ignore[import-untyped]

    from compare.lecture.symbolic import s

    z, y, t = sympy.Symbol("z"), sympy.Symbol("y"), sympy.Symbol("t")

    def D(function: Callable[[Any], Any]) -> Any:
        return sympy.diff(function(t), t).subs(t, z)

    def J(at: Any) -> Any:
        return -(y * sympy.log(s(at)) + (1 - y) * sympy.log(1 - s(at)))

    slope, g = D(s), sympy.Function("g")
    lines = [
        f.eq_11_line_1(D, J),
        f.eq_11_line_2(D, y, s, sympy.log),
        f.eq_11_line_3(D, y, s, sympy.log),
        f.eq_11_line_4(s(z), slope, y, s(z), slope),
        f.eq_11_line_5(s(z), y),
        f.eq_11_line_6(s(z), y),
    ]
    return lines, f.eq_11_line_4(s(z), slope, y, g(z), D(g))


def judge(runs: Runs) -> Outcome:
    """Each line against the one before, for all values and in numbers; and g read as printed."""
    import sympy

    from compare.lecture import symbolic

    lines, with_g = symbols()
    at = some_inputs(FIGURE_1, seed=8)
    z = sympy.Symbol("z")
    claims = [
        symbolic.proved(
            Text("sigma' = sigma (1 - sigma)", "sigma' = sigma (1 - sigma)"),
            sympy.simplify(f.sigmoid_slope(1 / (1 + sympy.exp(-z))) - sympy.diff(1 / (1 + sympy.exp(-z)), z)) == 0,
            r"\sigma'(z) = \sigma(z)(1 - \sigma(z))",
        )
    ]
    for i, tex in enumerate(LINES):
        report = check(functools.partial(_line, i), at)
        claims.append(sampled(Text(f"line {i + 1}, with g = sigma", f"linha {i + 1}, com g = sigma"), report, tex))
        if i:
            holds = symbolic.is_zero(lines[i] - lines[i - 1])
            claims.append(symbolic.proved(Text(f"line {i + 1} = line {i}", f"linha {i + 1} = linha {i}"), holds, tex))
    strange = check(lambda q: {"z3": numbers(q, torch.tanh)[3]()}, at)
    claims += [
        symbolic.proved(
            Text("line 4 for any function g", "linha 4 para qualquer função g"),
            symbolic.is_zero(with_g - lines[2]),
            LINES[3],
            should=False,
        ),
        sampled(Text("line 4 with g = tanh", "linha 4 com g = tanh"), strange, LINES[3], should=False),
    ]
    note = Text(
        "each line proved equal; g in line 4 must be sigma", "cada linha provada igual; g na linha 4 deve ser sigma"
    )
    return Outcome(tuple(claims), note, tables=(_by_hand(), _saturated()))


def _line(i: int, q: dict[str, Any]) -> dict[str, Any]:
    return {"z3": numbers(q)[i]()}


def _by_autograd(z: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return slope


def _by_hand() -> Table:
    """All lines at z = 0, y = 1, where the sigmoid is 1/2 and its slope 1/4."""
    q = by_hand.point()
    steps = (
        "dJ/dz",
        "-d/dz [log y^]",
        "-0 - 1 · d/dz log sigma(z)",
        "-0 - 1 · 1/(1/2) · 1/4",
        "0 · 1/2 - 1 · (1 - 1/2)",
        "1/2 - 1",
    )
    rows = tuple(
        (str(i), step, f"{float(value()):g}") for i, (step, value) in enumerate(zip(steps, numbers(q), strict=True), 1)
    )
    return Table(
        Text(
            "By hand: z[3] = 0, y = 1, so y^ = 1/2, sigma' = 1/4", "À mão: z[3] = 0, y = 1, logo y^ = 1/2, sigma' = 1/4"
        ),
        (Text("line", "linha"), Text("reads", "lê-se"), Text("value", "valor")),
        rows,
    )


def _saturated() -> Table:
    """What a computer makes of the lines where they are equal on paper: y = 0, z = 40."""
    z = torch.tensor([[40.0]], dtype=torch.float64)
    y = torch.zeros_like(z)
    s = torch.sigmoid(z)
    q = {"z3": z, "y": y, "a3": s, "s3": s * (1 - s)}
    truth = _by_autograd(z, lambda t: F.binary_cross_entropy_with_logits(t, y, reduction="sum"))

    def D(function: Callable[[Tensor], Tensor]) -> Tensor:
        return _by_autograd(z, function)

    values = (
        f.eq_11_line_2(D, y, torch.sigmoid, torch.log),
        f.eq_11_line_3(D, y, torch.sigmoid, torch.log),
        *(numbers(q)[i]() for i in (3, 4, 5)),
    )
    rows = tuple((str(i), f"{float(value):g}") for i, value in enumerate(values, start=2))
    return Table(
        Text(
            f"Equal on paper, not in float64: z = 40, y = 0 (the derivative is {float(truth):g})",
            f"Iguais no papel, não em float64: z = 40, y = 0 (a derivada é {float(truth):g})",
        ),
        (Text("line", "linha"), Text("value", "valor")),
        rows,
    )


STATEMENTS = (
    Statement(
        "eq-11",
        same("(11)"),
        Text("delta[3], line by line", "delta[3], linha a linha"),
        (r"\sigma'(z) = \sigma(z)(1 - \sigma(z))", r"\delta^{[3]} = " + LINES[0], *("= " + tex for tex in LINES[1:])),
        (
            Text(
                "Six lines, each of which must equal the one before. Line 4 writes g where the lines around it write "
                "sigma; nowhere is a g defined. Read as another function, the line is wrong; with g = sigma it is "
                "right, and so are all the others.",
                "Seis linhas, cada uma das quais deve ser igual à anterior. A linha 4 escreve g onde as linhas ao "
                "redor escrevem sigma; em parte alguma se define um g. Lido como outra função, a linha está errada; "
                "com g = sigma está certa, e as demais também.",
            ),
            Text(
                "Equal on paper is not equal in a computer: where the sigmoid is rounded to 1, lines 2 to 4 take the "
                "logarithm of zero or divide by it, and line 6 still has every digit. The short form is worth "
                "deriving.",
                "Igual no papel não é igual no computador: onde a sigmoide é arredondada para 1, as linhas 2 a 4 "
                "tomam o logaritmo de zero ou dividem por ele, e a linha 6 ainda tem todos os dígitos. Vale a pena "
                "derivar a forma curta.",
            ),
        ),
        (
            f.sigmoid_slope,
            f.eq_11_line_1,
            f.eq_11_line_2,
            f.eq_11_line_3,
            f.eq_11_line_4,
            f.eq_11_line_5,
            f.eq_11_line_6,
        ),
        judge,
        corrected=(
            (
                r"-(1 - y) \frac{1}{1 - \sigma(z^{[3]})} (-1) \sigma'(z^{[3]}) - y \frac{1}{\sigma(z^{[3]})} "
                r"\sigma'(z^{[3]})"
            ),
        ),
        where=Text(
            "all lines for all z and y, when g is sigma; in a computer, lines 2 to 4 only while sigma(z) is not "
            "rounded to 0 or 1",
            "todas as linhas para todo z e y, quando g é sigma; num computador, as linhas 2 a 4 só enquanto sigma(z) "
            "não é arredondada para 0 ou 1",
        ),
    ),
)
