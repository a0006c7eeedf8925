"""The three products of a linear layer's backward, delta' a, the sum of delta, and delta W, in other forms."""

from __future__ import annotations

import functools
import math
import operator

import numpy as np
import torch
import torch.nn.functional as F

from tests.derivations import control
from tests.derivations.controls_nets import LOGISTIC, REGRESSION, logistic, regression


def outer_loop(delta, a):
    return functools.reduce(operator.add, [torch.outer(row, unit) for row, unit in zip(delta, a, strict=True)])


def addr_loop(delta, a):
    dW = delta.new_zeros(delta.shape[1], a.shape[1])
    for row, unit in zip(delta, a, strict=True):
        dW.addr_(row, unit)
    return dW


def kron_loop(delta, a):
    return sum(torch.kron(delta[i, :, None], a[i, None, :]) for i in range(len(a)))


def unit_by_unit(delta, a):
    return torch.stack([(delta[:, k, None] * a).sum(0) for k in range(delta.shape[1])])


def entry_by_entry(delta, a):
    dW = torch.empty(delta.shape[1], a.shape[1], dtype=a.dtype)
    for k in range(dW.shape[0]):
        for j in range(dW.shape[1]):
            dW[k, j] = torch.dot(delta[:, k], a[:, j])
    return dW


def exact_sums(delta, a):
    rows = [[math.fsum((d * u).tolist()) for u in a.double().T] for d in delta.double().T]
    return torch.tensor(rows, dtype=torch.float64)


def seven_chunks(delta, a):
    return sum(d.T @ u for d, u in zip(delta.chunk(7), a.chunk(7), strict=True))


def pairwise(delta, a):
    if len(a) == 1:
        return delta.T @ a
    half = len(a) // 2
    return pairwise(delta[:half], a[:half]) + pairwise(delta[half:], a[half:])


def kahan(terms):
    """Compensated summation over the first dimension."""
    total, lost = torch.zeros_like(terms[0]), torch.zeros_like(terms[0])
    for term in terms:
        term = term - lost
        new = total + term
        lost = (new - total) - term
        total = new
    return total


def by_magnitude(terms):
    """The smallest terms first, entry by entry."""
    order = terms.abs().argsort(0)
    return terms.gather(0, order).cumsum(0)[-1]


def all_terms(delta, a):
    return delta[:, :, None] * a[:, None, :]


def scatter(delta, a):
    terms = all_terms(delta, a).reshape(len(a), -1)
    where = torch.arange(terms.shape[1]).expand_as(terms).reshape(-1)
    flat = terms.new_zeros(terms.shape[1]).scatter_add(0, where, terms.reshape(-1))
    return flat.reshape(delta.shape[1], a.shape[1])


def index_add(delta, a):
    dW = delta.new_zeros(1, delta.shape[1], a.shape[1])
    return dW.index_add_(0, torch.zeros(len(a), dtype=torch.int64), all_terms(delta, a))[0]


def add_at(delta, a):
    dW = np.zeros((delta.shape[1], a.shape[1]))
    m, k, j = np.indices((len(a), *dW.shape))
    np.add.at(dW, (k, j), delta.numpy()[m, k] * a.numpy()[m, j])
    return dW


WEIGHT = {
    "transposed": lambda delta, a: (a.T @ delta).T,
    "einsum": lambda delta, a: torch.einsum("mk,mh->kh", delta, a),
    "einsum_other_order": lambda delta, a: torch.einsum("mh,mk->hk", a, delta).T,
    "tensordot": lambda delta, a: torch.tensordot(delta, a, dims=([0], [0])),
    "broadcast": lambda delta, a: all_terms(delta, a).sum(0),
    "mean_times_m": lambda delta, a: all_terms(delta, a).mean(0) * len(a),
    "bmm": lambda delta, a: torch.bmm(delta[:, :, None], a[:, None, :]).sum(0),
    "addbmm": lambda delta, a: torch.addbmm(
        delta.new_zeros(delta.shape[1], a.shape[1]), delta[:, :, None], a[:, None, :]
    ),
    "vmap": lambda delta, a: torch.vmap(torch.outer)(delta, a).sum(0),
    "vmap_over_units": lambda delta, a: torch.vmap(lambda d: d @ a, in_dims=1)(delta),
    "last_of_cumsum": lambda delta, a: all_terms(delta, a).cumsum(0)[-1],
    "reversed": lambda delta, a: delta.flip(0).T @ a.flip(0),
    "rolled": lambda delta, a: delta.roll(1, 0).T @ a.roll(1, 0),
    "linear": lambda delta, a: F.linear(delta.T, a.T),
    "convolution": lambda delta, a: F.conv1d(a[None], delta.T[:, :, None])[0],
    "numpy": lambda delta, a: np.matmul(delta.numpy().T, a.numpy()),
    "numpy_einsum": lambda delta, a: np.einsum("mk,mh->kh", delta.numpy(), a.numpy(), optimize=True),
    "numpy_longdouble": lambda delta, a: (
        (delta.numpy().astype(np.longdouble)[:, :, None] * a.numpy().astype(np.longdouble)[:, None, :])
        .sum(0)
        .astype(np.float64)
    ),
    "promoted": lambda delta, a: delta.double().T @ a.double(),
    "kahan": lambda delta, a: kahan(all_terms(delta, a)),
    "by_magnitude": lambda delta, a: by_magnitude(all_terms(delta, a)),
    "list_of_rows": lambda delta, a: torch.stack([d @ a for d in delta.T.unbind()]),
    "list_of_columns": lambda delta, a: torch.stack([u @ delta for u in a.T.unbind()], dim=1),
    "outer_loop": outer_loop,
    "addr_loop": addr_loop,
    "kron_loop": kron_loop,
    "unit_by_unit": unit_by_unit,
    "entry_by_entry": entry_by_entry,
    "exact_sums": exact_sums,
    "seven_chunks": seven_chunks,
    "pairwise": pairwise,
    "scatter": scatter,
    "index_add": index_add,
    "add_at": add_at,
}

BIAS = {
    "ones_times": lambda delta: delta.new_ones(len(delta)) @ delta,
    "times_ones": lambda delta: delta.T.mv(delta.new_ones(len(delta))),
    "mean_times_m": lambda delta: delta.mean(0) * len(delta),
    "einsum": lambda delta: torch.einsum("mk->k", delta),
    "cumsum": lambda delta: delta.cumsum(0)[-1],
    "kahan": kahan,
    "by_magnitude": by_magnitude,
    "python_sum": sum,
    "reduce": lambda delta: functools.reduce(torch.add, delta.unbind()),
    "numpy": lambda delta: np.add.reduce(delta.numpy(), axis=0),
    "fsum": lambda delta: torch.tensor([math.fsum(d) for d in delta.T.tolist()], dtype=torch.float64),
    "average_pool": lambda delta: F.adaptive_avg_pool1d(delta.T[None], 1)[0, :, 0] * len(delta),
    "nansum": lambda delta: torch.nansum(delta, dim=0),
    "segments": lambda delta: delta.new_zeros(delta.shape[1]).index_add_(
        0, torch.arange(delta.shape[1]).repeat(len(delta)), delta.reshape(-1)
    ),
}

BACK = {
    "transposed": lambda delta, W: (W.T @ delta.T).T,
    "einsum": lambda delta, W: torch.einsum("mk,kh->mh", delta, W),
    "tensordot": lambda delta, W: torch.tensordot(delta, W, dims=1),
    "broadcast": lambda delta, W: (delta[:, :, None] * W).sum(1),
    "rows": lambda delta, W: torch.stack([W.T.mv(row) for row in delta]),
    "units": lambda delta, W: sum(torch.outer(delta[:, k], W[k]) for k in range(len(W))),
    "units_reversed": lambda delta, W: sum(delta[:, k, None] * W[k] for k in reversed(range(len(W)))),
    "vmap": lambda delta, W: torch.vmap(lambda row: row @ W)(delta),
    "linear": lambda delta, W: F.linear(delta, W.T),
    "embedding_bag": lambda delta, W: F.embedding_bag(
        torch.arange(len(W)).repeat(len(delta), 1), W, per_sample_weights=delta, mode="sum"
    ),
    "kahan": lambda delta, W: kahan((delta[:, :, None] * W).transpose(0, 1)),
    "numpy": lambda delta, W: torch.from_numpy(np.dot(delta.numpy(), W.numpy())),
}


def plain_weight(delta, a):
    return delta.T @ a


def plain_bias(delta):
    return delta.sum(0)


def plain_back(delta, W):
    return delta @ W


def logistic_backward(weight=plain_weight, bias=plain_bias, back=plain_back):
    """The gradients of `logistic` by the given products."""

    def backward(x, y, a2, W2, W3, z3):
        dz3 = (torch.sigmoid(z3) - y) / len(x)
        da2 = back(dz3, W3)
        dz2 = da2 * a2 * (1 - a2)
        return {
            "z3": dz3,
            "W3": weight(dz3, a2),
            "b3": bias(dz3),
            "a2": da2,
            "z2": dz2,
            "W2": weight(dz2, x),
            "b2": bias(dz2),
            "x": back(dz2, W2),
        }

    return backward


for _name, _form in WEIGHT.items():
    control(logistic, LOGISTIC, name=f"weight_{_name}")(logistic_backward(weight=_form))
for _name, _form in BIAS.items():
    control(logistic, LOGISTIC, name=f"bias_{_name}")(logistic_backward(bias=_form))
for _name, _form in BACK.items():
    control(logistic, LOGISTIC, name=f"back_{_name}")(logistic_backward(back=_form))


@control(regression, REGRESSION)
def bias_as_a_column_of_ones(x, y, W2, W3, b2, b3):
    ones = x.new_ones(len(x), 1)
    x1 = torch.cat([x, ones], 1)
    a1 = torch.cat([torch.tanh(x1 @ torch.cat([W2, b2[:, None]], 1).T), ones], 1)
    dz3 = (a1 @ torch.cat([W3, b3[:, None]], 1).T - y) / len(x)
    dWb3 = dz3.T @ a1
    dz2 = (dz3 @ W3) * (1 - a1[:, :-1] ** 2)
    dWb2 = dz2.T @ x1
    return {"W3": dWb3[:, :-1], "b3": dWb3[:, -1], "W2": dWb2[:, :-1], "b2": dWb2[:, -1], "z3": dz3}


@control(regression, REGRESSION)
def normal_equations(x, a2, y, W3, b3):
    gram, cross = a2.T @ a2, a2.T @ y
    dW3 = (W3 @ gram + torch.outer(b3, a2.sum(0)) - cross.T) / len(x)
    db3 = (W3 @ a2.sum(0) + len(x) * b3 - y.sum(0)) / len(x)
    return {"W3": dW3, "b3": db3}
