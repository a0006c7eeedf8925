"""Equations (6), (7) and (10): the chain rule, its factors as Jacobians that sympy takes one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.network import FIGURE_1
from compare.lecture.runs import Runs
from compare.lecture.statement import Outcome, Statement, Table, Text, same

WIDE = (2, 2, 2)  # a network with more than one output: the sums of the chain rule have terms


def judge_weights(runs: Runs) -> Outcome:
    """Eq. (6): the product of four Jacobians is dJ/dW[2]."""
    from compare.lecture import symbolic

    tex = (
        r"\frac{\partial J}{\partial z^{[3]}} \frac{\partial z^{[3]}}{\partial a^{[2]}} "
        r"\frac{\partial a^{[2]}}{\partial z^{[2]}} \frac{\partial z^{[2]}}{\partial W^{[2]}}"
    )
    claims = []
    for widths in (FIGURE_1, WIDE):
        _, truth = symbolic.network(*widths)
        row = f.chain_to_weights(truth["dJ/dz3"], truth["dz3/da2"], truth["da2/dz2"], truth["dz2/dW2"])
        holds = symbolic.equal(row, truth["W2"].reshape(1, -1))
        claims.append(symbolic.proved(_network(widths), holds, tex))
    note = Text("proved; one step, from layer l+1 to layer l", "provada; um passo, da camada l+1 à camada l")
    table = _by_hand(f.chain_to_weights, ("dJ/dz3", "dz3/da2", "da2/dz2", "dz2/dW2"), "W2")
    return Outcome(tuple(claims), note, tables=(table,))


def judge_biases(runs: Runs) -> Outcome:
    """Eq. (7): the product of four Jacobians is dJ/db[2]."""
    from compare.lecture import symbolic

    tex = (
        r"\frac{\partial J}{\partial z^{[3]}} \frac{\partial z^{[3]}}{\partial a^{[2]}} "
        r"\frac{\partial a^{[2]}}{\partial z^{[2]}} \frac{\partial z^{[2]}}{\partial b^{[2]}}"
    )
    claims = []
    for widths in (FIGURE_1, WIDE):
        _, truth = symbolic.network(*widths)
        row = f.chain_to_biases(truth["dJ/dz3"], truth["dz3/da2"], truth["da2/dz2"], truth["dz2/db2"])
        claims.append(symbolic.proved(_network(widths), symbolic.equal(row, truth["b2"].reshape(1, -1)), tex))
    table = _by_hand(f.chain_to_biases, ("dJ/dz3", "dz3/da2", "da2/dz2", "dz2/db2"), "b2")
    return Outcome(tuple(claims), Text("proved, as (6)", "provada, como (6)"), tables=(table,))


def judge_figure_1(runs: Runs) -> Outcome:
    """Eq. (10): five factors, the cost's two apart, on Figure 1's network."""
    from compare.lecture import symbolic

    _, truth = symbolic.network(*FIGURE_1)
    names = ("dJ/da3", "da3/dz3", "dz3/da2", "da2/dz2", "dz2/dW2")
    row = f.chain_of_figure_1(*(truth[name] for name in names))
    tex = (
        r"\frac{\partial J}{\partial a^{[3]}} \frac{\partial a^{[3]}}{\partial z^{[3]}} "
        r"\frac{\partial z^{[3]}}{\partial a^{[2]}} \frac{\partial a^{[2]}}{\partial z^{[2]}} "
        r"\frac{\partial z^{[2]}}{\partial W^{[2]}}"
    )
    claim = symbolic.proved(_network(FIGURE_1), symbolic.equal(row, truth["W2"].reshape(1, -1)), tex)
    shapes = " · ".join("×".join(str(n) for n in truth[name].shape) for name in names)
    note = Text(f"proved: {shapes}", f"provada: {shapes}")
    return Outcome((claim,), note, tables=(_by_hand(f.chain_of_figure_1, names, "W2"),))


def _by_hand(chain: Callable[..., Any], names: Sequence[str], of: str) -> Table:
    """Every factor at simple numbers, as autograd's Jacobian, and their product."""
    factors, truth = by_hand.jacobians(), by_hand.truth()[of]
    given = by_hand.given("x", "y", "W3")
    title = f"dJ/d{_layered(of)}"
    row = chain(*(factors[name] for name in names))
    lines: tuple[tuple[str | Text, ...], ...] = (
        *((_factor(name), by_hand.written(factors[name])) for name in names),
        (Text("their product", "o produto"), by_hand.written(row)),
        (f"{title}, autograd", by_hand.written(truth)),
    )
    caption = Text(f"By hand, z = 0: {given}", f"À mão, z = 0: {given}")
    return Table(caption, (Text("factor", "fator"), Text("value", "valor")), lines)


def _layered(name: str) -> str:
    """W2 as the lecture writes it, W[2]; J as it is."""
    return f"{name[0]}[{name[1:]}]" if name[1:] else name


def _factor(name: str) -> str:
    """dz3/da2 as dz[3]/da[2]."""
    above, below = name.split("/")
    return f"d{_layered(above[1:])}/d{_layered(below[1:])}"


def _network(widths: tuple[int, ...]) -> Text:
    name = "-".join(map(str, widths))
    return Text(f"a {name} network", f"uma rede {name}")


_JACOBIAN = Text(
    "Each fraction is a Jacobian: a row for every entry of the numerator, a column for every entry of the "
    "denominator. Read so, the factors multiply from left to right exactly as printed, and the result is a row "
    "that holds the entries of the gradient one after the other.",
    "Cada fração é uma jacobiana: uma linha para cada elemento do numerador, uma coluna para cada elemento do "
    "denominador. Lidos assim, os fatores multiplicam-se da esquerda para a direita exatamente como impressos, e o "
    "resultado é uma linha com os elementos do gradiente um após o outro.",
)

STATEMENTS = (
    Statement(
        "eq-6",
        same("(6)"),
        Text("chain rule, weights", "regra da cadeia, pesos"),
        (
            (
                r"\frac{\partial J}{\partial W^{[\ell]}} = \frac{\partial J}{\partial z^{[\ell+1]}} "
                r"\frac{\partial z^{[\ell+1]}}{\partial a^{[\ell]}} \frac{\partial a^{[\ell]}}{\partial z^{[\ell]}} "
                r"\frac{\partial z^{[\ell]}}{\partial W^{[\ell]}}"
            ),
        ),
        (
            _JACOBIAN,
            Text(
                "It is one step: it starts at z[l+1], whose delta is known already, and ends in layer l. The output "
                "layer has no layer above and takes eq. (3) instead.",
                "É um único passo: parte de z[l+1], cujo delta já é conhecido, e termina na camada l. A camada de "
                "saída não tem camada acima e usa a eq. (3).",
            ),
        ),
        (f.chain_to_weights,),
        judge_weights,
        where=Text("every hidden layer, for all values", "toda camada oculta, para todos os valores"),
    ),
    Statement(
        "eq-7",
        same("(7)"),
        Text("chain rule, biases", "regra da cadeia, vieses"),
        (
            (
                r"\frac{\partial J}{\partial b^{[\ell]}} = \frac{\partial J}{\partial z^{[\ell+1]}} "
                r"\frac{\partial z^{[\ell+1]}}{\partial a^{[\ell]}} \frac{\partial a^{[\ell]}}{\partial z^{[\ell]}} "
                r"\frac{\partial z^{[\ell]}}{\partial b^{[\ell]}}"
            ),
        ),
        (
            Text(
                "The same three factors as in (6), and a last one that is the identity: that is why a bias's "
                "gradient is the delta itself.",
                "Os mesmos três fatores de (6), e um último que é a identidade: por isso o gradiente de um viés é o "
                "próprio delta.",
            ),
        ),
        (f.chain_to_biases,),
        judge_biases,
        where=Text("every hidden layer, for all values", "toda camada oculta, para todos os valores"),
    ),
    Statement(
        "eq-10",
        same("(10)"),
        Text("chain rule, Figure 1", "regra da cadeia, Figura 1"),
        (
            (
                r"\frac{\partial J}{\partial W^{[2]}} = \frac{\partial J}{\partial a^{[3]}} "
                r"\frac{\partial a^{[3]}}{\partial z^{[3]}} \frac{\partial z^{[3]}}{\partial a^{[2]}} "
                r"\frac{\partial a^{[2]}}{\partial z^{[2]}} \frac{\partial z^{[2]}}{\partial W^{[2]}}"
            ),
        ),
        (
            Text(
                "The first two factors together are delta[3]; the lecture multiplies them out in (11). The product "
                "has 9 entries in a row, the 9 weights of W[2].",
                "Os dois primeiros fatores juntos são delta[3]; a aula os multiplica em (11). O produto tem 9 "
                "elementos em linha, os 9 pesos de W[2].",
            ),
        ),
        (f.chain_of_figure_1,),
        judge_figure_1,
        where=Text("for all values, with every factor a Jacobian", "para todos os valores, cada fator uma jacobiana"),
    ),
)
