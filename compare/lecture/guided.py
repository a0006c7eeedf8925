"""Section 2.1: the stages of training as a guided run of one step on Figure 1's network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import manualbp as mbp
from compare.lecture import experiments as e
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Outcome, Statement, Table, Text, same
from compare.names import names, tapped
from compare.twin import build, loss_module
from manualbp import named

LR = 0.5
DRAWS = 100_000  # of one weight, to measure the spread of its start


def _log_loss_is_the_cost() -> bool:
    """Whether the printed log-loss of sigma(z) is log(1 + e^z) - y z: equal at z = 0, with one derivative."""
    import sympy  # type: ignore[import-untyped]

    z, y = sympy.Symbol("z", real=True), sympy.Symbol("y", real=True)
    printed = e.log_loss(1 / (1 + sympy.exp(-z)), y, sympy.log)
    stable = sympy.log(1 + sympy.exp(z)) - y * z
    apart = sympy.simplify(sympy.diff(printed - stable, z))
    return bool(apart == 0 and sympy.simplify((printed - stable).subs(z, 0)) == 0)


def _layered(name: str) -> str:
    """z2 as the lecture writes it: z[2]."""
    return f"{name[0]}[{name[1:]}]"


def _step() -> dict[str, Any]:
    """One step on one sample: every value, delta and gradient, by hand and by autograd."""
    net = mbp.Sequential([mbp.Linear(3, 3), mbp.Sigmoid(), mbp.Linear(3, 1)])
    loss = mbp.LogLoss()
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    x = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    y = torch.tensor([[1.0]], dtype=torch.float64)
    values: dict[str, Tensor] = {}
    deltas: dict[str, Tensor] = {}
    watched = tapped(net, values, deltas)
    z3, cache = watched.forward(params, x)
    J, loss_cache = loss.forward(z3, y)
    _, grads = watched.backward(params, cache, loss.backward(loss_cache))
    a3 = loss.predict(z3)

    twin = build(net, params)
    seen: dict[str, Tensor] = {}
    for path, module in twin.leaves.items():
        module.register_forward_hook(lambda _m, _i, out, path=path: (out.retain_grad(), seen.update({path: out}))[1])
    twin_J = loss_module(loss)(twin.module(x), y) / len(x)
    twin_J.backward()

    called = names(net, params)
    rows: list[tuple[str, Tensor, Tensor | None]] = []
    for path, weight in named(params):
        rows.append((_layered(called.parameters[path]), weight.clone(), twin.parameters[path].detach().clone()))
    for path, name in called.outputs.items():
        rows.append((_layered(name), values[path], seen[path].detach()))
    rows.append(("a[3]", a3, torch.sigmoid(seen["2"].detach())))
    for path, name in reversed(called.outputs.items()):
        if name[0] == "z":
            rows.append((f"delta[{name[1:]}]", deltas[path], seen[path].grad))
    gradients = dict(named(grads))
    for path, name in called.parameters.items():
        rows.append((f"dJ/d{_layered(name)}", gradients[path], twin.parameters[path].grad))
    printed = float(e.log_loss(a3, y, torch.log))
    mbp.sgd_step_(params, grads, LR)
    after = float(loss.forward(net.forward(params, x)[0], y)[0])
    return {"rows": rows, "J": float(J), "twin_J": float(twin_J.detach()), "printed": printed, "after": after}


def judge(runs: Runs) -> Outcome:
    """The four stages, each with what can be measured of it."""
    start = mbp.Normal(0.1).weight(1, DRAWS, torch.Generator().manual_seed(0))
    std = float(start.std())
    step = _step()
    equal = all(torch.equal(hand, autograd) for _, hand, autograd in step["rows"])
    uncertainty = 0.1 / (2 * DRAWS) ** 0.5  # standard error of a standard deviation
    claims = (
        Claim(
            Text("1. start: standard deviation 0.1", "1. início: desvio-padrão 0.1"),
            abs(std - 0.1) < 5 * uncertainty and abs(float(start.mean())) < 5 * 0.1 / DRAWS**0.5,
            tex=r"\mathcal{N}(0, 0.1)",
            note=Text(f"{std:.4f} in {DRAWS:,} draws", f"{std:.4f} em {DRAWS} sorteios"),
        ),
        Claim(
            Text("3. the printed cost is log(1 + e^z) - y z", "3. o custo impresso é log(1 + e^z) - y z"),
            _log_loss_is_the_cost(),
            tex=r"-[y \log(\hat{y}) + (1 - y) \log(1 - \hat{y})]",
            evidence=Text("proved symbolically", "provado simbolicamente"),
        ),
        Claim(
            Text("3. the cost of this step", "3. o custo deste passo"),
            abs(step["printed"] - step["J"]) < 1e-15 and step["J"] == step["twin_J"],
            note=same(f"J = {step['J']:.6f}"),
        ),
        Claim(
            Text("4. every z, a, delta and gradient", "4. todo z, a, delta e gradiente"),
            equal,
            evidence=Text("equal to autograd's, to the bit", "igual ao do autograd, bit a bit"),
        ),
        Claim(
            Text("4. the update lowers the cost", "4. a atualização reduz o custo"),
            step["after"] < step["J"],
            note=same(f"{step['J']:.6f} → {step['after']:.6f}"),
        ),
    )
    rows = tuple(
        (name, _numbers(hand), _numbers(autograd), "=" if torch.equal(hand, autograd) else "≠")
        for name, hand, autograd in step["rows"]
    )
    table = Table(
        Text(
            "One step: x = (0.5, -1, 2), y = 1, weights drawn with standard deviation 0.1",
            "Um passo: x = (0.5, -1, 2), y = 1, pesos sorteados com desvio-padrão 0.1",
        ),
        (Text("quantity", "grandeza"), Text("by hand", "à mão"), same("autograd"), same("")),
        rows,
    )
    note = Text(
        f"J {step['J']:.4f} → {step['after']:.4f} in one step; all gradients autograd's to the bit",
        f"J {step['J']:.4f} → {step['after']:.4f} num passo; gradientes iguais ao autograd, bit a bit",
    )
    return Outcome(claims, note, tables=(table,))


def _numbers(t: Tensor) -> str:
    rows = t if t.ndim == 2 else t[None]
    return "; ".join(" ".join(f"{v:.5f}" for v in row) for row in rows.tolist())


STATEMENTS = (
    Statement(
        "section-2.1",
        Text("Section 2.1", "Seção 2.1"),
        Text("the stages of training", "as etapas do treinamento"),
        (r"J(\hat{y}, y) = -[y \log(\hat{y}) + (1 - y) \log(1 - \hat{y})]",),
        (
            Text(
                "One step, from the draw of the weights to their first update, with every number shown twice: as the "
                "hand-written derivation computes it, and as autograd does on a network of stock torch modules. Here a "
                "sample is a row, as in torch; the lecture's column is that row transposed.",
                "Um passo, do sorteio dos pesos à primeira atualização, com cada número mostrado duas vezes: como a "
                "dedução escrita à mão o calcula, e como o autograd o calcula numa rede de módulos do torch. Aqui uma "
                "amostra é uma linha, como no torch; a coluna da aula é a transposta dessa linha.",
            ),
            Text(
                "N(0, 0.1) leaves open whether 0.1 is the variance or the standard deviation. This project takes it "
                "as the standard deviation; as a variance the weights would be about three times as wide (0.316).",
                "N(0, 0.1) não diz se 0.1 é a variância ou o desvio-padrão. Este projeto o toma como desvio-padrão; "
                "como variância os pesos seriam cerca de três vezes mais espalhados (0.316).",
            ),
        ),
        (e.log_loss,),
        judge,
    ),
)
