"""Section 3: batch, stochastic and mini-batch updates from one start, and the noise of the gradient's estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import manualbp as mbp
from compare.lecture import experiments as e
from compare.lecture.drawings import draw_noise, draw_updates
from compare.lecture.runs import Runs
from compare.lecture.statement import LANGUAGES, Claim, Figure, Outcome, Statement, Table, Text, in_words, same
from compare.run.config import TrainConfig
from compare.run.data import load_data
from compare.run.history import EpochReport, TrainResult
from compare.run.record import RunRecord
from manualbp import named

UPDATES = {
    "batch": Text("batch", "lote"),
    "mini-batch": Text("mini-batch of 32", "mini-lotes de 32"),
    "stochastic": Text("stochastic", "estocástica"),
}
EPOCHS = 4
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MEASURED = Text("measured", "medida")
DIFFERENT = Text("all different", "todas diferentes")
DRAWS = 800  # batches of each size


@dataclass(frozen=True)
class Curve:
    """One way to update: its run, and the seconds at each of its epochs."""

    update: str
    result: TrainResult
    seconds: list[float]

    @property
    def name(self) -> Text:
        """How it is called."""
        return UPDATES[self.update]

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return self.result.steps // EPOCHS


@dataclass(frozen=True)
class Noise:
    """Variance of the gradient of B samples, summed over all parameters: measured, its error, and expected."""

    B: int
    measured: float
    uncertainty: float
    expected: float
    different: float  # measured where all samples of a batch are different
    different_uncertainty: float
    different_expected: float


def curves(runs: Runs) -> list[Curve]:
    """The three runs: breast-cancer data, 30-16-1, the same start, learning rate and number of epochs."""
    found = []
    for update in UPDATES:
        seconds: list[float] = []

        def watch(report: EpochReport, seconds: list[float] = seconds) -> None:
            seconds.append(report.seconds)

        config = TrainConfig(update=update, epochs=EPOCHS, lr=0.1, check="epoch")  # type: ignore[arg-type]
        result = runs.train(f"section-3-{update}", config, callback=watch)
        found.append(Curve(update, result, seconds))
    return found


def per_sample_gradients() -> tuple[Tensor, Tensor]:
    """Rows of all samples' gradients at the start of those runs, (m, parameters), and the gradient of the batch."""
    data = load_data("breast-cancer")
    net = mbp.Sequential([mbp.Linear(30, 16), mbp.Sigmoid(), mbp.Linear(16, 1)])
    loss = mbp.LogLoss()
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        z, cache = net.forward(params, x)
        _, loss_cache = loss.forward(z, y)
        _, grads = net.backward(params, cache, loss.backward(loss_cache))
        return torch.cat([g.flatten() for _, g in named(grads)])

    x, y = data.x_train, data.y_train
    return torch.stack([gradient(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]), gradient(x, y)


def noise(G: Tensor, full: Tensor) -> list[Noise]:
    """Draw batches of each size, with replacement and without, and measure how far their gradients scatter."""
    m = len(G)
    single = float(((G - full) ** 2).sum(1).mean())  # variance of one sample drawn from the m
    generator = torch.Generator().manual_seed(0)

    def scatter(weights: Tensor) -> tuple[float, float]:
        squares = ((weights @ G - full) ** 2).sum(1)
        return float(squares.mean()), float(squares.std() / math.sqrt(len(squares)))

    found = []
    for B in SIZES:
        drawn = torch.randint(m, (DRAWS, B), generator=generator)
        ones = torch.ones(DRAWS, B, dtype=torch.float64)
        with_replacement = scatter(torch.zeros(DRAWS, m, dtype=torch.float64).scatter_add_(1, drawn, ones) / B)
        order = torch.rand(DRAWS, m, generator=generator).argsort(1)[:, :B]
        different = scatter(torch.zeros(DRAWS, m, dtype=torch.float64).scatter_(1, order, 1.0) / B)
        found.append(
            Noise(
                B,
                *with_replacement,
                e.variance_of_batch(single, B),
                *different,
                e.variance_of_epoch_batch(single, B, m),
            )
        )
    return found


def slope(points: list[Noise]) -> float:
    """Of log variance against log B, by least squares."""
    x = torch.tensor([math.log(p.B) for p in points], dtype=torch.float64)
    y = torch.tensor([math.log(p.measured) for p in points], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


def _log_noise(runs: Runs, points: list[Noise]) -> None:
    """For TensorBoard: variance by batch size; the run "autograd" holds what 1/B expects."""
    if runs.folder is None:
        return
    folder = Path(runs.folder)
    with RunRecord.create(folder, "lecture-section-3-noise", "", {}, overwrite=runs.overwrite) as record:
        for p in points:
            record.scalars(
                p.B,
                {
                    "manual": {"log10 variance of the gradient by B": math.log10(p.measured)},
                    "autograd": {"log10 variance of the gradient by B": math.log10(p.expected)},
                },
            )


def _each(values: dict[str, str]) -> Text:
    """One value for each way to update."""
    return Text(*(", ".join(f"{UPDATES[u][language]} {v}" for u, v in values.items()) for language in LANGUAGES))


def judge(runs: Runs) -> Outcome:
    """Steps an epoch, cost an epoch, and the noise of the estimate."""
    found: list[Curve] = runs.once("section-3", lambda: curves(runs))
    G, full = runs.once("section-3-gradients", per_sample_gradients)
    points = noise(G, full)
    runs.once("section-3-noise", lambda: _log_noise(runs, points))
    m = len(G)
    by = {c.update: c for c in found}
    last = {c.update: c.result.history["manual"]["cost/train"][-1] for c in found}
    steps = {"batch": 1, "mini-batch": math.ceil(m / 32), "stochastic": m}
    rounding = float((e.batch_gradient(G) - full).abs().max() / full.abs().max())
    fits = all(abs(p.measured - p.expected) < 5 * p.uncertainty for p in points)
    fits_different = all(abs(p.different - p.different_expected) < 5 * p.different_uncertainty for p in points)
    falls = slope(points)
    claims = (
        Claim(
            Text("steps an epoch: 1, m/B, m", "passos por época: 1, m/B, m"),
            all(by[u].steps == n for u, n in steps.items()),
            note=_each({u: str(c.steps) for u, c in by.items()}),
        ),
        Claim(
            Text("all three: gradients as autograd's", "os três: gradientes iguais aos do autograd"),
            all(c.result.exit_status == 0 for c in found),
            note=in_words(found[0].result.verdict),
        ),
        Claim(
            Text("the batch gradient is the samples' mean", "o gradiente do lote é a média das amostras"),
            rounding < 1e-13,
            note=same(f"{rounding:.0e}"),
        ),
        Claim(
            Text(
                "variance of the estimate is 1/B of one sample's", "a variância da estimativa é 1/B da de uma amostra"
            ),
            fits,
            tex=r"\mathrm{Var}_B = \frac{1}{B} \mathrm{Var}_1",
            note=Text(f"slope {falls:.3f} in log-log", f"inclinação {falls:.3f} em log-log"),
        ),
        Claim(
            Text("less still within an epoch, none for the batch", "menor ainda dentro da época, nula para o lote"),
            fits_different and e.variance_of_epoch_batch(1.0, m, m) == 0.0,
            tex=r"\frac{1}{B} \frac{m - B}{m - 1} \mathrm{Var}_1",
        ),
        Claim(
            Text("after as many epochs, more steps: a lower cost", "após as mesmas épocas, mais passos: custo menor"),
            last["stochastic"] < last["mini-batch"] < last["batch"],
            note=_each({u: f"{v:.3f}" for u, v in last.items()}),
        ),
    )
    updates_table = Table(
        Text(f"{EPOCHS} epochs on {m} samples, learning rate 0.1", f"{EPOCHS} épocas em {m} amostras, taxa 0.1"),
        (Text("update", "atualização"), Text("steps", "passos"), Text("seconds", "segundos"), Text("cost", "custo")),
        tuple((c.name, str(c.result.steps), f"{c.seconds[-1]:.2f}", f"{last[c.update]:.4f}") for c in found),
    )
    noise_table = Table(
        Text("Variance of the gradient of B samples", "Variância do gradiente de B amostras"),
        (
            same("B"),
            Text("measured", "medida"),
            same("Var/B"),
            Text("all different", "todas diferentes"),
            Text("expected", "esperada"),
        ),
        tuple(
            (str(p.B), f"{p.measured:.5f}", f"{p.expected:.5f}", f"{p.different:.5f}", f"{p.different_expected:.5f}")
            for p in points
        ),
    )
    figures = (
        Figure(
            "updates",
            Text(
                "The three updates from one start: training cost against steps, epochs and seconds.",
                "As três atualizações do mesmo início: custo de treino por passos, épocas e segundos.",
            ),
            Text(
                f"Three panels. After {EPOCHS} epochs stochastic ends lowest, mini-batch next, batch highest.",
                f"Três painéis. Após {EPOCHS} épocas a estocástica termina mais baixa, depois o mini-lote e o lote.",
            ),
            lambda figure, language: draw_updates(figure, language, found),
        ),
        Figure(
            "noise",
            Text(
                "Scatter of the gradient's estimate against the batch size, with the line 1/B.",
                "Dispersão da estimativa do gradiente pelo tamanho do lote, com a reta 1/B.",
            ),
            Text(
                f"Log-log plot: the measured points lie on a straight line of slope {falls:.2f}.",
                f"Gráfico log-log: os pontos medidos caem numa reta de inclinação {falls:.2f}.",
            ),
            lambda figure, language: draw_noise(figure, language, points),
            (5.5, 3.2),
        ),
    )
    note = Text(
        f"variance of the estimate falls as 1/B: log-log slope {falls:.2f}",
        f"a variância da estimativa cai como 1/B: inclinação log-log {falls:.2f}",
    )
    reasoning = Text(
        "Seconds are those of both networks, hand-written and autograd, with their comparison.",
        "Os segundos são os das duas redes, à mão e autograd, com a comparação entre elas.",
    )
    return Outcome(claims, note, (reasoning,), (updates_table, noise_table), figures)


STATEMENTS = (
    Statement(
        "section-3",
        Text("Section 3", "Seção 3"),
        Text("three ways to update", "três modos de atualizar"),
        (),
        (
            Text(
                "The same data, start and learning rate; only the number of samples behind each update differs. The "
                "batch's gradient is exact and its descent smooth, but it pays for every step with the whole data "
                "set. A single sample's gradient points roughly the right way, many times an epoch. B samples sit "
                "between the two: the variance of their mean is that of one sample divided by B.",
                "Os mesmos dados, o mesmo início e a mesma taxa; só muda o número de amostras por trás de cada "
                "atualização. O gradiente do lote é exato e a descida suave, mas cada passo custa o conjunto inteiro. "
                "O gradiente de uma amostra aponta mais ou menos na direção certa, muitas vezes por época. B amostras "
                "ficam entre os dois: a variância da média é a de uma amostra dividida por B.",
            ),
        ),
        (e.batch_gradient, e.variance_of_batch, e.variance_of_epoch_batch),
        judge,
    ),
)
