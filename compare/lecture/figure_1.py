"""Figure 1's network with its declared shapes."""

from __future__ import annotations

import torch
from torch import nn

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.backpropagation import exact
from compare.lecture.drawings import draw_network
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Figure, Outcome, Statement, Table, Text, same

DECLARED = {"W2": (3, 3), "b2": (1, 3), "W3": (1, 3), "b3": (1, 1)}


def judge_network(runs: Runs) -> Outcome:
    """The four formulas against torch's own layers, in numbers without rounding, and the declared shapes."""
    g = torch.Generator().manual_seed(3)
    x, W2, b2, W3, b3 = (exact(g, *shape) for shape in ((3, 1), (3, 3), (3, 1), (1, 3), (1, 1)))
    layers = nn.Sequential(nn.Linear(3, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for parameter, value in zip(layers.parameters(), (W2, b2.flatten(), W3, b3.flatten()), strict=True):
            parameter.copy_(value)
        z2 = layers[0](x.T).T
        half = (layers[1](z2) * 64).round() / 64  # activations without rounding, so that z3 has none either
        z3 = layers[2](half.T).T
    parts = (
        (r"z^{[2]} = W^{[2]} x + b^{[2]}", f.figure_1_z2(W2, x, b2), z2),
        (r"a^{[2]} = \sigma(z^{[2]})", f.figure_1_a2(torch.sigmoid, z2), layers[1](z2)),
        (r"z^{[3]} = W^{[3]} a^{[2]} + b^{[3]}", f.figure_1_z3(W3, half, b3), z3),
        (r"a^{[3]} = \sigma(z^{[3]})", f.figure_1_a3(torch.sigmoid, z3), layers[3](z3)),
    )
    names = ("z[2]", "a[2]", "z[3]", "a[3]")
    to_the_bit = Text("equal to torch.nn, to the bit", "igual a torch.nn, bit a bit")
    claims = [
        Claim(same(name), torch.equal(value, truth), tex=tex, evidence=to_the_bit)
        for name, (tex, value, truth) in zip(names, parts, strict=True)
    ]
    zeros = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in DECLARED.items()}
    made = {"W2": zeros["W2"] @ x, "b2": W2 @ x + zeros["b2"], "W3": zeros["W3"] @ half, "b3": W3 @ half + zeros["b3"]}
    for name, z in made.items():
        layer, (rows, columns) = int(name[1]), DECLARED[name]
        z_shape = f"{z.shape[0]}x{z.shape[1]}"
        claims.append(
            Claim(
                Text(f"{name[0]}[{layer}] fits as declared", f"{name[0]}[{layer}] cabe como declarado"),
                tuple(z.shape) == (layers[2 * layer - 4].out_features, 1),
                name != "b2",
                rf"{name[0]}^{{[{layer}]}} \in \mathbb{{R}}^{{{rows} \times {columns}}}",
                Text(f"z[{layer}] comes out {z_shape}", f"z[{layer}] sai {z_shape}"),
            )
        )
    as_row = tuple(made["b2"].shape)
    note = Text(
        f"b[2] is declared a row, used as a column; as a row z[2] comes out {as_row[0]}x{as_row[1]}",
        f"b[2] é declarado linha e usado como coluna; como linha, z[2] sai {as_row[0]}x{as_row[1]}",
    )
    figure = Figure(
        "network",
        Text("Figure 1's network: W[2] is 3 x 3, W[3] is 1 x 3.", "A rede da Figura 1: W[2] é 3 x 3, W[3] é 1 x 3."),
        Text(
            "Three input units, each joined to three hidden units, which are all joined to one output unit.",
            "Três unidades de entrada, cada uma ligada a três unidades ocultas, todas ligadas a uma unidade de saída.",
        ),
        draw_network,
        (6.0, 3.0),
    )
    return Outcome(tuple(claims), note, tables=(_by_hand(),), figures=(figure,))


def _by_hand() -> Table:
    """The forward pass at simple numbers, and what becomes of W[2] x + b[2] where b[2] is a row."""
    q = by_hand.point()
    row = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)  # b[2] as declared
    no_b2 = torch.zeros(3, 1, dtype=torch.float64)
    rows: tuple[tuple[str | Text, ...], ...] = (
        ("z[2] = W[2] x + b[2]", by_hand.written(f.figure_1_z2(q["W2"], q["x"], no_b2))),
        ("a[2] = sigma(z[2])", by_hand.written(f.figure_1_a2(torch.sigmoid, q["z2"]))),
        ("z[3] = W[3] a[2] + b[3]", by_hand.written(f.figure_1_z3(q["W3"], q["a2"], q["b3"]))),
        ("a[3] = sigma(z[3])", by_hand.written(f.figure_1_a3(torch.sigmoid, q["z3"]))),
        (
            Text("W[2] x + b[2], b[2] a column (1; 2; 3)", "W[2] x + b[2], b[2] coluna (1; 2; 3)"),
            by_hand.written(f.figure_1_z2(q["W2"], q["x"], row.T)),
        ),
        (
            Text("W[2] x + b[2], b[2] a row (1 2 3)", "W[2] x + b[2], b[2] linha (1 2 3)"),
            by_hand.written(f.figure_1_z2(q["W2"], q["x"], row)),
        ),
    )
    given = by_hand.given("x", "W2", "W3")
    caption = Text(f"By hand: {given}; b[2] = 0, b[3] = 0", f"À mão: {given}; b[2] = 0, b[3] = 0")
    return Table(caption, (Text("formula", "fórmula"), Text("value", "valor")), rows)


STATEMENTS = (
    Statement(
        "figure-1",
        Text("Figure 1", "Figura 1"),
        Text("the network and its shapes", "a rede e as suas formas"),
        (
            (
                r"W^{[2]} \in \mathbb{R}^{3 \times 3}, \quad b^{[2]} \in \mathbb{R}^{1 \times 3}, \quad "
                r"W^{[3]} \in \mathbb{R}^{1 \times 3}, \quad b^{[3]} \in \mathbb{R}^{1 \times 1}"
            ),
            (
                r"z^{[2]} = W^{[2]} x + b^{[2]}, \quad a^{[2]} = \sigma(z^{[2]}), \quad "
                r"z^{[3]} = W^{[3]} a^{[2]} + b^{[3]}, \quad a^{[3]} = \sigma(z^{[3]})"
            ),
        ),
        (
            Text(
                "Layers are counted from the input, which is layer 1 and has no parameters; so the first weights are "
                "W[2]. W[2] x is a column of three numbers, and what is added to it must be one too. Declared as a "
                "row, b[2] would be spread by torch or NumPy over a 3 x 3 matrix without a word of warning: the kind "
                "of slip that is harmless on paper and costly in a program.",
                "As camadas contam-se a partir da entrada, que é a camada 1 e não tem parâmetros; por isso os "
                "primeiros pesos são W[2]. W[2] x é uma coluna de três números, e o que se soma a ela também deve "
                "ser. Declarado como linha, b[2] seria espalhado por torch ou NumPy numa matriz 3 x 3 sem nenhum "
                "aviso: o tipo de lapso inofensivo no papel e caro num programa.",
            ),
        ),
        (f.figure_1_z2, f.figure_1_a2, f.figure_1_z3, f.figure_1_a3),
        judge_network,
        corrected=(r"b^{[2]} \in \mathbb{R}^{3 \times 1}",),
        where=Text(
            "the four formulas for all values, once b[2] is a column; as a row b[2] would fit one hidden unit only",
            "as quatro fórmulas para todos os valores, desde que b[2] seja coluna; como linha, b[2] só caberia com uma "
            "unidade oculta",
        ),
    ),
)
