"""Exercises 2 and 3: all gradients of Figure 1's network in two ways, and the half-square cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import manualbp as mbp
from compare.check.derivation import check_derivation
from compare.lecture import experiments as e
from compare.lecture.network import FIGURE_1, apply, forward, found, quantities, sampled, seeds, some_inputs
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Outcome, Statement, Table, Text, in_words, same
from compare.names import names
from compare.run.config import TrainConfig
from compare.run.history import TrainResult
from manualbp import named

# ------------------------------------------------------------------------------------------------ exercise 2


def by_chain_rule(q: dict[str, Any]) -> dict[str, list[Any]]:
    """Every entry of every gradient, each a product of the chain rule's factors, row by row."""
    three = range(3)
    return {
        "W3": [apply(e.entry_of_W3, q, j=j) for j in three],
        "b3": [apply(e.entry_of_b3, q)],
        "W2": [apply(e.entry_of_W2, q, i=i, j=j) for i in three for j in three],
        "b2": [apply(e.entry_of_b2, q, i=i) for i in three],
    }


def by_backpropagation(values: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """The same gradients by `manualbp`, by name, and the names of all parameters of its network."""
    net = mbp.Sequential([mbp.Linear(3, 3), mbp.Sigmoid(), mbp.Linear(3, 1)])
    loss = mbp.LogLoss()
    v = values
    params: mbp.Params = ({"W": v["W2"], "b": v["b2"].flatten()}, {}, {"W": v["W3"], "b": v["b3"].flatten()})
    z, cache = net.forward(params, v["x"].T)
    _, loss_cache = loss.forward(z, v["y"].T)
    _, grads = net.backward(params, cache, loss.backward(loss_cache))
    called = names(net, params).parameters
    return {called[path]: g for path, g in named(grads)}, set(called.values())


def judge_2(runs: Runs) -> Outcome:
    """Both ways for all values and in numbers, beside autograd; and the names that the exercise uses."""
    from compare.lecture import symbolic

    q, truth = symbolic.network(*FIGURE_1)
    written = by_chain_rule(q)
    values = some_inputs(FIGURE_1, seed=7)
    numbers = by_chain_rule(quantities(values | forward(**values)[1]))
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    forward(**leaves)[0].backward()  # type: ignore[no-untyped-call]
    backward, called = by_backpropagation(values)
    claims, rows = [], []
    for name, entries in written.items():
        title = f"dJ/d{name[0]}[{name[1]}]"
        shaped = np.array(entries, dtype=object).reshape(truth[name].shape)
        claims.append(
            symbolic.proved(
                Text(f"{title} by the chain rule", f"{title} pela regra da cadeia"),
                symbolic.equal(shaped, truth[name]),
                rf"\frac{{\partial J}}{{\partial {name[0]}^{{[{name[1]}]}}}}",
            )
        )
        by_hand = torch.stack([torch.as_tensor(x) for x in numbers[name]])
        autograd = leaves[name].grad
        assert autograd is not None  # the forward uses every leaf
        rows.append((title, *(_entries(t) for t in (by_hand, backward[name], autograd))))
        claims.append(
            Claim(
                Text(f"{title} by backpropagation", f"{title} por retropropagação"),
                torch.equal(backward[name].flatten(), autograd.flatten()),
                evidence=Text("equal to autograd's, to the bit", "igual ao do autograd, bit a bit"),
            )
        )
    claims.append(
        Claim(
            Text("there are parameters W[1], b[1]", "existem parâmetros W[1], b[1]"),
            {"W1", "b1"} <= called,
            False,
            r"\frac{\partial J}{\partial W^{[1]}}, \quad \frac{\partial J}{\partial b^{[1]}}",
            same(", ".join(sorted(called))),
        )
    )
    table = Table(
        Text("Numbers for one sample", "Números para uma amostra"),
        (Text("gradient", "gradiente"), Text("chain rule", "regra da cadeia"), same("backprop"), same("autograd")),
        tuple(rows),
    )
    note = Text(
        "both ways agree; W[1], b[1] do not exist: layer 1 is the input",
        "os dois caminhos concordam; W[1], b[1] não existem: a camada 1 é a entrada",
    )
    return Outcome(tuple(claims), note, tables=(table,))


def _entries(t: Tensor) -> str:
    return " ".join(f"{v:.5f}" for v in t.flatten().tolist())


# ------------------------------------------------------------------------------------------------ exercise 3


def half_square(activation: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """Figure 1's network with the cost (y^ - y)^2 / 2, y^ being the activation of z[3]."""

    def run(**given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        _, kept = forward(**given)
        a3 = activation(kept["z3"])
        return 0.5 * ((a3 - given["y"]) ** 2).sum(), {"z3": kept["z3"], "a3": a3}

    return run


def judge_3(runs: Runs) -> Outcome:
    """delta[3] with and without the sigmoid, and a regression trained with it."""
    linear, sigmoid = half_square(lambda z: z.clone()), half_square(torch.sigmoid)

    def short(a3: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"z3": e.delta_of_linear_output(a3, y)}

    def long(a3: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"z3": e.delta_of_sigmoid_output(a3, y)}

    at = seeds(FIGURE_1)
    short_tex = r"\frac{\partial J}{\partial z^{[3]}} = a^{[3]} - y"
    long_tex = r"\frac{\partial J}{\partial z^{[3]}} = (a^{[3]} - y) a^{[3]} (1 - a^{[3]})"
    config = TrainConfig(data="diabetes", hidden=(8,), lr=0.05, epochs=15, check="epoch")
    result: TrainResult = runs.train("exercise-3", config)
    curve = result.history["manual"]["loss/val"]
    explained = 1 - min(curve) / curve[0]
    short_for_sigmoid = check_derivation(sigmoid, short, at)
    claims = (
        sampled(Text("linear output: a - y", "saída linear: a - y"), check_derivation(linear, short, at), short_tex),
        sampled(
            Text("sigmoid output: times a (1 - a)", "saída sigmoide: vezes a (1 - a)"),
            check_derivation(sigmoid, long, at),
            long_tex,
        ),
        Claim(
            Text("sigmoid output: a - y alone is wrong", "saída sigmoide: a - y sozinho está errado"),
            not short_for_sigmoid.ok and short_for_sigmoid.first_wrong is not None,
            note=found(short_for_sigmoid),
        ),
        Claim(
            Text("a regression learns with it", "uma regressão aprende com ela"),
            result.exit_status == 0 and explained > 0.3,
            note=Text(
                f"validation cost {curve[0]:.3f} → {min(curve):.3f}",
                f"custo de validação {curve[0]:.3f} → {min(curve):.3f}",
            ),
            evidence=Text("gradients ", "gradientes ") + in_words(result.verdict),
        ),
    )
    reasoning = (
        Text(
            f"On the diabetes data (442 patients, progression standardised) the network takes {explained:.0%} off the "
            f"validation cost in {result.best_epoch} epochs. delta[3] is all that knows about the cost: from it on, "
            "eq. (4) and (5) are the same as for classification.",
            f"Nos dados diabetes (442 pacientes, progressão padronizada) a rede tira {explained:.0%} do custo de "
            f"validação em {result.best_epoch} épocas. Só delta[3] sabe qual é o custo: dali em diante, as eq. (4) e "
            "(5) são as mesmas da classificação.",
        ),
    )
    note = Text(
        "a - y for a linear output; times a (1 - a) for a sigmoid", "a - y na saída linear; vezes a (1 - a) na sigmoide"
    )
    return Outcome(claims, note, reasoning)


STATEMENTS = (
    Statement(
        "exercise-2",
        Text("Exercise 2", "Exercício 2"),
        Text("all gradients, two ways", "todos os gradientes, dois modos"),
        (
            (
                r"\frac{\partial J}{\partial W^{[1]}}, \quad \frac{\partial J}{\partial b^{[1]}}, \quad "
                r"\frac{\partial J}{\partial b^{[2]}}"
            ),
        ),
        (
            Text(
                "Layers are counted from the input, so Figure 1's network has W[2], b[2], W[3] and b[3] and nothing "
                "with the number 1; all four gradients are computed here. The chain rule gives each of the 16 entries "
                "as a product of its own, of up to five factors; backpropagation computes the shared factors once and "
                "reuses them. The results are the same numbers.",
                "As camadas contam-se a partir da entrada, de modo que a rede da Figura 1 tem W[2], b[2], W[3] e b[3] "
                "e nada com o número 1; os quatro gradientes são calculados aqui. A regra da cadeia dá cada um dos 16 "
                "elementos como um produto próprio, de até cinco fatores; a retropropagação calcula uma só vez os "
                "fatores comuns e os reaproveita. Os resultados são os mesmos números.",
            ),
        ),
        (e.entry_of_W3, e.entry_of_b3, e.entry_of_W2, e.entry_of_b2),
        judge_2,
        corrected=(
            (
                r"\frac{\partial J}{\partial W^{[2]}}, \quad \frac{\partial J}{\partial b^{[2]}}, \quad "
                r"\frac{\partial J}{\partial W^{[3]}}, \quad \frac{\partial J}{\partial b^{[3]}}"
            ),
        ),
    ),
    Statement(
        "exercise-3",
        Text("Exercise 3", "Exercício 3"),
        Text("the half-square cost", "o custo quadrático"),
        (r"J(\hat{y}, y) = \frac{1}{2} (\hat{y} - y)^2", r"\frac{\partial J}{\partial z^{[3]}}"),
        (
            Text(
                "With y^ = z[3], as in linear regression, the derivative is the error itself, a - y: the very form of "
                "(3), from another pair of output and cost. With a sigmoid at the output its slope stays in the "
                "formula; where the unit is saturated the slope is nearly zero and a large error hardly corrects "
                "itself, which is why the log-loss is the better partner of a sigmoid.",
                "Com y^ = z[3], como na regressão linear, a derivada é o próprio erro, a - y: a mesma forma de (3), de "
                "outro par de saída e custo. Com uma sigmoide na saída, a inclinação dela fica na fórmula; onde a "
                "unidade está saturada a inclinação é quase nula e um erro grande mal se corrige; por isso a log-loss "
                "é melhor parceira da sigmoide.",
            ),
        ),
        (e.delta_of_linear_output, e.delta_of_sigmoid_output),
        judge_3,
    ),
)
