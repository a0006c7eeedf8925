"""Section 4: the run of Figure 2 for several lambda, and what L2 does to a weight that has no gradient."""

from __future__ import annotations

import itertools

import torch

import manualbp as mbp
from compare.lecture import formulas as f
from compare.lecture.drawings import draw_sweep
from compare.lecture.overfitting import LAMBDAS, losses, norm, overfits
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Figure, Outcome, Statement, Table, Text, in_words, same


def judge_section_4(runs: Runs) -> Outcome:
    """The sweep, and the shrinkage of weights without gradient, exact in eighths."""
    sweep = [(lam, overfits(runs, lam)) for lam in LAMBDAS]
    norms = [norm(result) for _, result in sweep]
    gaps = [losses(r)[1][-1] - losses(r)[0][-1] for _, r in sweep]
    training = [losses(r)[0][-1] for _, r in sweep]
    lr, lam, steps = 0.5, 0.25, 10
    net = mbp.Linear(2, 1)
    start = torch.tensor([[1.0, -3.0]], dtype=torch.float64)
    params = {"W": start.clone(), "b": torch.zeros(1, dtype=torch.float64)}
    for _ in range(steps):  # the second input is always 0: its weight has no gradient from J
        _, cache = net.forward(params, torch.tensor([[0.5, 0.0]], dtype=torch.float64))
        _, grads = net.backward(params, cache, torch.ones(1, 1, dtype=torch.float64))
        mbp.l2.add_gradient_(net, grads, params, lam)
        mbp.sgd_step_(params, grads, lr)
    shrunk = f.shrunk(start[0, 1], lr, lam, steps)
    claims = (
        Claim(
            Text(
                "a weight without gradient shrinks by 1 - lr lambda", "um peso sem gradiente encolhe por 1 - lr lambda"
            ),
            torch.equal(params["W"][0, 1], shrunk),
            tex=r"W_t = (1 - \alpha \lambda)^t W_0",
            note=same(f"-3 · 0.875^{steps} = {float(shrunk):.12g}"),
            evidence=Text("equal to the bit after 10 steps", "igual bit a bit após 10 passos"),
        ),
        Claim(
            Text("larger lambda, smaller weights", "lambda maior, pesos menores"),
            all(b < a for a, b in itertools.pairwise(norms)),
            note=same(" > ".join(f"{n:.2f}" for n in norms)),
        ),
        Claim(
            Text("larger lambda, higher training loss", "lambda maior, perda de treino maior"),
            all(a < b for a, b in itertools.pairwise(training)),
            note=same(" < ".join(f"{t:.3f}" for t in training)),
        ),
        Claim(
            Text("larger lambda, smaller gap to validation", "lambda maior, menor distância à validação"),
            all(b < a for a, b in itertools.pairwise(gaps)),
            note=same(" > ".join(f"{g:.3f}" for g in gaps)),
        ),
        Claim(
            Text("no overfitting at the largest lambda", "sem overfitting no maior lambda"),
            sweep[0][1].overfitting_epoch is not None and sweep[-1][1].overfitting_epoch is None,
        ),
        Claim(
            Text("all runs: gradients as autograd's", "todas: gradientes iguais aos do autograd"),
            all(result.exit_status == 0 for _, result in sweep),
            note=in_words(sweep[0][1].verdict),
        ),
    )
    table = Table(
        Text("The run of Figure 2 with L2, after 10 epochs", "A execução da Figura 2 com L2, após 10 épocas"),
        (
            same("lambda"),
            same("||W||"),
            Text("training", "treino"),
            Text("validation", "validação"),
            same("overfitting"),
        ),
        tuple(
            (
                f"{lam:g}",
                f"{n:.2f}",
                f"{losses(r)[0][-1]:.4f}",
                f"{losses(r)[1][-1]:.4f}",
                str(r.overfitting_epoch or "-"),
            )
            for (lam, r), n in zip(sweep, norms, strict=True)
        ),
    )
    figure = Figure(
        "sweep",
        Text(
            "Left, both losses for each lambda; right, the weights' norm.",
            "À esquerda, as perdas por lambda; à direita, a norma.",
        ),
        Text(
            "With larger lambda the validation curve stops rising, the training curve stays higher, and the norm "
            "falls.",
            "Com lambda maior a curva de validação para de subir, a de treino fica mais alta, e a norma cai.",
        ),
        lambda figure, language: draw_sweep(figure, language, sweep, norms),
    )
    note = Text(
        f"||W|| {norms[0]:.1f} → {norms[-1]:.1f} and no overfitting at lambda {LAMBDAS[-1]:g}",
        f"||W|| {norms[0]:.1f} → {norms[-1]:.1f} e sem overfitting com lambda {LAMBDAS[-1]:g}",
    )
    return Outcome(claims, note, tables=(table,), figures=(figure,))


STATEMENTS = (
    Statement(
        "section-4",
        Text("Section 4", "Seção 4"),
        Text("L2 against overfitting", "L2 contra o overfitting"),
        (r"W = (1 - \alpha \lambda) W - \alpha \frac{\partial J}{\partial W}",),
        (
            Text(
                "The same run for several lambda. Without a gradient of its own a weight is multiplied by 1 - lr "
                "lambda "
                "at every step and fades away; a weight that the data needs is held up by its gradient. So the penalty "
                "takes first what the fit can spare.",
                "A mesma execução para vários lambda. Sem gradiente próprio, um peso é multiplicado por 1 - lr "
                "lambda a "
                "cada passo e se apaga; um peso de que os dados precisam é sustentado pelo seu gradiente. Assim a "
                "penalização tira primeiro o que o ajuste pode dispensar.",
            ),
        ),
        (f.shrunk,),
        judge_section_4,
    ),
)
