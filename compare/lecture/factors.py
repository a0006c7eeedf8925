"""Equation (8) and the factors after (11): each against the Jacobian that it stands for, as sympy takes it."""

from __future__ import annotations

import numpy as np

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.network import FIGURE_1
from compare.lecture.runs import Runs
from compare.lecture.statement import Outcome, Statement, Table, Text, same


def judge_factors(runs: Runs) -> Outcome:
    """Eq. (8): each factor against the Jacobian that it stands for, on a network with two outputs."""
    from compare.lecture import symbolic

    h, d, k = 2, 2, 2
    q, truth = symbolic.network(d, h, k)
    eye = np.eye(h, dtype=int)
    by_row = np.kron(eye, f.z_by_weights(q["x"]))  # unit i sees its own row of W, and no other
    diagonal = eye * f.a_by_z(q["s2"])
    claims = (
        symbolic.proved(
            Text("the gradient by z[l+1] is delta[l+1]", "o gradiente em z[l+1] é delta[l+1]"),
            symbolic.equal(f.cost_by_next_z(q["d3"]).reshape(1, k), truth["dJ/dz3"]),
            r"\frac{\partial J}{\partial z^{[\ell+1]}} = \delta^{[\ell+1]}",
        ),
        symbolic.proved(
            Text("W[l+1] is the Jacobian", "W[l+1] é a jacobiana"),
            symbolic.equal(f.next_z_by_a(q["W3"]), truth["dz3/da2"]),
            r"\frac{\partial z^{[\ell+1]}}{\partial a^{[\ell]}} = W^{[\ell+1]}",
        ),
        symbolic.proved(
            Text("sigma' is the diagonal of the Jacobian", "sigma' é a diagonal da jacobiana"),
            symbolic.equal(diagonal, truth["da2/dz2"]),
            r"\frac{\partial a^{[\ell]}}{\partial z^{[\ell]}} = \sigma'(z^{[\ell]})",
        ),
        symbolic.proved(
            Text("a[l-1]^T, for each unit and its own row", "a[l-1]^T, para cada unidade e a sua linha"),
            symbolic.equal(by_row, truth["dz2/dW2"]),
            r"\frac{\partial z^{[\ell]}}{\partial W^{[\ell]}} = a^{[\ell-1]T}",
        ),
        symbolic.proved(
            Text("1, for each unit and its own bias", "1, para cada unidade e o seu viés"),
            symbolic.equal(eye * f.z_by_biases(), truth["dz2/db2"]),
            r"\frac{\partial z^{[\ell]}}{\partial b^{[\ell]}} = 1",
        ),
    )
    p, J = by_hand.point(), by_hand.jacobians()
    rows = (
        ("dJ/dz[3]", by_hand.written(f.cost_by_next_z(p["d3"])), by_hand.written(J["dJ/dz3"])),
        ("dz[3]/da[2]", by_hand.written(f.next_z_by_a(p["W3"])), by_hand.written(J["dz3/da2"])),
        ("da[2]/dz[2]", by_hand.written(f.a_by_z(p["s2"])), by_hand.written(J["da2/dz2"])),
        ("dz[2]/dW[2]", by_hand.written(f.z_by_weights(p["x"])), by_hand.written(J["dz2/dW2"])),
        ("dz[2]/db[2]", by_hand.written(f.z_by_biases()), by_hand.written(J["dz2/db2"])),
    )
    given = by_hand.given("x", "W3")
    table = Table(
        Text(f"By hand, z = 0: {given}", f"À mão, z = 0: {given}"),
        (Text("factor", "fator"), Text("as (8) writes it", "como (8) escreve"), Text("Jacobian", "jacobiana")),
        rows,
    )
    note = Text("right; three are short for a diagonal Jacobian", "certa; três abreviam uma jacobiana diagonal")
    return Outcome(claims, note, tables=(table,))


def judge_columns(runs: Runs) -> Outcome:
    """The factors after eq. (11): gradients as columns, where eq. (8) has Jacobians."""
    from compare.lecture import symbolic

    q, truth = symbolic.network(*FIGURE_1)
    column, jacobian = f.z3_by_a2(q["W3"]), truth["dz3/da2"]
    rows = np.kron(np.eye(3, dtype=int), f.z2_by_W2(q["x"]))
    tex = r"\frac{\partial z^{[3]}}{\partial a^{[2]}} = W^{[3]T}"
    claims = (
        symbolic.proved(
            Text("W[3]^T is the gradient as a column", "W[3]^T é o gradiente em coluna"),
            symbolic.equal(column, jacobian.T),
            tex,
        ),
        symbolic.proved(
            Text("W[3]^T is the factor that eq. (8) names", "W[3]^T é o fator que a eq. (8) nomeia"),
            symbolic.equal(column, jacobian),
            tex,
            should=False,
        ),
        symbolic.proved(
            Text("sigma' is the diagonal of the Jacobian", "sigma' é a diagonal da jacobiana"),
            symbolic.equal(np.eye(3, dtype=int) * f.a2_by_z2(q["s2"]), truth["da2/dz2"]),
            r"\frac{\partial a^{[2]}}{\partial z^{[2]}} = \sigma'(z^{[2]})",
        ),
        symbolic.proved(
            Text("x^T, for each unit and its own row", "x^T, para cada unidade e a sua linha"),
            symbolic.equal(rows, truth["dz2/dW2"]),
            r"\frac{\partial z^{[2]}}{\partial W^{[2]}} = x^T",
        ),
    )
    note = Text(
        f"W^T here is a column, {_shape(column)}; (8) has W, a Jacobian, {_shape(jacobian)}",
        f"W^T aqui é coluna, {_shape(column)}; (8) traz W, jacobiana, {_shape(jacobian)}",
    )
    p, J = by_hand.point(), by_hand.jacobians()
    given = by_hand.given("x", "W3")
    table = Table(
        Text(f"By hand, z = 0: {given}", f"À mão, z = 0: {given}"),
        (Text("factor", "fator"), Text("as printed", "como impresso"), Text("Jacobian", "jacobiana")),
        (
            ("dz[3]/da[2]", by_hand.written(f.z3_by_a2(p["W3"])), by_hand.written(J["dz3/da2"])),
            ("da[2]/dz[2]", by_hand.written(f.a2_by_z2(p["s2"])), by_hand.written(J["da2/dz2"])),
            ("dz[2]/dW[2]", by_hand.written(f.z2_by_W2(p["x"])), by_hand.written(J["dz2/dW2"])),
        ),
    )
    return Outcome(claims, note, tables=(table,))


def _shape(a: np.ndarray) -> str:
    return "×".join(map(str, a.shape))


STATEMENTS = (
    Statement(
        "eq-8",
        same("(8)"),
        Text("the factors", "os fatores"),
        (
            (
                r"\frac{\partial J}{\partial z^{[\ell+1]}} = \delta^{[\ell+1]}, \quad "
                r"\frac{\partial z^{[\ell+1]}}{\partial a^{[\ell]}} = W^{[\ell+1]}, \quad "
                r"\frac{\partial a^{[\ell]}}{\partial z^{[\ell]}} = \sigma'(z^{[\ell]})"
            ),
            (
                r"\frac{\partial z^{[\ell]}}{\partial W^{[\ell]}} = a^{[\ell-1]T}, \quad "
                r"\frac{\partial z^{[\ell]}}{\partial b^{[\ell]}} = 1"
            ),
        ),
        (
            Text(
                "W[l+1] is the Jacobian as it stands. The last three are abbreviations: sigma' stands for a matrix "
                "with these slopes on its diagonal and zeros elsewhere (each a depends on its own z only), a^T for a "
                "matrix with a^T in each unit's own block, 1 for the identity. A product with such a diagonal matrix "
                "is an element-wise product, which is where the circle of (4) comes from.",
                "W[l+1] já é a jacobiana. Os três últimos são abreviações: sigma' representa uma matriz com essas "
                "inclinações na diagonal e zeros fora dela (cada a depende só do seu próprio z), a^T uma matriz com "
                "a^T no bloco de cada unidade, e 1 a identidade. O produto com uma matriz diagonal dessas é um "
                "produto elemento a elemento, e daí vem o círculo de (4).",
            ),
        ),
        (f.cost_by_next_z, f.next_z_by_a, f.a_by_z, f.z_by_weights, f.z_by_biases),
        judge_factors,
        where=Text(
            "for all values, where the last three are read as the diagonal, or the repeated block, of a Jacobian",
            "para todos os valores, lendo os três últimos como a diagonal, ou o bloco repetido, de uma jacobiana",
        ),
    ),
    Statement(
        "after-11",
        Text("After (11)", "Após (11)"),
        Text("the other factors", "os demais fatores"),
        (
            (
                r"\frac{\partial z^{[3]}}{\partial a^{[2]}} = W^{[3]T}, \quad "
                r"\frac{\partial a^{[2]}}{\partial z^{[2]}} = \sigma'(z^{[2]}), \quad "
                r"\frac{\partial z^{[2]}}{\partial W^{[2]}} = x^T"
            ),
        ),
        (
            Text(
                "Two conventions meet here. (8) writes the derivative of z by a as W, a Jacobian; this line writes "
                "the same derivative as W^T, a gradient in a column. Both are in use, and either leads to the "
                "right answer when it is kept; mixed, the factors no longer fit each other, and that is how (12) "
                "loses its shape.",
                "Duas convenções se encontram aqui. (8) escreve a derivada de z em relação a a como W, uma jacobiana; "
                "esta linha escreve a mesma derivada como W^T, um gradiente em coluna. As duas são usuais, e qualquer "
                "uma leva à resposta certa se for mantida até o fim; misturadas, os fatores já não se encaixam, e é "
                "assim que as dimensões de (12) se perdem.",
            ),
        ),
        (f.z3_by_a2, f.a2_by_z2, f.z2_by_W2),
        judge_columns,
        corrected=(r"\frac{\partial z^{[3]}}{\partial a^{[2]}} = W^{[3]}",),
        where=Text(
            "W^T where gradients stand as columns; in a chain of Jacobians, as (8) and (10) have it, it must be W",
            "W^T onde os gradientes ficam em coluna; numa cadeia de jacobianas, como em (8) e (10), deve ser W",
        ),
    ),
)
