"""Equation (4), delta of a hidden layer: wrong as printed, and right where there is one unit above."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from compare.lecture import by_hand
from compare.lecture import formulas as f
from compare.lecture.network import check, inputs, sampled, seeds
from compare.lecture.runs import Runs
from compare.lecture.statement import NONE, Claim, Outcome, Statement, Table, Text, same


def _true_delta(W: Tensor, delta_next: Tensor) -> Tensor:
    """Autograd's delta[l] at z[l] = 0, where sigma' is 1/4, below a layer whose delta is given."""
    z = torch.zeros(W.shape[1], 1, dtype=torch.float64, requires_grad=True)
    (truth,) = torch.autograd.grad((delta_next * (W @ torch.sigmoid(z))).sum(), z)
    return truth


def smallest_counterexample() -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """The smallest W (1, 2, ... row by row) and delta (ones) for which eq. (4) as printed is not delta[l].

    Returns W, delta[l+1], the printed formula's value and delta[l]; None if none has at most 2 x 2 numbers.
    """
    for n_next, n in sorted(itertools.product((1, 2), (1, 2)), key=lambda shape: (shape[0] * shape[1], shape)):
        W = torch.arange(1, n_next * n + 1).double().reshape(n_next, n)
        delta_next = torch.ones(n_next, 1, dtype=torch.float64)
        printed = f.hidden_delta_printed(W, delta_next, torch.full((n, 1), 0.25, dtype=torch.float64))
        truth = _true_delta(W, delta_next)
        as_column = printed.T if printed.shape[0] == 1 else printed
        if as_column.shape != truth.shape or not torch.equal(as_column, truth):
            return W, delta_next, printed, truth
    return None


def judge(runs: Runs) -> Outcome:
    """Eq. (4): as printed in its two readings, and corrected."""
    from compare.lecture import symbolic

    def printed(q: dict[str, Any]) -> dict[str, Any]:
        row = f.hidden_delta_printed(q["W3"], q["d3"], q["s2"])
        return {"z3": q["d3"], "z2": row.T if row.shape[0] == 1 else row}

    def times(q: dict[str, Any]) -> dict[str, Any]:
        return {"z3": q["d3"], "z2": f.hidden_delta_printed_times(q["W3"], q["d3"], q["s2"])}

    def corrected(q: dict[str, Any]) -> dict[str, Any]:
        d3 = f.hidden_delta(q["W4"], q["d4"], q["s3"])
        return {"z4": q["d4"], "z3": d3, "z2": f.hidden_delta(q["W3"], d3, q["s2"])}

    one, two = check(printed, seeds((3, 4, 1))), check(printed, seeds((3, 2, 2)))
    times_one, times_two = check(times, seeds((3, 1, 1))), check(times, seeds((3, 2, 2)))
    right = check(corrected, inputs(("n1", "n2", "n3", "n4")))
    q, truth = symbolic.network(2, 2, 2)
    counterexample = smallest_counterexample()
    printed_tex = r"(W^{[\ell+1]} \circ \delta^{[\ell+1]}) \sigma'(z^{[\ell]})"
    tex = r"(W^{[\ell+1]T} \delta^{[\ell+1]}) \circ \sigma'(z^{[\ell]})"
    claims = (
        sampled(
            Text("as printed, one unit in layer l+1", "como impressa, uma unidade na camada l+1"), one, printed_tex
        ),
        sampled(
            Text("as printed, two units in layer l+1", "como impressa, duas unidades na camada l+1"),
            two,
            printed_tex,
            should=False,
        ),
        sampled(
            Text(
                "as printed, read as a matrix product, 1 unit each", "impressa, lida como produto matricial, 1 unidade"
            ),
            times_one,
            printed_tex,
        ),
        sampled(
            Text(
                "as printed, read as a matrix product, 2 units each",
                "impressa, lida como produto matricial, 2 unidades",
            ),
            times_two,
            printed_tex,
            should=False,
        ),
        Claim(
            Text("as printed, on every W of at most 2 x 2 numbers", "como impressa, em todo W de até 2 x 2 números"),
            counterexample is None,
            False,
            printed_tex,
            _told(counterexample),
            Text("smallest counterexample", "menor contraexemplo"),
        ),
        Claim(
            Text("that product sums over the units of layer l", "esse produto soma sobre as unidades da camada l"),
            _sums_over_own_units(),
            tex=r"\delta_i \sum_j W_{ij} \sigma'_j",
            evidence=Text("equal to the bit, for W 2 x 2", "igual bit a bit, para W 2 x 2"),
        ),
        sampled(
            Text("corrected, any widths, two hidden layers", "corrigida, quaisquer larguras, duas ocultas"), right, tex
        ),
        symbolic.proved(
            Text("corrected, a 2-2-2 network", "corrigida, uma rede 2-2-2"),
            symbolic.equal(f.hidden_delta(q["W3"], q["d3"], q["s2"]), truth["z2"]),
            tex,
        ),
    )
    note = Text(
        "wrong as printed, except with one unit in layer l+1; right as (W^T delta) ∘ sigma'",
        "errada como impressa, salvo com uma unidade na camada l+1; certa como (W^T delta) ∘ sigma'",
    )
    return Outcome(claims, note, tables=(_by_hand(),))


def _sums_over_own_units() -> bool:
    """Whether the second reading is delta_i sum_j W_ij sigma'_j, as it stands in the text."""
    W = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    delta, slope = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.tensor([[0.25], [0.125]]).double()
    return torch.equal(f.hidden_delta_printed_times(W, delta, slope), torch.einsum("ij,ik,jk->ik", W, delta, slope))


def _told(counterexample: tuple[Tensor, ...] | None) -> Text:
    if counterexample is None:
        return NONE
    W, delta_next, printed, truth = map(by_hand.written, counterexample)
    return Text(
        f"W = {W}, delta[l+1] = {delta_next}, sigma' = 1/4: printed gives {printed}, delta[l] is {truth}",
        f"W = {W}, delta[l+1] = {delta_next}, sigma' = 1/4: impressa dá {printed}, delta[l] é {truth}",
    )


def _by_hand() -> Table:
    """Both readings and the corrected form on 2 x 2 numbers."""
    W = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    delta, slope = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.full((2, 1), 0.25, dtype=torch.float64)
    rows = (
        ("(W ∘ delta) ∘ sigma'", by_hand.written(f.hidden_delta_printed(W, delta, slope))),
        ("(W ∘ delta) sigma'", by_hand.written(f.hidden_delta_printed_times(W, delta, slope))),
        ("(W^T delta) ∘ sigma'", by_hand.written(f.hidden_delta(W, delta, slope))),
        ("autograd", by_hand.written(_true_delta(W, delta))),
    )
    caption = Text(
        f"By hand: W = {by_hand.written(W)}, delta[l+1] = {by_hand.written(delta)}, z[l] = 0, so sigma' = 1/4",
        f"À mão: W = {by_hand.written(W)}, delta[l+1] = {by_hand.written(delta)}, z[l] = 0, logo sigma' = 1/4",
    )
    return Table(caption, (Text("formula", "fórmula"), Text("value", "valor")), rows)


STATEMENTS = (
    Statement(
        "eq-4",
        same("(4)"),
        Text("delta of a hidden layer", "delta de uma camada oculta"),
        (r"\delta^{[\ell]} = (W^{[\ell+1]} \circ \delta^{[\ell+1]}) \sigma'(z^{[\ell]})",),
        (
            Text(
                "The circle sits one place too early. Unit j of layer l feeds every unit i of the layer above, so its "
                "delta collects a sum over i of W_ij delta_i: that is a product with the transposed matrix. "
                "Element-wise multiplication comes afterwards, with the slope. With a single unit above the sum has "
                "one term, W is a row, and the printed product holds the right numbers (as a row instead of a "
                "column); this is the case of Figure 1, which is why the slip goes unnoticed there.",
                "O círculo está uma posição adiantado. A unidade j da camada l alimenta cada unidade i da camada "
                "seguinte, de modo que o seu delta reúne uma soma, em i, de W_ij delta_i: isso é um produto com a "
                "matriz transposta. A multiplicação elemento a elemento vem depois, com a inclinação. Com uma só "
                "unidade na camada seguinte a soma tem um único termo, W é uma linha, e o produto impresso contém os "
                "números certos (em linha em vez de em coluna); é o caso da Figura 1, e por isso o lapso passa "
                "despercebido ali.",
            ),
            Text(
                "If the missing sign before sigma' is read as a matrix product, the shapes agree for layers of equal "
                "width, but the sum then runs over the wrong index: over the units of layer l instead of those above.",
                "Se a ausência de sinal antes de sigma' for lida como produto matricial, as formas concordam em "
                "camadas de mesma largura, mas a soma percorre o índice errado: as unidades da camada l em vez das da "
                "camada seguinte.",
            ),
        ),
        (f.hidden_delta_printed, f.hidden_delta_printed_times, f.hidden_delta),
        judge,
        corrected=(r"\delta^{[\ell]} = (W^{[\ell+1]T} \delta^{[\ell+1]}) \circ \sigma'(z^{[\ell]})",),
        where=Text(
            "as printed, only when layer l+1 has one unit (its row read as a column); corrected, for all widths",
            "como impressa, só quando a camada l+1 tem uma unidade (a linha lida como coluna); corrigida, para "
            "todas as larguras",
        ),
    ),
)
