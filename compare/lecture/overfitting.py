"""Figure 2 and section 4: a run that overfits, a sweep of lambda, and what L2 does to a weight."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import torch

import manualbp as mbp
from compare.lecture import experiments as e
from compare.lecture.drawings import draw_overfitting
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Figure, Outcome, Statement, Table, Text, same
from compare.run.config import TrainConfig
from compare.run.data import Data, load_data
from compare.run.history import TrainResult
from manualbp import at

EPOCHS = 10
LAMBDAS = (0.0, 0.01, 0.03, 0.1)


@functools.cache
def diabetes() -> Data:
    """scikit-learn's diabetes data: does the disease progress more than on average, by 10 measurements and products?

    221 samples to train on and 65 inputs (10 standardised ones, their squares and products): few enough of the one
    and many enough of the other to overfit.
    """
    data = load_data("diabetes", val_fraction=0.5)
    i, j = torch.triu_indices(10, 10)
    train, val = (torch.cat([x, x[:, i] * x[:, j]], 1) for x in (data.x_train, data.x_val))
    mean, std = train.mean(0), train.std(0)
    names = tuple(f"{data.features[a]} {data.features[b]}" for a, b in zip(i.tolist(), j.tolist(), strict=True))
    return dataclasses.replace(
        data,
        name="diabetes-above-average",
        task="binary",
        x_train=(train - mean) / std,
        x_val=(val - mean) / std,
        y_train=(data.y_train > 0).double(),  # the target is standardised: 0 is the training part's mean
        y_val=(data.y_val > 0).double(),
        features=(*data.features, *names),
        classes=("below", "above"),
        note=f"{data.note}; products of two columns added; target above the mean or not",
    )


def overfits(runs: Runs, lam: float = 0.0) -> TrainResult:
    """65-64-1, tanh, batches of 4, learning rate 0.02, 10 epochs, log-loss with this lambda."""
    config = TrainConfig(hidden=(64,), activation="tanh", lr=0.02, batch_size=4, epochs=EPOCHS, l2=lam, check="epoch")
    result: TrainResult = runs.train(f"figure-2-lambda-{lam:g}", config, data=diabetes())
    return result


def losses(result: TrainResult) -> tuple[list[float], list[float]]:
    """Training and validation log-loss at epochs 0 to 10."""
    curves = result.history["manual"]
    return curves["loss/train"], curves["loss/val"]


def norm(result: TrainResult) -> float:
    """||W|| over all weights at the end, biases left out."""
    return float(torch.cat([at(result.params, path).flatten() for path in ("0.W", "2.W")]).norm())


def judge_figure_2(runs: Runs) -> Outcome:
    """The new run, its vertical axis recomputed, and whether it looks like Figure 2."""
    result = overfits(runs)
    training, validation = losses(result)
    data = diabetes()
    net = mbp.Sequential([mbp.Linear(65, 64), mbp.Tanh(), mbp.Linear(64, 1)])
    z, _ = net.forward(result.params, data.x_val)
    recomputed = float(e.mean_log_loss(z, data.y_val, torch.log1p, torch.exp))
    best, since = result.best_epoch, result.overfitting_epoch
    rise = validation[-1] - min(validation)
    claims = (
        Claim(
            Text("the vertical axis is the mean log-loss", "o eixo vertical é a log-loss média"),
            abs(recomputed - validation[-1]) < 1e-12,
            note=same(f"{recomputed:.6f}"),
        ),
        Claim(
            Text("training loss falls in all 10 epochs", "a perda de treino cai nas 10 épocas"),
            all(b < a for a, b in itertools.pairwise(training)),
            note=same(f"{training[0]:.3f} → {training[-1]:.3f}"),
        ),
        Claim(
            Text("validation loss falls, then rises", "a perda de validação cai e depois sobe"),
            best is not None and 0 < best < EPOCHS and rise > 0,
            note=Text(
                f"least at epoch {best}, then up by {rise:.3f}", f"mínima na época {best}, depois sobe {rise:.3f}"
            ),
        ),
        Claim(
            Text("the rule finds overfitting", "a regra encontra overfitting"),
            since is not None,
            note=Text(f"since epoch {since}", f"desde a época {since}"),
        ),
    )
    table = Table(
        Text("Mean log-loss of the new run", "Log-loss média da nova execução"),
        (Text("epoch", "época"), Text("training", "treino"), Text("validation", "validação"), same("")),
        tuple(
            (str(k), f"{t:.4f}", f"{v:.4f}", {best: "min", since: "overfitting"}.get(k, ""))
            for k, (t, v) in enumerate(zip(training, validation, strict=True))
        ),
    )
    figure = Figure(
        "figure-2",
        Text(
            f"A new run, as in Figure 2: least validation loss at epoch {best}, overfitting since epoch {since}.",
            f"Uma nova execução, como na Figura 2: menor perda de validação na época {best}, overfitting a partir "
            f"da {since}.",
        ),
        Text(
            f"Training loss falls from {training[0]:.2f} to {training[-1]:.2f}; validation loss falls to "
            f"{min(validation):.2f} at epoch {best} and rises to {validation[-1]:.2f}.",
            f"A perda de treino cai de {training[0]:.2f} a {training[-1]:.2f}; a de validação cai a "
            f"{min(validation):.2f} na época {best} e sobe a {validation[-1]:.2f}.",
        ),
        lambda figure, language: draw_overfitting(figure, language, result),
    )
    note = Text(
        f"a new run: validation least at epoch {best}, overfitting since {since}",
        f"nova execução: validação mínima na época {best}, overfitting desde {since}",
    )
    return Outcome(claims, note, tables=(table,), figures=(figure,))


STATEMENTS = (
    Statement(
        "figure-2",
        Text("Figure 2", "Figura 2"),
        Text("ten epochs of log-loss", "dez épocas de log-loss"),
        (),
        (
            Text(
                "The lecture gives neither the data nor the numbers behind its Figure 2. What is shown here is a new "
                "run that has the same shape: scikit-learn's diabetes data (does the disease progress more than "
                "average?), half of the patients kept for validation.",
                "A aula não dá nem os dados nem os números da sua Figura 2. O que se mostra aqui é uma nova execução "
                "com a mesma forma: os dados diabetes do scikit-learn (a doença progride mais que a média?), com "
                "metade dos pacientes reservada para validação.",
            ),
        ),
        (e.mean_log_loss,),
        judge_figure_2,
    ),
)
