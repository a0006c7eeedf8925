"""Equations (9), (12), (13) and (14): the gradient of W[2] in Figure 1's network, every member of every chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.network import FIGURE_1, apply, check, sampled, seeds
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Outcome, Statement, Text, same

AS_PRINTED = Text("as printed", "como impressa")
CORRECTED = Text("corrected", "corrigida")
PROOF = Text("for all values", "para todos os valores")


def _both(formula: Callable[..., Any], of: str, tex: str, what: Text, *, transposed: bool = False) -> list[Claim]:
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
    W2, b2 = by_hand.truth()["W2"], by_hand.truth()["b2"]
    shown = (
        by_hand.line(f.eq_9_middle_printed, "(W[3] ∘ delta[3]) ∘ sigma'", W2),
        by_hand.line(f.eq_9_middle, "((W[3]^T delta[3]) ∘ sigma') x^T", W2),
        by_hand.line(f.eq_9_last, "(W[3]^T ∘ sigma') (a[3] - y) x^T", W2),
    )
    as_column = by_hand.line(
        lambda W3, d3, s2: f.eq_9_middle_printed(W3, d3, s2).T, "((W[3] ∘ delta[3]) ∘ sigma')^T", b2
    )
    tables = (
        by_hand.table(shown, W2, by_hand.given("x", "W3", "d3", "s2"), "dJ/dW[2]"),
        by_hand.table((as_column,), b2, by_hand.given("W3", "d3", "s2"), "dJ/db[2]"),
    )
    note = Text(
        "middle member lacks x^T: it is dJ/db[2] as a row; the last member is right",
        "falta x^T no membro do meio: é dJ/db[2] em linha; o último membro está certo",
    )
    return Outcome(tuple(claims), note, tables=tables)


def judge_12(runs: Runs) -> Outcome:
    """Eq. (12): as printed with three hidden units and with one, and corrected."""
    tex = r"(a^{[3]} - y) W^{[3]T} \sigma'(z^{[2]}) x^T"
    three = check(lambda q: {"W2": apply(f.eq_12_printed, q)}, seeds(FIGURE_1))
    one = check(lambda q: {"W2": apply(f.eq_12_printed, q)}, seeds((3, 1, 1)))
    W2 = by_hand.truth()["W2"]
    shown = (
        by_hand.line(f.eq_12_printed, "(a[3] - y) W[3]^T sigma' x^T", W2),
        by_hand.line(f.eq_12, "((a[3] - y) W[3]^T ∘ sigma') x^T", W2),
    )
    claims = [
        sampled(AS_PRINTED, three, tex, should=False),
        Claim(
            Text("a column times a column exists", "existe coluna vezes coluna"),
            shown[0][1] != by_hand.NO_PRODUCT,
            should=False,
            tex=r"W^{[3]T} \sigma'(z^{[2]})",
        ),
        sampled(AS_PRINTED + Text(", one hidden unit", ", uma unidade oculta"), one, tex),
        *_both(f.eq_12, "W2", r"((a^{[3]} - y) W^{[3]T} \circ \sigma'(z^{[2]})) x^T", CORRECTED),
    ]
    table = by_hand.table(shown, W2, by_hand.given("a3", "y", "W3", "s2", "x"), "dJ/dW[2]")
    note = Text(
        "lacks the sign ∘: 3x1 times 3x1 is no matrix product; right with it",
        "falta o sinal ∘: 3x1 vezes 3x1 não é produto matricial; certa com ele",
    )
    return Outcome(tuple(claims), note, tables=(table,))


def judge_13(runs: Runs) -> Outcome:
    """Eq. (13): the value, and every label under a brace."""
    q, W2 = by_hand.point(), by_hand.truth()["W2"]
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
    shown = by_hand.line(f.eq_13, "(a[3] - y) W[3]^T ∘ sigma' x^T", W2)
    table = by_hand.table((shown,), W2, by_hand.given("a3", "y", "W3", "s2", "x"), "dJ/dW[2]")
    true = "x".join(map(str, labels[0][3].shape))
    note = Text(f"labels dJ/dW[2] 3x2; it is {true}, as W[2] is", f"rotula dJ/dW[2] como 3x2; é {true}, como W[2]")
    return Outcome(tuple(claims), note, tables=(table,))


def judge_14(runs: Runs) -> Outcome:
    """Eq. (14), where every product is one that matrices have."""
    tex = r"(W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T"
    two = check(lambda q: {"W2": apply(f.eq_14, q)}, seeds((3, 4, 2)))
    more = Text(", two outputs, sigma' in both columns", ", duas saídas, sigma' nas duas colunas")
    claims = (*_both(f.eq_14, "W2", tex, AS_PRINTED), sampled(AS_PRINTED + more, two, tex))
    W2 = by_hand.truth()["W2"]
    shown = by_hand.line(f.eq_14, "(W[3]^T ∘ sigma') (a[3] - y) x^T", W2)
    table = by_hand.table((shown,), W2, by_hand.given("W3", "s2", "a3", "y", "x"), "dJ/dW[2]")
    note = Text("proved; every product fits: 3x1, 1x1, 1x3", "provada; todo produto cabe: 3x1, 1x1, 1x3")
    return Outcome(claims, note, tables=(table,))


STATEMENTS = (
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
        where=Text(
            "the first and the last member are equal for all values; the middle one, as printed, equals dJ/db[2]^T and "
            "never dJ/dW[2]: it has 3 numbers where 9 are due",
            "o primeiro e o último membro são iguais para todos os valores; o do meio, como impresso, é igual a "
            "dJ/db[2]^T e nunca a dJ/dW[2]: tem 3 números onde deveria haver 9",
        ),
    ),
    Statement(
        "eq-12",
        same("(12)"),
        Text("W[2] by the chain rule", "W[2] pela regra da cadeia"),
        (r"\frac{\partial J}{\partial W^{[2]}} = (a^{[3]} - y) W^{[3]T} \sigma'(z^{[2]}) x^T",),
        (
            Text(
                "Two columns stand side by side without a sign between them, and two columns have no matrix product. "
                "The product that is meant is element by element, since sigma' stands for a diagonal matrix, see (8). "
                "With a single hidden unit both columns are numbers and nothing is missing.",
                "Duas colunas estão lado a lado sem sinal entre elas, e entre duas colunas não existe produto "
                "matricial. O produto pretendido é elemento a elemento, pois sigma' representa uma matriz diagonal, "
                "ver (8). Com uma só unidade oculta as duas colunas são números e nada falta.",
            ),
        ),
        (f.eq_12_printed, f.eq_12),
        judge_12,
        corrected=(r"\frac{\partial J}{\partial W^{[2]}} = ((a^{[3]} - y) W^{[3]T} \circ \sigma'(z^{[2]})) x^T",),
        where=Text(
            "as printed, only with one hidden unit; corrected, for all values, with one output unit",
            "como impressa, só com uma unidade oculta; corrigida, para todos os valores, com uma unidade de saída",
        ),
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
                "Os rótulos à direita resultam em 3 x 3, a forma de W[2] e de todo gradiente em relação a ela; o "
                "rótulo à esquerda é um erro de impressão. O fator 1 x 1 diante de um 3 x 1 é um número que o "
                "multiplica, não fator de um produto matricial; (14) o põe onde as duas leituras concordam.",
            ),
        ),
        (f.eq_13,),
        judge_13,
        corrected=(r"\underbrace{\frac{\partial J}{\partial W^{[2]}}}_{3 \times 3}",),
        where=Text(
            "for all values, when ∘ is taken before the product with x^T",
            "para todos os valores, quando ∘ é feito antes do produto com x^T",
        ),
    ),
    Statement(
        "eq-14",
        same("(14)"),
        Text("both ways agree", "os dois caminhos concordam"),
        (r"\frac{\partial J}{\partial W^{[2]}} = (W^{[3]T} \circ \sigma'(z^{[2]})) (a^{[3]} - y) x^T",),
        (
            Text(
                "The end of the derivation is right, and it equals the last member of (9): for this network "
                "backpropagation and the chain rule give one and the same matrix, whatever the nine weights, the "
                "biases, the input and the target may be.",
                "O fim da dedução está certo, e é igual ao último membro de (9): para esta rede, a "
                "retropropagação e a regra da cadeia dão a mesma matriz, quaisquer que sejam os nove pesos, os "
                "vieses, a entrada e o alvo.",
            ),
        ),
        (f.eq_14,),
        judge_14,
        where=Text(
            "for all values; with several output units too, if sigma' is repeated in every column",
            "para todos os valores; também com várias unidades de saída, se sigma' for repetida em cada coluna",
        ),
    ),
)
