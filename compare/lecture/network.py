"""Sigmoid networks in the lecture's columns, from stock torch, and the check of a formula against autograd on them.

Everything that formulas are held against comes from torch and from `manualbp`: a broken formula finds no ally here.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import manualbp as mbp
from compare.check.conditions import Inputs
from compare.check.derivation import check_derivation
from compare.check.inputs import Dim, binary, real
from compare.check.report import Report
from compare.lecture.statement import NONE, Claim, Text, same
from manualbp.activation import OutputCache

FIGURE_1 = (3, 3, 1)  # inputs, hidden units, outputs: the declared shapes of the lecture's network
SIGMOID = mbp.Sigmoid()


def inputs(widths: tuple[Dim, ...]) -> dict[str, Any]:
    """Specifications of x, y and W2, b2, W3, ... of a network of these widths, in columns."""
    specs: dict[str, Any] = {"x": real(widths[0], 1), "y": binary(widths[-1], 1)}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(widths), start=2):
        specs |= {f"W{layer}": real(n_out, n_in), f"b{layer}": real(n_out, 1)}
    return specs


def some_inputs(widths: tuple[int, ...], seed: int) -> dict[str, Tensor]:
    """Moderate values, float64: where saturation would hide behind rounding what is to be seen."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    values = {"x": draw(widths[0], 1), "y": (draw(widths[-1], 1) > 0).double()}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(widths), start=2):
        values |= {f"W{layer}": draw(n_out, n_in), f"b{layer}": draw(n_out, 1)}
    return values


def forward(**given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The log-loss, summed over outputs, and every z[l] and a[l]."""
    a = given["x"]
    named: dict[str, Tensor] = {}
    layers = sorted(int(name[1:]) for name in given if name[0] == "W")
    for layer in layers:
        z = torch.addmm(given[f"b{layer}"], given[f"W{layer}"], a)
        a = torch.sigmoid(z)
        named |= {f"z{layer}": z, f"a{layer}": a}
    return F.binary_cross_entropy_with_logits(z, given["y"], reduction="sum"), named


def quantities(values: Mapping[str, Any]) -> dict[str, Any]:
    """What formulas take: all values, a1 = x, the slopes s[l] = sigma'(z[l]) and the output's delta d[L]."""
    q = dict(values) | {"a1": values["x"]}
    layers = sorted(int(name[1:]) for name in values if name[0] == "W")
    for layer in layers:
        a = values[f"a{layer}"]
        q[f"s{layer}"] = SIGMOID.backward({}, OutputCache(a), torch.ones_like(a))[0]
    last = layers[-1]
    loss = mbp.LogLoss()
    _, cache = loss.forward(values[f"z{last}"].T, values["y"].T)  # a row for it: one sample
    return q | {f"d{last}": loss.backward(cache).T}


def apply(formula: Callable[..., Any], q: Mapping[str, Any], **more: Any) -> Any:
    """A formula at the quantities that it names as parameters; `more` goes before `q`."""
    have = {**q, **more}
    return formula(**{name: have[name] for name in inspect.signature(formula).parameters})


def check(gradients: Callable[[dict[str, Any]], dict[str, Any]], at: Inputs) -> Report:
    """Hold {name: gradient}, computed by formulas from `quantities`, against autograd."""

    def backward(**values: Any) -> dict[str, Any]:
        return gradients(quantities(values))

    return check_derivation(forward, backward, at)


def seeds(widths: tuple[int, ...]) -> Callable[[int], dict[str, Tensor]]:
    """Moderate values from any seed, for fewer conditions than specifications have."""
    return lambda seed: some_inputs(widths, seed)


def sampled(what: Text, report: Report, tex: str, *, should: bool = True) -> Claim:
    """The claim that a formula is autograd's gradient, as the check found it."""
    tried = sum(t.status in ("ok", "failed") for t in report.conditions)
    return Claim(
        what,
        report.ok,
        should,
        tex,
        found(report),
        Text(f"held against autograd under {tried} conditions", f"confrontada com o autograd em {tried} condições"),
    )


def found(report: Report) -> Text:
    """What the check says of the first quantity that is wrong, nothing where all is right."""
    bad = report.first_wrong
    if bad is None:
        return NONE
    if not bad.explanation:
        return Text(f"{bad.got:.4g}, should be {bad.expected:.4g}", f"{bad.got:.4g}, deveria ser {bad.expected:.4g}")
    if bad.explanation.startswith("has shape "):
        got, _, want = bad.explanation.removeprefix("has shape ").partition(", where the quantity has ")
        return Text(f"has shape {got}, the gradient {want}", f"tem forma {got}, o gradiente {want}")
    shapes = bad.explanation.startswith("raised RuntimeError")
    return Text("shapes do not agree", "as formas não concordam") if shapes else same(bad.explanation)
