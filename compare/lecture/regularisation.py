"""The formulas of section 4: the L2 cost, its gradient, and both forms of its update."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import manualbp as mbp
from compare.check.derivation import check_derivation
from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.backpropagation import exact
from compare.lecture.network import FIGURE_1, forward, quantities, sampled, seeds
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Outcome, Statement, Table, Text

LAMBDA = 0.25  # powers of two: no rounding in the updates
LR = 0.5
FIGURE_1_NETWORK = Text("Figure 1's network", "rede da Figura 1")


def judge_cost(runs: Runs) -> Outcome:
    """J_L2 against the penalty of `manualbp` and the norm of torch, in numbers without rounding."""
    g = torch.Generator().manual_seed(5)
    J, W2, W3, b2 = (exact(g, *shape) for shape in ((), (3, 3), (1, 3), (3,)))
    net = mbp.Sequential([mbp.Linear(3, 3), mbp.Sigmoid(), mbp.Linear(3, 1)])
    params: mbp.Params = ({"W": W2, "b": b2}, {}, {"W": W3, "b": exact(g, 1)})
    cost = f.l2_cost(J, LAMBDA, [W2, W3])
    penalty = mbp.l2.penalty(net, params, LAMBDA)
    changed: mbp.Params = ({"W": W2, "b": b2 + 1}, {}, params[2])
    by_norm = J + LAMBDA / 2 * torch.cat([W2.flatten(), W3.flatten()]).norm().square()
    claims = (
        Claim(
            Text("the sum of squares, weights only", "a soma dos quadrados, só pesos"),
            torch.equal(cost, J + penalty),
            tex=r"J + \frac{\lambda}{2} \sum_i W_i^2",
            evidence=Text("equal to manualbp.l2.penalty, to the bit", "igual a manualbp.l2.penalty, bit a bit"),
        ),
        Claim(
            Text("the norm squared is the sum of squares", "a norma ao quadrado é a soma dos quadrados"),
            bool(torch.isclose(cost, by_norm, rtol=1e-14, atol=0)),
            tex=r"J + \frac{\lambda}{2} \|W\|^2",
            evidence=Text("equal to 14 digits", "igual em 14 dígitos"),
        ),
        Claim(
            Text("biases do not count", "os vieses não contam"),
            torch.equal(torch.as_tensor(penalty), torch.as_tensor(mbp.l2.penalty(net, changed, LAMBDA))),
            tex=r"J_{L2}",
        ),
    )
    note = Text("right; sum over all weights, biases left out", "certa; soma sobre todos os pesos, sem os vieses")
    p = by_hand.point()
    given = by_hand.given("W2", "W3")
    table = Table(
        Text(f"By hand: lambda = 1/4, J = 0, {given}", f"À mão: lambda = 1/4, J = 0, {given}"),
        (Text("formula", "fórmula"), Text("value", "valor")),
        (
            (
                "(1/8) (4 + 1 + 4 + 1 + 16 + 1 + 4 + 16 + 36)",
                by_hand.written(f.l2_cost(0.0, LAMBDA, [p["W2"], p["W3"]])),
            ),
        ),
    )
    return Outcome(claims, note, tables=(table,))


def judge_gradient(runs: Runs) -> Outcome:
    """dJ_L2/dW = dJ/dW + lambda W against autograd through the whole cost."""
    from compare.lecture import symbolic

    def cost(**given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        J, named = forward(**given)
        squares = (given["W2"] ** 2).sum() + (given["W3"] ** 2).sum()
        return J + LAMBDA / 2 * squares, named

    def backward(**values: Any) -> dict[str, Any]:
        q = quantities(values)
        by_J = q["d3"] @ q["a2"].T  # without the penalty
        return {"W3": f.l2_gradient(by_J, LAMBDA, q["W3"])}

    import sympy  # type: ignore[import-untyped]

    q, truth = symbolic.network(*FIGURE_1)
    lam = sympy.Symbol("lambda")
    whole = q["J"][0, 0] + lam / 2 * ((q["W2"] ** 2).sum() + (q["W3"] ** 2).sum())
    holds = symbolic.equal(f.l2_gradient(truth["W2"], lam, q["W2"]), symbolic.gradient(whole, q["W2"]))
    tex = r"\frac{\partial J_{L2}}{\partial W} = \frac{\partial J}{\partial W} + \lambda W"
    claims = (
        sampled(Text("output layer", "camada de saída"), check_derivation(cost, backward, seeds(FIGURE_1)), tex),
        symbolic.proved(FIGURE_1_NETWORK, holds, tex),
    )
    by_J, W3 = by_hand.truth()["W3"], by_hand.point()["W3"]
    table = _by_hand(("dJ/dW + lambda W", f.l2_gradient(by_J, LAMBDA, W3)))
    return Outcome(claims, Text("proved: dJ/dW + lambda W", "provada: dJ/dW + lambda W"), tables=(table,))


def _by_hand(*lines: tuple[str, Tensor]) -> Table:
    """Lines for W[3] of Figure 1's network at simple numbers."""
    given = f"{by_hand.given('W3')}, dJ/dW[3] = {by_hand.written(by_hand.truth()['W3'])}, lr = 1/2, lambda = 1/4"
    return Table(
        Text(f"By hand: {given}", f"À mão: {given}"),
        (Text("formula", "fórmula"), Text("value", "valor")),
        tuple((shown, by_hand.written(value)) for shown, value in lines),
    )


def judge_update(runs: Runs) -> Outcome:
    """Both forms, on numbers without rounding against torch, and equal for all values."""
    import sympy

    from compare.lecture import symbolic

    g = torch.Generator().manual_seed(6)
    W, dW = exact(g, 3, 3), exact(g, 3, 3)
    parameter = torch.nn.Parameter(W.clone())
    parameter.grad = dW.clone()
    torch.optim.SGD([parameter], lr=LR, weight_decay=LAMBDA).step()
    q, truth = symbolic.network(*FIGURE_1)
    lr, lam = sympy.symbols("alpha lambda")
    long = f.l2_update(q["W2"], truth["W2"], lr, lam)
    short = f.l2_update_shrunk(q["W2"], truth["W2"], lr, lam)
    whole = q["J"][0, 0] + lam / 2 * (q["W2"] ** 2).sum()
    step = q["W2"] - lr * symbolic.gradient(whole, q["W2"])
    long_tex = r"W - \alpha \frac{\partial J}{\partial W} - \alpha \lambda W"
    short_tex = r"(1 - \alpha \lambda) W - \alpha \frac{\partial J}{\partial W}"
    decay = Text(
        "equal to torch.optim.SGD's weight_decay, to the bit", "igual ao weight_decay de torch.optim.SGD, bit a bit"
    )
    first, second = Text("first form", "primeira forma"), Text("second form", "segunda forma")
    claims = (
        Claim(first, torch.equal(f.l2_update(W, dW, LR, LAMBDA), parameter.detach()), tex=long_tex, evidence=decay),
        Claim(
            second,
            torch.equal(f.l2_update_shrunk(W, dW, LR, LAMBDA), parameter.detach()),
            tex=short_tex,
            evidence=decay,
        ),
        symbolic.proved(
            Text("first form is (1) on J_L2", "primeira forma é (1) em J_L2"), symbolic.equal(long, step), long_tex
        ),
        symbolic.proved(
            Text("second form is (1) on J_L2", "segunda forma é (1) em J_L2"), symbolic.equal(short, step), short_tex
        ),
        symbolic.proved(
            Text("both forms are equal", "as duas formas são iguais"), symbolic.equal(long, short), short_tex
        ),
    )
    W3, dW3 = by_hand.point()["W3"], by_hand.truth()["W3"]
    table = _by_hand(
        ("W - lr dJ/dW - lr lambda W", f.l2_update(W3, dW3, LR, LAMBDA)),
        ("(1 - lr lambda) W - lr dJ/dW", f.l2_update_shrunk(W3, dW3, LR, LAMBDA)),
    )
    note = Text("both forms proved equal to (1) on J_L2", "ambas as formas provadas iguais a (1) em J_L2")
    return Outcome(claims, note, tables=(table,))


STATEMENTS = (
    Statement(
        "l2-cost",
        Text("L2 cost", "Custo L2"),
        Text("the penalised cost", "o custo penalizado"),
        (r"J_{L2} = J + \frac{\lambda}{2} \|W\|^2 = J + \frac{\lambda}{2} \sum_i W_i^2",),
        (
            Text(
                "W stands for the weights of all layers together, written as one long vector. Biases are left out: a "
                "large bias moves a unit's threshold and does not make the function any steeper.",
                "W representa os pesos de todas as camadas juntos, como um só vetor comprido. Os vieses ficam de "
                "fora: um viés grande desloca o limiar de uma unidade e não torna a função mais íngreme.",
            ),
        ),
        (f.l2_cost,),
        judge_cost,
        where=Text("a definition, for any lambda", "uma definição, para qualquer lambda"),
    ),
    Statement(
        "l2-gradient",
        Text("L2 gradient", "Gradiente L2"),
        Text("what the penalty adds", "o que a penalização soma"),
        (),
        (
            Text(
                "The lecture goes from the cost to the update without writing this line; it is the step in between. "
                "The half in front of the sum is there to cancel the 2 of the square.",
                "A aula passa do custo à atualização sem escrever esta linha; é o passo entre os dois. O fator 1/2 "
                "diante da soma está ali para cancelar o 2 do quadrado.",
            ),
        ),
        (f.l2_gradient,),
        judge_gradient,
        where=Text(
            "all weights, for all values; a bias keeps dJ/db", "todo peso, para todos os valores; um viés mantém dJ/db"
        ),
    ),
    Statement(
        "l2-update",
        Text("L2 update", "Atualização L2"),
        Text("both forms", "as duas formas"),
        (
            r"W = W - \alpha \frac{\partial J}{\partial W} - \alpha \lambda W",
            r"W = (1 - \alpha \lambda) W - \alpha \frac{\partial J}{\partial W}",
        ),
        (
            Text(
                "J is the cost without the penalty in both lines. The second says it best: every step first shrinks "
                "each weight by the same factor, then moves it against the slope. Hence the name weight decay.",
                "J é o custo sem a penalização nas duas linhas. A segunda diz melhor: cada passo primeiro encolhe "
                "todos os pesos pelo mesmo fator e depois os move contra a inclinação. Daí o nome weight decay.",
            ),
        ),
        (f.l2_update, f.l2_update_shrunk),
        judge_update,
        where=Text(
            "plain gradient descent, for all values (with momentum or Adam the two forms part)",
            "descida do gradiente simples, para todos os valores (com momento ou Adam as duas formas se separam)",
        ),
    ),
)
