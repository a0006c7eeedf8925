"""Equations (1), (2), (3) and (5): the update, delta at the output, and the gradients."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.network import FIGURE_1, check, inputs, sampled, seeds, some_inputs
from compare.lecture.network import forward as run_forward
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Outcome, Statement, Table, Text, same

DEEP = (4, 3, 2, 5)  # widths of a network with two hidden layers
FIGURE_1_NETWORK = Text("Figure 1's network", "rede da Figura 1")


def exact(generator: torch.Generator, *shape: int) -> Tensor:
    """Eighths between -4 and 4: their sums and products are exact in float64, so equality is equality."""
    return torch.randint(-32, 33, shape, generator=generator).double() / 8


# ------------------------------------------------------------------------------------------------------------ (1)


def judge_update(runs: Runs) -> Outcome:
    """Eq. (1) against torch.optim.SGD, in numbers without rounding."""
    g = torch.Generator().manual_seed(1)
    W, dW, b, db = (exact(g, *shape) for shape in ((3, 3), (3, 3), (3, 1), (3, 1)))
    lr = 0.25
    claims = []
    for what, tex, formula, start, slope in (
        (Text("weights", "pesos"), r"W - \alpha \frac{\partial J}{\partial W}", f.weight_update, W, dW),
        (Text("biases", "vieses"), r"b - \alpha \frac{\partial J}{\partial b}", f.bias_update, b, db),
    ):
        parameter = torch.nn.Parameter(start.clone())
        parameter.grad = slope.clone()
        torch.optim.SGD([parameter], lr=lr).step()
        after = formula(start, slope, lr)
        claims.append(
            Claim(
                what,
                torch.equal(after, parameter.detach()),
                tex=tex,
                note=same(f"{start[0, 0]:g} - {lr:g} · {slope[0, 0]:g} = {after[0, 0]:g}"),
                evidence=Text("equal to torch.optim.SGD, to the bit", "igual a torch.optim.SGD, bit a bit"),
            )
        )
    return Outcome(tuple(claims), Text("what torch.optim.SGD does, to the bit", "o que torch.optim.SGD faz, bit a bit"))


# ------------------------------------------------------------------------------------------------------------ (2)


def judge_delta(runs: Runs) -> Outcome:
    """The quotient of eq. (2) nears autograd's dJ/dz like the square of its step."""
    values = some_inputs(FIGURE_1, seed=2)
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    J, named = run_forward(**leaves)
    (truth,) = torch.autograd.grad(J, named["z2"])
    z = named["z2"].detach()
    exact_slope = float(truth[0, 0])

    def cost(z1: float) -> float:
        moved = z.clone()
        moved[0, 0] = z1
        a2 = torch.sigmoid(moved)
        z3 = values["W3"] @ a2 + values["b3"]
        return float(torch.nn.functional.binary_cross_entropy_with_logits(z3, values["y"], reduction="sum"))

    steps = (0.1, 0.01, 0.001)
    quotients = [f.delta_as_limit(cost, float(z[0, 0]), h) for h in steps]
    errors = [abs(q - exact_slope) for q in quotients]
    falls = all(90 < a / b < 110 for a, b in itertools.pairwise(errors))
    rows = tuple((f"{h:g}", f"{q:.10f}", f"{e:.1e}") for h, q, e in zip(steps, quotients, errors, strict=True))
    table = Table(
        Text(
            f"delta of the first hidden unit; autograd says {exact_slope:.10f}",
            f"delta da primeira unidade oculta; o autograd diz {exact_slope:.10f}",
        ),
        (same("h"), same("(J(z + h) - J(z - h)) / 2h"), Text("error", "erro")),
        rows,
    )
    claim = Claim(
        Text("the quotient nears dJ/dz", "o quociente tende a dJ/dz"),
        falls,
        tex=r"\delta^{[\ell]} = \frac{\partial J}{\partial z^{[\ell]}}",
        note=same(" → ".join(f"{e:.0e}" for e in errors)),
        evidence=Text("a tenth of h, a hundredth of the error", "um décimo de h, um centésimo do erro"),
    )
    return Outcome(
        (claim,),
        Text("a tenth of the step, a hundredth of the error", "um décimo do passo, um centésimo do erro"),
        tables=(table,),
    )


# ------------------------------------------------------------------------------------------------------------ (3)


def judge_output_delta(runs: Runs) -> Outcome:
    """Eq. (3), sampled for several outputs and proved for one."""
    from compare.lecture import symbolic

    report = check(lambda q: {"z3": f.output_delta(q["a3"], q["y"])}, inputs(("d", "h", "k")))
    q, truth = symbolic.network(*FIGURE_1)
    tex = r"\delta^{[L]} = a^{[L]} - y"
    claims = (
        sampled(Text("any network", "qualquer rede"), report, tex),
        symbolic.proved(FIGURE_1_NETWORK, symbolic.equal(f.output_delta(q["a3"], q["y"]), truth["z3"]), tex),
    )
    z3 = by_hand.truth()["z3"]
    shown = by_hand.line(lambda a3, y: f.output_delta(a3, y), "a[3] - y", z3)
    table = by_hand.table((shown,), z3, "z[3] = 0, " + by_hand.given("a3", "y"), "delta[3]")
    note = Text("proved; for sigmoid and log-loss together", "provada; para sigmoide com log-loss")
    return Outcome(claims, note, tables=(table,))


# ------------------------------------------------------------------------------------------------------------ (5)


def judge_gradients(runs: Runs) -> Outcome:
    """Eq. (5), sampled at the output of a deep network and proved for a hidden layer."""
    from compare.lecture import symbolic

    weights = check(lambda q: {"W4": f.weight_gradient(q["d4"], q["a3"])}, seeds(DEEP))
    biases = check(lambda q: {"b4": f.bias_gradient(q["d4"])}, seeds(DEEP))
    q, truth = symbolic.network(2, 2, 2)
    tex = (r"\delta^{[\ell]} a^{[\ell-1]T}", r"\delta^{[\ell]}")
    claims = (
        sampled(Text("weights of the output layer", "pesos da camada de saída"), weights, tex[0]),
        sampled(Text("biases of the output layer", "vieses da camada de saída"), biases, tex[1]),
        symbolic.proved(
            Text("weights of a hidden layer", "pesos de uma camada oculta"),
            symbolic.equal(f.weight_gradient(truth["z2"], q["x"]), truth["W2"]),
            tex[0],
        ),
        symbolic.proved(
            Text("biases of a hidden layer", "vieses de uma camada oculta"),
            symbolic.equal(f.bias_gradient(truth["z2"]), truth["b2"]),
            tex[1],
        ),
    )
    at, true = by_hand.point(), by_hand.truth()
    given = f"delta[2] = {by_hand.written(true['z2'])}, {by_hand.given('x')}"
    table = Table(
        Text(f"By hand: {given}", f"À mão: {given}"),
        (Text("formula", "fórmula"), Text("value", "valor"), same("autograd")),
        (
            (
                "dJ/dW[2] = delta[2] x^T",
                by_hand.written(f.weight_gradient(true["z2"], at["x"])),
                by_hand.written(true["W2"]),
            ),
            ("dJ/db[2] = delta[2]", by_hand.written(f.bias_gradient(true["z2"])), by_hand.written(true["b2"])),
        ),
    )
    note = Text("right for one sample; a batch takes the mean", "certa para uma amostra; o lote usa a média")
    return Outcome(claims, note, tables=(table,))


STATEMENTS = (
    Statement(
        "eq-1",
        same("(1)"),
        Text("the update", "a atualização"),
        (
            r"W^{[\ell]} = W^{[\ell]} - \alpha \frac{\partial J}{\partial W^{[\ell]}}",
            r"b^{[\ell]} = b^{[\ell]} - \alpha \frac{\partial J}{\partial b^{[\ell]}}",
        ),
        (
            Text(
                "The equals sign is an assignment: the new parameter is the old one, moved against its slope. The "
                "numbers used here are eighths, whose sums and products a computer holds without rounding, so that "
                "“equal” can mean equal in every bit.",
                "O sinal de igual é uma atribuição: o novo parâmetro é o antigo, deslocado contra a sua inclinação. "
                "Os números usados aqui são oitavos, cujas somas e produtos o computador guarda sem arredondar; assim "
                "“igual” pode significar igual em cada bit.",
            ),
        ),
        (f.weight_update, f.bias_update),
        judge_update,
        where=Text(
            "a rule, for any parameters; it lowers J where the learning rate is small enough",
            "uma regra, para quaisquer parâmetros; reduz J se a taxa de aprendizado for pequena o bastante",
        ),
    ),
    Statement(
        "eq-2",
        same("(2)"),
        Text("delta, defined", "delta, definido"),
        (r"\delta^{[\ell]} = \frac{\partial J}{\partial z^{[\ell]}}",),
        (
            Text(
                "A definition can only be taken at its word: push one z a little up and a little down, watch the "
                "cost, and divide. The quotient misses the derivative by an amount that shrinks with the square of "
                "the push, and what it nears is the delta that autograd reports.",
                "Uma definição só pode ser levada ao pé da letra: empurre um z um pouco para cima e um pouco para "
                "baixo, observe o custo e divida. O quociente erra a derivada por uma quantia que diminui com o "
                "quadrado do empurrão, e o valor a que tende é o delta que o autograd informa.",
            ),
        ),
        (f.delta_as_limit,),
        judge_delta,
        where=Text(
            "a definition, for every cost that has a derivative", "uma definição, para todo custo que tem derivada"
        ),
    ),
    Statement(
        "eq-3",
        same("(3)"),
        Text("delta of the output", "delta da saída"),
        (r"\delta^{[L]} = a^{[L]} - y",),
        (
            Text(
                "The short form belongs to a pair: a sigmoid at the output and the log-loss above it. The slope of "
                "the one cancels the denominator of the other. With another cost the pair breaks up, as exercise 3 "
                "shows for the half-square cost.",
                "A forma curta pertence a um par: uma sigmoide na saída e a log-loss acima dela. A inclinação de uma "
                "cancela o denominador da outra. Com outro custo o par se desfaz, como o exercício 3 mostra para o "
                "custo quadrático.",
            ),
        ),
        (f.output_delta,),
        judge_output_delta,
        where=Text(
            "a sigmoid output under the log-loss, any number of outputs, for all values",
            "saída sigmoide com a log-loss, qualquer número de saídas, para todos os valores",
        ),
    ),
    Statement(
        "eq-5",
        same("(5)"),
        Text("the gradients", "os gradientes"),
        (
            r"\frac{\partial J}{\partial W^{[\ell]}} = \delta^{[\ell]} a^{[\ell-1]T}",
            r"\frac{\partial J}{\partial b^{[\ell]}} = \delta^{[\ell]}",
        ),
        (
            Text(
                "A column times a row gives a matrix of the shape of W: entry ij is the delta of the unit that the "
                "weight leads to, times the activation that it comes from. A bias is a weight whose input is 1.",
                "Uma coluna vezes uma linha dá uma matriz com a forma de W: o elemento ij é o delta da unidade a que "
                "o peso leva, vezes a ativação de onde ele vem. Um viés é um peso cuja entrada é 1.",
            ),
        ),
        (f.weight_gradient, f.bias_gradient),
        judge_gradients,
        where=Text(
            "every layer, one sample; for a batch take the mean over its samples",
            "toda camada, uma amostra; num lote, a média sobre as amostras",
        ),
    ),
)
