"""Exercise 1: what a start at zero, or at any equal values, does to the hidden units, along a whole training run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

import manualbp as mbp
from compare.lecture import experiments as e
from compare.lecture.drawings import draw_symmetry
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Figure, Outcome, Statement, Table, Text, same
from compare.run.data import load_data

HIDDEN = 4
EPOCHS = 60
LR = 2.0


@dataclass(frozen=True)
class Constant:
    """Every weight and bias equal to `value`: an initializer to be watched, not used."""

    value: float

    def weight(self, n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
        """W, all entries equal."""
        return torch.full((n_out, n_in), self.value, dtype=torch.float64)

    def bias(self, n_out: int, generator: torch.Generator) -> Tensor:
        """b, all entries equal."""
        return torch.full((n_out,), self.value, dtype=torch.float64)


@dataclass(frozen=True)
class Watched:
    """One start: at each epoch the cost, the rank of W[2], and how far apart the hidden units' weights lie."""

    name: Text
    cost: list[float] = field(default_factory=list)
    rank: list[int] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)


def watch(name: Text, initializer: mbp.Initializer, hidden: int = HIDDEN) -> Watched:
    """Train a 2-4-1 network on the exclusive or from this start."""
    data = load_data("xor")
    net = mbp.Sequential([mbp.Linear(2, hidden, initializer), mbp.Sigmoid(), mbp.Linear(hidden, 1, initializer)])
    loss = mbp.LogLoss()
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    order = torch.Generator().manual_seed(1)
    seen = Watched(name)
    for _ in range(EPOCHS + 1):
        z, _ = net.forward(params, data.x_train)
        W2 = params[0]["W"]
        seen.cost.append(float(loss.forward(z, data.y_train)[0]))
        seen.rank.append(int(torch.linalg.matrix_rank(W2)))
        seen.apart.append(float((W2 - W2[0]).abs().max()))
        for rows in mbp.batches("mini-batch", len(data.x_train), 16, order):
            z, cache = net.forward(params, data.x_train[rows])
            _, loss_cache = loss.forward(z, data.y_train[rows])
            _, grads = net.backward(params, cache, loss.backward(loss_cache))
            mbp.sgd_step_(params, grads, LR)
    return seen


def starts() -> list[Watched]:
    """Zero, equal values, random ones, and for comparison a single hidden unit."""
    return [
        watch(Text("zero", "zero"), mbp.Zeros()),
        watch(Text("all equal to 0.5", "todos iguais a 0.5"), Constant(0.5)),
        watch(Text("random", "aleatório"), mbp.Normal(1.0)),
        watch(Text("random, one hidden unit", "aleatório, uma unidade oculta"), mbp.Normal(1.0), hidden=1),
    ]


def equal_rows() -> tuple[bool, bool]:
    """With equal rows in W[2] and b[2] and equal entries in W[3], for all values: are the rows of dJ/dW[2] equal to the
    formula, and the entries of dJ/dW[3] to each other? Then a step keeps the units equal, and so does every later one.
    """
    from compare.lecture import symbolic

    q, truth = symbolic.network(3, 3, 1)
    same_units = {
        q[name][i, j]: q[name][0, j] for name in ("W2", "b2") for i in (1, 2) for j in range(q[name].shape[1])
    }
    same_units |= {q["W3"][0, j]: q["W3"][0, 0] for j in (1, 2)}

    def tied(a: object) -> object:
        return symbolic.put_all(a, same_units)

    row = e.gradient_of_equal_unit(q["W3"][0, 0], q["d3"][0, 0], q["s2"][0, 0], q["x"])
    rows = all(symbolic.equal(tied(truth["W2"][i : i + 1]), tied(row)) for i in range(3))
    entries = all(symbolic.equal(tied(truth["W3"][:, j]), tied(truth["W3"][:, 0])) for j in (1, 2))
    return rows, entries


def judge(runs: Runs) -> Outcome:
    """The proof for one step, and three runs."""
    zero, equal, random, single = found = runs.once("exercise-1", starts)
    rows, entries = equal_rows()
    alike = max(*zero.apart, *equal.apart)
    proved = Text("proved symbolically", "provado simbolicamente")
    claims = (
        Claim(
            Text("equal units get equal gradients", "unidades iguais recebem gradientes iguais"),
            rows,
            tex=r"\frac{\partial J}{\partial W^{[2]}_{i}} = v \delta^{[3]} \sigma'(z) x^T",
            evidence=proved,
        ),
        Claim(
            Text("and so do their output weights", "e também os seus pesos de saída"),
            entries,
            evidence=proved,
        ),
        Claim(
            Text("zero or equal start: units alike to the end", "início zero ou igual: unidades iguais até o fim"),
            alike < 1e-9,  # 0, unless a matrix product rounds its columns differently
            note=Text(f"largest difference {alike:g}", f"maior diferença {alike:g}"),
        ),
        Claim(
            Text("zero start: rank of W[2] 0, then 1", "início zero: posto de W[2] 0, depois 1"),
            zero.rank[0] == 0 and set(zero.rank[1:]) == {1},
        ),
        Claim(
            Text("equal start: rank of W[2] always 1", "início igual: posto de W[2] sempre 1"), set(equal.rank) == {1}
        ),
        Claim(Text("random start: rank of W[2] 2", "início aleatório: posto de W[2] 2"), set(random.rank) == {2}),
        Claim(
            Text(
                "the random start ends at half the cost or less",
                "início aleatório: metade do custo ou menos",
            ),
            random.cost[-1] < 0.5 * min(zero.cost[-1], equal.cost[-1], single.cost[-1]),
            note=same(" / ".join(f"{w.cost[-1]:.3f}" for w in found)),
        ),
    )
    table = Table(
        Text(
            f"A 2-{HIDDEN}-1 network on the exclusive or, {EPOCHS} epochs (tossing a coin costs log 2 = 0.693)",
            f"Uma rede 2-{HIDDEN}-1 no ou-exclusivo, {EPOCHS} épocas (jogar uma moeda custa log 2 = 0.693)",
        ),
        (
            Text("start", "início"),
            Text("rank first", "posto inicial"),
            Text("rank last", "posto final"),
            Text("units apart", "distância entre unidades"),
            Text("cost", "custo"),
        ),
        tuple((w.name, str(w.rank[0]), str(w.rank[-1]), f"{w.apart[-1]:.3g}", f"{w.cost[-1]:.4f}") for w in found),
    )
    figure = Figure(
        "symmetry",
        Text("Cost and rank of W[2] along training, from three starts.", "Custo e posto de W[2] ao longo do treino."),
        Text(
            f"From zero and from equal values the cost stays above {min(zero.cost[-1], equal.cost[-1]):.2f} and the "
            f"rank "
            f"at most 1; from random values the cost falls to {random.cost[-1]:.2f} and the rank is 2.",
            f"Do zero e de valores iguais o custo fica acima de {min(zero.cost[-1], equal.cost[-1]):.2f} e o posto no "
            f"máximo 1; de valores aleatórios o custo cai a {random.cost[-1]:.2f} e o posto é 2.",
        ),
        lambda figure, language: draw_symmetry(figure, language, found),
    )
    note = Text(
        f"units stay alike, rank 1; cost {zero.cost[-1]:.2f}, random start {random.cost[-1]:.2f}",
        f"unidades iguais, posto 1; custo {zero.cost[-1]:.2f}, início aleatório {random.cost[-1]:.2f}",
    )
    return Outcome(claims, note, tables=(table,), figures=(figure,))


STATEMENTS = (
    Statement(
        "exercise-1",
        Text("Exercise 1", "Exercício 1"),
        Text("a start at zero", "início em zero"),
        (),
        (
            Text(
                "With W[3] = 0 nothing flows back: in the first step dJ/dW[2] is zero, and only the output's weights "
                "and bias move. They move by the same amount, because every hidden unit gives the same activation, "
                "1/2. "
                "From then on gradients do flow, but every unit gets the same one. By induction the units stay equal "
                "for ever: four of them compute what one does, four times over.",
                "Com W[3] = 0 nada volta: no primeiro passo dJ/dW[2] é zero, e só os pesos e o viés da saída se movem. "
                "Movem-se na mesma medida, pois toda unidade oculta dá a mesma ativação, 1/2. Daí em diante há "
                "gradiente, mas cada unidade recebe o mesmo. Por indução as unidades ficam iguais para sempre: quatro "
                "delas calculam o que uma calcula, quatro vezes.",
            ),
            Text(
                "So it is not the zero that does the harm but the equality. Equal non-zero values behave the same. "
                "Learning does not stop altogether (the last row of the table is a network with one hidden unit); "
                "what is "
                "lost is all that needs different units, such as the exclusive or. Random values break the tie.",
                "Portanto não é o zero que faz mal, mas a igualdade. Valores iguais e não nulos comportam-se do mesmo "
                "modo. O aprendizado não para de todo (a última linha da tabela é uma rede com uma só unidade oculta); "
                "perde-se tudo o que exige unidades diferentes, como o ou-exclusivo. Valores aleatórios desfazem o "
                "empate.",
            ),
        ),
        (e.gradient_of_equal_unit,),
        judge,
    ),
)
