"""Section 3: batch, stochastic and mini-batch updates from one start, and the noise of the gradient's estimate."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import manualbp as mbp
from compare.lecture import experiments as e
from compare.lecture.drawings import draw_section_3
from compare.lecture.gradient_noise import exact_variances, log_noise, noise, per_sample_gradients, slope
from compare.lecture.runs import Runs
from compare.lecture.statement import LANGUAGES, Claim, Figure, Outcome, Statement, Table, Text, in_words, same
from compare.run.config import TrainConfig
from compare.run.data import load_data
from compare.run.history import TrainResult
from compare.run.loop import ORDER_SEED
from manualbp import named

UPDATES = {
    "batch": Text("batch", "lote"),
    "mini-batch": Text("mini-batch of 32", "mini-lotes de 32"),
    "stochastic": Text("stochastic", "estocástica"),
}
EPOCHS = 4
LR = 0.1
B = 32  # samples in a mini-batch, the default of `manualbp train`


@dataclass(frozen=True)
class Curve:
    """One way to update: its run beside autograd, and the same steps once more, by hand alone, with their cost."""

    update: str
    result: TrainResult
    per_epoch: int  # steps
    at: list[int]  # steps at which the cost was taken
    cost: list[float]  # of all training samples
    seconds: list[float]  # spent on the steps alone
    kept: int  # numbers that one step keeps for its backward
    same_weights: bool  # as those of the run, in every bit

    @property
    def name(self) -> Text:
        """How it is called."""
        return UPDATES[self.update]


def curve(runs: Runs, update: str) -> Curve:
    """Breast-cancer data, 30-16-1, the same start, learning rate and number of epochs for each update."""
    config = TrainConfig(update=update, epochs=EPOCHS, lr=LR, check="epoch")  # type: ignore[arg-type]
    result: TrainResult = runs.train(f"section-3-{update}", config)
    data = load_data("breast-cancer")
    net = mbp.Sequential([mbp.Linear(30, 16), mbp.Sigmoid(), mbp.Linear(16, 1)])
    loss = mbp.LogLoss()
    params = net.init(torch.Generator().manual_seed(config.seed), dtype=torch.float64, device="cpu")
    order = torch.Generator().manual_seed(ORDER_SEED + config.seed)
    x, y = data.x_train, data.y_train

    def cost() -> float:
        return float(loss.forward(net.forward(params, x)[0], y)[0])

    at, costs, seconds, spent, kept, done = [0], [cost()], [0.0], 0.0, 0, 0
    for _ in range(EPOCHS):
        batches = mbp.batches(update, len(x), B, order)  # type: ignore[arg-type]
        for rows in batches:
            started = time.perf_counter()
            z, cache = net.forward(params, x[rows])
            _, loss_cache = loss.forward(z, y[rows])
            _, grads = net.backward(params, cache, loss.backward(loss_cache))
            mbp.sgd_step_(params, grads, LR)
            spent += time.perf_counter() - started
            done += 1
            kept = max(kept, _numbers_in(cache))
            if done >= 1.15 * at[-1] or done == EPOCHS * len(batches):  # evenly spaced in the logarithm
                at.append(done)
                costs.append(cost())
                seconds.append(spent)
    last = dict(named(result.params))
    equal = all(torch.equal(value, last[path]) for path, value in named(params))
    return Curve(update, result, done // EPOCHS, at, costs, seconds, kept, equal)


def _numbers_in(cache: Any) -> int:
    """How many numbers the tensors of a cache hold."""
    if isinstance(cache, Tensor):
        return cache.numel()
    return sum(map(_numbers_in, cache)) if isinstance(cache, tuple) else 0


def _each(values: dict[str, str]) -> Text:
    """One value for each way to update."""
    return Text(*(", ".join(f"{UPDATES[u][language]} {v}" for u, v in values.items()) for language in LANGUAGES))


def judge(runs: Runs) -> Outcome:
    """Steps and memory, cost, and the noise of the estimate."""
    found: list[Curve] = runs.once("section-3", lambda: [curve(runs, update) for update in UPDATES])
    G, full = runs.once("section-3-gradients", per_sample_gradients)
    points = noise(G, full)
    runs.once("section-3-noise", lambda: log_noise(runs, points))
    m = len(G)
    by = {c.update: c for c in found}
    last = {c.update: c.cost[-1] for c in found}
    steps = {"batch": 1, "mini-batch": math.ceil(m / B), "stochastic": m}
    rounding = float((e.batch_gradient(G) - full).abs().max() / full.abs().max())
    fits = all(abs(p.measured - p.expected) < 5 * p.uncertainty for p in points)
    fits_different = all(abs(p.different - p.different_expected) < 5 * p.different_uncertainty for p in points)
    falls = slope(points)
    one, repeated, different = exact_variances((0, 1, 2, 5), 2)
    claims = (
        Claim(
            Text("steps an epoch: 1, m/B, m", "passos por época: 1, m/B, m"),
            all(by[u].per_epoch == n for u, n in steps.items()),
            note=_each({u: str(c.per_epoch) for u, c in by.items()}),
        ),
        Claim(
            Text("a step of B samples keeps B/m of the batch's memory", "um passo de B amostras guarda B/m da memória"),
            by["mini-batch"].kept * m == by["batch"].kept * B and by["stochastic"].kept * m == by["batch"].kept,
            note=_each({u: str(c.kept) for u, c in by.items()}),
            evidence=Text("numbers kept for one backward", "números guardados para uma retropropagação"),
        ),
        Claim(
            Text("all three: gradients as autograd's", "os três: gradientes iguais aos do autograd"),
            all(c.result.exit_status == 0 and c.same_weights for c in found),
            note=in_words(found[0].result.verdict),
            evidence=Text("and repeated by hand alone, to the same bits", "e repetidos só à mão, com os mesmos bits"),
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
            Text(
                "both exact, over all batches of 2 of (0, 1, 2, 5)",
                "ambas exatas, em todos os lotes de 2 de (0, 1, 2, 5)",
            ),
            repeated == e.variance_of_batch(one, 2) and different == e.variance_of_epoch_batch(one, 2, 4),
            note=Text(
                f"variance {one}; of the mean of 2, repeats allowed {repeated}, all different {different}",
                f"variância {one}; da média de 2, com repetição {repeated}, todas diferentes {different}",
            ),
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
        tuple((c.name, str(c.at[-1]), f"{c.seconds[-1]:.4f}", f"{last[c.update]:.4f}") for c in found),
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
    figure = Figure(
        "updates",
        Text(
            "The three updates from one start: training cost against steps, epochs and seconds; and the scatter of "
            "the gradient's estimate against the batch size, with the line 1/B.",
            "As três atualizações do mesmo início: custo de treino por passos, épocas e segundos; e a dispersão da "
            "estimativa do gradiente pelo tamanho do lote, com a reta 1/B.",
        ),
        Text(
            f"Four panels. In three, the cost falls from {found[0].cost[0]:.2f}: to {last['batch']:.2f} with batch, "
            f"{last['mini-batch']:.2f} with mini-batch and {last['stochastic']:.2f} with stochastic updates after "
            f"{EPOCHS} epochs. In the fourth, on logarithmic axes, the measured variance lies on a straight line of "
            f"slope {falls:.2f}.",
            f"Quatro painéis. Em três, o custo cai de {found[0].cost[0]:.2f}: a {last['batch']:.2f} com lote, "
            f"{last['mini-batch']:.2f} com mini-lotes e {last['stochastic']:.2f} com a atualização estocástica após "
            f"{EPOCHS} épocas. No quarto, em eixos logarítmicos, a variância medida fica sobre uma reta de inclinação "
            f"{falls:.2f}.",
        ),
        lambda figure, language: draw_section_3(figure, language, found, points),
        (7.0, 5.6),
    )
    note = Text(
        f"variance of the estimate falls as 1/B: log-log slope {falls:.2f}",
        f"a variância da estimativa cai como 1/B: inclinação log-log {falls:.2f}",
    )
    reasoning = Text(
        "Seconds are those of the hand-written steps alone, on this machine; they differ from run to run.",
        "Os segundos são só os dos passos escritos à mão, nesta máquina; mudam de uma execução para outra.",
    )
    return Outcome(claims, note, (reasoning,), (updates_table, noise_table), (figure,))


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
