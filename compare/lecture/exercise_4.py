"""Exercise 4: the epoch at which overfitting begins, by a rule, and what L2 does to the curves."""

from __future__ import annotations

from random import Random

from compare.lecture import experiments as e
from compare.lecture.overfitting import LAMBDAS, losses, norm, overfits
from compare.lecture.runs import Runs
from compare.lecture.statement import Claim, Outcome, Statement, Text, same
from compare.run.history import SUSTAINED, overfitting_epoch


def judge(runs: Runs) -> Outcome:
    """(a) the rule applied to the curve; (b) why the norm falls, and what the sweep shows."""
    result = overfits(runs)
    training, validation = losses(result)
    since = e.overfitting_since(training, validation)
    strong = overfits(runs, LAMBDAS[-1])
    claims = (
        Claim(
            Text("(a) the rule's epoch", "(a) a época da regra"),
            since == result.overfitting_epoch,
            note=same(f"{since}"),
            evidence=Text("equal to the run's own answer", "igual à resposta da própria execução"),
        ),
        Claim(
            Text("(a) the rule on 500 made-up pairs of curves", "(a) a regra em 500 pares de curvas inventadas"),
            _rules_agree(),
            evidence=Text("equal to the rule of the runs, on each", "igual à regra das execuções, em cada um"),
        ),
        Claim(
            Text(
                "(b) the penalty pulls ||W|| down by lr lambda ||W||",
                "(b) a penalização reduz ||W|| em lr lambda ||W||",
            ),
            _length_falls(),
            tex=r"\frac{d\|W\|}{d\alpha} = -(\lambda \|W\| + \frac{W \cdot \partial J / \partial W}{\|W\|})",
            evidence=Text("proved symbolically", "provado simbolicamente"),
        ),
        Claim(
            Text(
                "(b) training higher, validation lower at the end", "(b) treino mais alto, validação mais baixa no fim"
            ),
            losses(strong)[0][-1] > training[-1] and losses(strong)[1][-1] < validation[-1],
            note=same(
                f"{training[-1]:.3f} / {validation[-1]:.3f} → {losses(strong)[0][-1]:.3f} / {losses(strong)[1][-1]:.3f}"
            ),
        ),
    )
    best = validation.index(min(validation))
    until = None if since is None else since + SUSTAINED - 1
    reasoning = (
        Text(
            f"(a) Validation is least at epoch {best} ({validation[best]:.4f}). In epochs {since} to "
            f"{until} "
            "it stays above that while training still falls: from there on the network learns what is particular to "
            "the "
            f"training samples. Overfitting begins at epoch {since}; the weights to keep are those of epoch {best}.",
            f"(a) A validação é mínima na época {best} ({validation[best]:.4f}). Nas épocas {since} a "
            f"{until} "
            "ela fica acima disso enquanto o treino ainda cai: dali em diante a rede aprende o que é particular das "
            f"amostras de treino. O overfitting começa na época {since}; os pesos a guardar são os da época {best}.",
        ),
        Text(
            f"(b) With lambda = {LAMBDAS[-1]:g} the weights end at a norm of {norm(strong):.2f} instead of "
            f"{norm(result):.2f}. "
            "Smaller weights make a smoother function: it fits the training samples less closely, so the training "
            "curve "
            "lies higher, and the validation curve no longer turns upwards.",
            f"(b) Com lambda = {LAMBDAS[-1]:g} os pesos terminam com norma {norm(strong):.2f} em vez de "
            f"{norm(result):.2f}. "
            "Pesos menores dão uma função mais suave: ela se ajusta menos às amostras de treino, por isso a curva de "
            "treino fica mais alta, e a de validação já não vira para cima.",
        ),
    )
    note = Text(
        f"(a) epoch {since}; (b) validation {validation[-1]:.3f} → {losses(strong)[1][-1]:.3f}",
        f"(a) época {since}; (b) validação {validation[-1]:.3f} → {losses(strong)[1][-1]:.3f}",
    )
    return Outcome(claims, note, reasoning)


def _rules_agree() -> bool:
    """Whether the rule gives what `overfitting_epoch` gives, on short curves of few values, with ties and turns."""
    random = Random(0)
    for _ in range(500):
        n = random.randint(1, 10)
        training, validation = sorted(random.choices(range(12), k=n), reverse=True), random.choices(range(5), k=n)
        if random.random() < 0.3:
            random.shuffle(training)
        if e.overfitting_since(training, validation) != overfitting_epoch(range(n), training, validation):
            return False
    return True


def _length_falls() -> bool:
    """Whether the length of W - alpha (g + lambda W) changes with alpha as the formula says, at alpha = 0."""
    import sympy  # type: ignore[import-untyped]

    w1, w2, g1, g2 = sympy.symbols("w1 w2 g1 g2", real=True)
    alpha, lam = sympy.symbols("alpha lambda", real=True)
    length = sympy.sqrt((w1 - alpha * (g1 + lam * w1)) ** 2 + (w2 - alpha * (g2 + lam * w2)) ** 2)
    change = sympy.diff(length, alpha).subs(alpha, 0)
    start = sympy.sqrt(w1**2 + w2**2)
    return bool(sympy.simplify(change - e.l2_step_in_length(start, w1 * g1 + w2 * g2, 1, lam)) == 0)


STATEMENTS = (
    Statement(
        "exercise-4",
        Text("Exercise 4", "Exercício 4"),
        Text("reading the curves", "ler as curvas"),
        (),
        (
            Text(
                "The eye finds the turn of the curve, but one bad epoch is not overfitting. The rule used here asks "
                "for three epochs in a row whose validation loss lies above its minimum while training still falls.",
                "O olho encontra a virada da curva, mas uma época ruim não é overfitting. A regra usada aqui pede três "
                "épocas seguidas com perda de validação acima do mínimo enquanto a de treino ainda cai.",
            ),
        ),
        (e.overfitting_since, e.l2_step_in_length),
        judge,
    ),
)
