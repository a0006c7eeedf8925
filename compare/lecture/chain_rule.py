"""Equations (6), (7), (8) and (10): the chain rule, its factors as Jacobians that sympy takes one by one."""

from __future__ import annotations

import numpy as np

from compare.lecture import formulas as f
from compare.lecture.runs import Runs
from compare.lecture.statement import Outcome, Statement, Table, Text, same

WIDE = (2, 2, 2)  # a network with more than one output: the sums of the chain rule have terms
FIGURE_1 = (3, 3, 1)


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
    return Outcome(tuple(claims), Text("proved; one step, from layer l+1 to l", "provada; um passo, da camada l+1 à l"))


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
    return Outcome(tuple(claims), Text("proved, as (6)", "provada, como (6)"))


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
    rows = tuple(
        (name, " x ".join(str(n) for n in truth[name].shape)) for name in ("dz3/da2", "da2/dz2", "dz2/dW2", "dz2/db2")
    )
    table = Table(
        Text("Shapes of the Jacobians of a 2-2-2 network", "Formas das jacobianas de uma rede 2-2-2"),
        (Text("factor", "fator"), Text("shape", "forma")),
        rows,
    )
    note = Text("right; three are short for a diagonal Jacobian", "certa; três abreviam uma jacobiana diagonal")
    return Outcome(claims, note, tables=(table,))


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
    return Outcome((claim,), note)


def _network(widths: tuple[int, ...]) -> Text:
    name = "-".join(map(str, widths))
    return Text(f"a {name} network", f"uma rede {name}")


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
    return Outcome(claims, note)


def _shape(a: np.ndarray) -> str:
    return "×".join(map(str, a.shape))


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
    ),
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
                "W[l+1] é a jacobiana tal como está. Os três últimos são abreviações: sigma' está por uma matriz com "
                "essas inclinações na diagonal e zeros fora dela (cada a depende só do seu z), a^T por uma matriz com "
                "a^T no bloco de cada unidade, 1 pela identidade. O produto com uma matriz diagonal assim é um "
                "produto elemento a elemento, e daí vem o círculo de (4).",
            ),
        ),
        (f.cost_by_next_z, f.next_z_by_a, f.a_by_z, f.z_by_weights, f.z_by_biases),
        judge_factors,
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
    ),
    Statement(
        "after-11",
        Text("after (11)", "após (11)"),
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
                "the same derivative as W^T, a gradient that stands upright. Both are in use, and either leads to the "
                "right answer when it is kept; mixed, the factors no longer fit each other, and that is how (12) "
                "loses its shape.",
                "Duas convenções se encontram aqui. (8) escreve a derivada de z em a como W, uma jacobiana; esta linha "
                "escreve a mesma derivada como W^T, um gradiente em pé. Ambas são usuais, e qualquer uma leva à "
                "resposta certa se for mantida; misturadas, os fatores já não se encaixam, e é assim que (12) perde a "
                "sua forma.",
            ),
        ),
        (f.z3_by_a2, f.a2_by_z2, f.z2_by_W2),
        judge_columns,
        corrected=(r"\frac{\partial z^{[3]}}{\partial a^{[2]}} = W^{[3]}",),
    ),
)
