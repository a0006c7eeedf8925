"""Figure 1's network with its declared shapes, and the gradient of its W[2] in equations (9), (12), (13) and (14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compare.lecture import formulas as f
from compare.lecture.backpropagation import exact
from compare.lecture.drawings import draw_network
from compare.lecture.network import FIGURE_1, apply, check, sampled, seeds
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Figure, Outcome, Statement, Text, same

DECLARED = {"W2": (3, 3), "b2": (1, 3), "W3": (1, 3), "b3": (1, 1)}
AS_PRINTED = Text("as printed", "como impressa")
CORRECTED = Text("corrected", "corrigida")
PROOF = Text("for all values", "para todos os valores")


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
    return Outcome(tuple(claims), note, figures=(figure,))


def _both(formula: Callable[..., Any], of: str, tex: str, what: Text, transposed: bool = False) -> list[Claim]:
    """A formula on Figure 1's network, sampled and proved."""
    from compare.lecture import symbolic

    def value(q: dict[str, Any]) -> Any:
        computed = apply(formula, q)
        return computed.T if transposed else computed

    report = check(lambda q: {of: value(q)}, seeds(FIGURE_1))
    q, truth = symbolic.network(*FIGURE_1)
    return [
        sampled(what, report, tex),
        symbolic.proved(what + same(", ") + PROOF, symbolic.equal(value(q), truth[of]), tex),
    ]


def judge_9(runs: Runs) -> Outcome:
    """Eq. (9): the first member equals the last; the middle one lacks x^T and is dJ/db[2]."""
    middle_tex = r"(W^{[3]} \circ \delta^{[3]}) \sigma'(z^{[2]})"
    report = check(lambda q: {"W2": apply(f.eq_9_middle_printed, q)}, seeds(FIGURE_1))
    claims = [
        sampled(Text("middle member as printed", "membro do meio como impresso"), report, middle_tex, should=False),
        *_both(
            f.eq_9_middle_printed,
            "b2",
            middle_tex,
            Text("middle member as printed, as dJ/db[2]", "membro do meio como impresso, como dJ/db[2]"),
            transposed=True,
        ),
        *_both(
            f.eq_9_middle,
            "W2",
            r"((W^{[3]T} \delta^{[3]}) \circ \sigma'(z^{[2]})) x^T",
            Text("middle member corrected", "membro do meio corrigido"),
        ),
        *_both(
            f.eq_9_last,
            "W2",
            r"(W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T",
            Text("last member as printed", "último membro como impresso"),
        ),
    ]
    note = Text(
        "middle member lacks x^T: it is dJ/db[2], lying down; the last member is right",
        "falta x^T no membro do meio: é dJ/db[2], deitado; o último membro está certo",
    )
    return Outcome(tuple(claims), note)


def judge_12(runs: Runs) -> Outcome:
    """Eq. (12): as printed with three hidden units and with one, and corrected."""
    tex = r"(a^{[3]} - y) W^{[3]T} \sigma'(z^{[2]}) x^T"
    three = check(lambda q: {"W2": apply(f.eq_12_printed, q)}, seeds(FIGURE_1))
    one = check(lambda q: {"W2": apply(f.eq_12_printed, q)}, seeds((3, 1, 1)))
    claims = [
        sampled(AS_PRINTED, three, tex, should=False),
        sampled(AS_PRINTED + Text(", one hidden unit", ", uma unidade oculta"), one, tex),
        *_both(f.eq_12, "W2", r"((a^{[3]} - y) W^{[3]T} \circ \sigma'(z^{[2]})) x^T", CORRECTED),
    ]
    note = Text(
        "lacks the sign ∘: 3x1 times 3x1 is no matrix product; right with it",
        "falta o sinal ∘: 3x1 vezes 3x1 não é produto matricial; certa com ele",
    )
    return Outcome(tuple(claims), note)


def judge_13(runs: Runs) -> Outcome:
    """Eq. (13): the value, and every label under a brace."""
    q = _numbers()
    labels: tuple[tuple[str, str, tuple[int, int], Tensor], ...] = (
        ("dJ/dW[2]", r"\frac{\partial J}{\partial W^{[2]}}", (3, 2), apply(f.eq_13, q)),
        ("a[3] - y", r"a^{[3]} - y", (1, 1), q["a3"] - q["y"]),
        ("W[3]^T", r"W^{[3]T}", (3, 1), q["W3"].T),
        ("sigma'(z[2])", r"\sigma'(z^{[2]})", (3, 1), q["s2"]),
        ("x^T", r"x^T", (1, 3), q["x"].T),
    )
    tex = r"(a^{[3]} - y) W^{[3]T} \circ \sigma'(z^{[2]}) x^T"
    claims = _both(f.eq_13, "W2", tex, Text("the value", "o valor"))
    for name, label_tex, printed, value in labels:
        rows, columns = value.shape
        claims.append(
            Claim(
                Text(f"{name} is {printed[0]}x{printed[1]}", f"{name} é {printed[0]}x{printed[1]}"),
                tuple(value.shape) == printed,
                name != "dJ/dW[2]",
                rf"\underbrace{{{label_tex}}}_{{{printed[0]} \times {printed[1]}}}",
                same(f"{rows}x{columns}"),
            )
        )
    true = "x".join(map(str, labels[0][3].shape))
    note = Text(f"labels dJ/dW[2] 3x2; it is {true}, as W[2] is", f"rotula dJ/dW[2] como 3x2; é {true}, como W[2]")
    return Outcome(tuple(claims), note)


def judge_14(runs: Runs) -> Outcome:
    """Eq. (14), where every product is one that matrices have."""
    claims = _both(f.eq_14, "W2", r"(W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T", AS_PRINTED)
    return Outcome(
        tuple(claims), Text("proved; every product fits: 3x1, 1x1, 1x3", "provada; todo produto cabe: 3x1, 1x1, 1x3")
    )


def _numbers() -> dict[str, Tensor]:
    from compare.lecture.network import forward, quantities, some_inputs

    values = some_inputs(FIGURE_1, seed=4)
    return quantities(values | forward(**values)[1])


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
    ),
    Statement(
        "eq-9",
        same("(9)"),
        Text("W[2] by backpropagation", "W[2] por retropropagação"),
        (
            (
                r"\frac{\partial J}{\partial W^{[2]}} = (W^{[3]} \circ \delta^{[3]}) \sigma'(z^{[2]}) "
                r"= (W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T"
            ),
        ),
        (
            Text(
                "Two equals signs, three members, and only two of them agree. The middle one stops at delta[2], which "
                "is the gradient of the biases; the factor x^T that turns it into the gradient of the weights appears "
                "in the last member as if it had been there all along.",
                "Dois sinais de igual, três membros, e só dois deles concordam. O do meio para em delta[2], que é o "
                "gradiente dos vieses; o fator x^T, que o transforma no gradiente dos pesos, aparece no último membro "
                "como se sempre tivesse estado ali.",
            ),
        ),
        (f.eq_9_middle_printed, f.eq_9_middle, f.eq_9_last),
        judge_9,
        corrected=(
            (
                r"\frac{\partial J}{\partial W^{[2]}} = ((W^{[3]T} \delta^{[3]}) \circ \sigma'(z^{[2]})) x^T = "
                r"(W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T"
            ),
        ),
    ),
    Statement(
        "eq-12",
        same("(12)"),
        Text("W[2] by the chain rule", "W[2] pela regra da cadeia"),
        (r"\frac{\partial J}{\partial W^{[2]}} = (a^{[3]} - y) W^{[3]T} \sigma'(z^{[2]}) x^T",),
        (
            Text(
                "Two columns stand side by side without a sign between them. A product of matrices they do not have; "
                "the product that is meant is element by element, since sigma' stands for a diagonal matrix, see (8). "
                "With a single hidden unit both columns are numbers and nothing is missing.",
                "Duas colunas lado a lado sem sinal entre elas. Produto de matrizes elas não têm; o produto que se "
                "quer é elemento a elemento, pois sigma' está por uma matriz diagonal, ver (8). Com uma só unidade "
                "oculta ambas as colunas são números e nada falta.",
            ),
        ),
        (f.eq_12_printed, f.eq_12),
        judge_12,
        corrected=(r"\frac{\partial J}{\partial W^{[2]}} = ((a^{[3]} - y) W^{[3]T} \circ \sigma'(z^{[2]})) x^T",),
    ),
    Statement(
        "eq-13",
        same("(13)"),
        Text("the dimensions", "as dimensões"),
        (
            (
                r"\underbrace{\frac{\partial J}{\partial W^{[2]}}}_{3 \times 2} "
                r"= \underbrace{(a^{[3]} - y)}_{1 \times 1} \underbrace{W^{[3]T}}_{3 \times 1} \circ "
                r"\underbrace{\sigma'(z^{[2]})}_{3 \times 1} \underbrace{x^T}_{1 \times 3}"
            ),
        ),
        (
            Text(
                "The labels on the right multiply to 3 x 3, which is the shape of W[2] and of every gradient by it; "
                "the label on the left is a misprint. The 1 x 1 factor in front of a 3 x 1 one is a number that "
                "scales it, not a factor of a matrix product; (14) moves it to where both readings agree.",
                "Os rótulos à direita multiplicam-se em 3 x 3, a forma de W[2] e de todo gradiente nele; o rótulo à "
                "esquerda é um erro de impressão. O fator 1 x 1 diante de um 3 x 1 é um número que o escala, não "
                "fator de um produto matricial; (14) o leva para onde as duas leituras concordam.",
            ),
        ),
        (f.eq_13,),
        judge_13,
        corrected=(r"\underbrace{\frac{\partial J}{\partial W^{[2]}}}_{3 \times 3}",),
    ),
    Statement(
        "eq-14",
        same("(14)"),
        Text("both ways agree", "os dois caminhos concordam"),
        (r"\frac{\partial J}{\partial W^{[2]}} = (W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T",),
        (
            Text(
                "The last word of the derivation is right, and it equals the last member of (9): for this network "
                "backpropagation and the chain rule give one and the same matrix, whatever the nine weights, the "
                "biases, the input and the target may be.",
                "A última palavra da dedução está certa, e é igual ao último membro de (9): para esta rede, a "
                "retropropagação e a regra da cadeia dão a mesma matriz, quaisquer que sejam os nove pesos, os "
                "vieses, a entrada e o alvo.",
            ),
        ),
        (f.eq_14,),
        judge_14,
    ),
)
