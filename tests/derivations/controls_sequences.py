"""Lookups, sorting, running products and sums, segments and permutations: how indices carry gradients back."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import index, permutation, positive, real
from tests.derivations import control


def embedding(tokens, E, W, c):
    e = E[tokens]
    z = e @ W.T
    return (c * torch.tanh(z)).sum(), {"e": e, "z": z}


EMBEDDING = {
    "tokens": index("m", "t", classes="v"),
    "E": real("v", "d"),
    "W": real("k", "d"),
    "c": real("m", "t", "k"),
}


def embedded(tokens, E, W, c, z, e):
    """The deltas above the table."""
    dz = c * (1 - torch.tanh(z) ** 2)
    return dz, dz @ W


@control(embedding, EMBEDDING)
def rows_by_index_add(tokens, E, W, c, z, e):
    dz, de = embedded(tokens, E, W, c, z, e)
    dE = torch.zeros_like(E).index_add_(0, tokens.flatten(), de.flatten(0, 1))
    return {"z": dz, "e": de, "E": dE, "W": torch.einsum("mtk,mtd->kd", dz, e)}


@control(embedding, EMBEDDING)
def rows_by_one_hot(tokens, E, W, c, z, e):
    _, de = embedded(tokens, E, W, c, z, e)
    return {"E": torch.einsum("mtv,mtd->vd", F.one_hot(tokens, len(E)).to(de.dtype), de)}


@control(embedding, EMBEDDING)
def rows_by_np_add_at(tokens, E, W, c, z, e):
    _, de = embedded(tokens, E, W, c, z, e)
    dE = np.zeros(E.shape)
    np.add.at(dE, tokens.numpy(), de.numpy())
    return {"E": dE, "e": de.numpy()}


@control(embedding, EMBEDDING)
def rows_by_index_put(tokens, E, W, c, z, e):
    _, de = embedded(tokens, E, W, c, z, e)
    return {"E": torch.zeros_like(E).index_put_((tokens,), de, accumulate=True)}


@control(embedding, EMBEDDING)
def rows_by_sorted_segments(tokens, E, W, c, z, e):
    """Sort the tokens, sum each run, write each row once: no atomics."""
    _, de = embedded(tokens, E, W, c, z, e)
    order = tokens.flatten().argsort(stable=True)
    rows, counts = tokens.flatten()[order].unique_consecutive(return_counts=True)
    dE = torch.zeros_like(E)
    dE[rows] = torch.stack([run.sum(0) for run in de.flatten(0, 1)[order].split(counts.tolist())])
    return {"E": dE}


@control(embedding, EMBEDDING)
def rows_by_cumsum_differences(tokens, E, W, c, z, e):
    _, de = embedded(tokens, E, W, c, z, e)
    flat, order = tokens.flatten().sort(stable=True)
    total = F.pad(de.double().flatten(0, 1)[order].cumsum(0), (0, 0, 1, 0))
    ends = torch.searchsorted(flat, torch.arange(len(E)), right=True)
    starts = torch.searchsorted(flat, torch.arange(len(E)))
    return {"E": total[ends] - total[starts]}


@control(embedding, EMBEDDING)
def rows_token_by_token(tokens, E, W, c, z, e):
    _, de = embedded(tokens, E, W, c, z, e)
    dE = torch.zeros_like(E)
    for token in set(tokens.flatten().tolist()):
        dE[token] = de[tokens == token].sum(0)
    return {"E": dE}


@control(embedding, EMBEDDING)
def rows_by_bincount(tokens, E, W, c, z, e):
    _, de = embedded(tokens, E, W, c, z, e)
    flat = tokens.flatten()
    columns = [torch.bincount(flat, weights=column, minlength=len(E)) for column in de.flatten(0, 1).T]
    return {"E": torch.stack(columns, 1)}


def padded_embedding(tokens, E, c):
    """Row 0 is the padding: it is looked up, but trained by nobody."""
    e = F.embedding(tokens, E, padding_idx=0)
    return (c * e**2).sum(), {"e": e}


@control(padded_embedding, {"tokens": index("m", "t", classes="v"), "E": real("v", "d"), "c": real("m", "t", "d")})
def padding_row_stays_zero(tokens, E, c, e):
    de = 2 * c * e
    dE = torch.zeros_like(E).index_add_(0, tokens.reshape(-1), de.flatten(0, 1))
    dE[0] = 0
    return {"e": de, "E": dE}


def bag(tokens, E, c):
    s = E[tokens].mean(1)
    return (c * s).sum(), {"s": s}


@control(bag, {"tokens": index("m", "t", classes="v"), "E": real("v", "d"), "c": real("m", "d")})
def bag_by_counts(tokens, E, c):
    counts = F.one_hot(tokens, len(E)).sum(1).to(c.dtype) / tokens.shape[1]
    return {"s": c, "E": counts.T @ c}


def running_product(x, c):
    y = x.cumprod(1)
    return (c * y).sum(), {"y": y}


@control(running_product, {"x": positive("m", "t", low=0.5), "c": real("m", "t")})
def cumprod_by_division(x, c, y):
    return {"x": (c * y).flip(1).cumsum(1).flip(1) / x}


@control(running_product, {"x": real("m", "t", low=-2, high=2), "c": real("m", "t")})
def cumprod_without_division(x, c):
    """g_i is the product before i times the reversed recursion r_i = c_i + x_{i+1} r_{i+1}; zeros do no harm."""
    t = x.shape[1]
    r, dx = torch.zeros_like(x[:, 0]), torch.empty_like(x)
    before = torch.cat([torch.ones_like(x[:, :1]), x.cumprod(1)[:, :-1]], 1)
    for i in range(t - 1, -1, -1):
        r = c[:, i] + (x[:, i + 1] * r if i + 1 < t else 0)
        dx[:, i] = before[:, i] * r
    return {"x": dx}


def product(x, c):
    p = x.prod(1)
    return (c * p).sum(), {"p": p}


@control(product, {"x": real("m", "t", low=-2, high=2), "c": real("m")})
def product_of_the_others(x, c):
    ones = torch.ones_like(x[:, :1])
    before = torch.cat([ones, x[:, :-1].cumprod(1)], 1)
    after = torch.cat([x.flip(1).cumprod(1).flip(1)[:, 1:], ones], 1)
    return {"p": c, "x": c[:, None] * before * after}


def running_sum(x, c):
    y = x.cumsum(1)
    return (c * torch.sin(y)).sum(), {"y": y}


@control(running_sum, {"x": real("m", "t"), "c": real("m", "t")})
def cumsum_by_a_triangle(c, y):
    dy = c * torch.cos(y)
    return {"y": dy, "x": dy @ torch.ones(y.shape[1], y.shape[1], dtype=y.dtype).tril()}


@control(running_sum, {"x": real("m", "t"), "c": real("m", "t")})
def cumsum_as_total_minus_prefix(c, y):
    dy = (c * torch.cos(y)).double()
    return {"x": dy.sum(1, keepdim=True) - dy.cumsum(1) + dy}


def ordered(x, w):
    y = x.sort(dim=1).values
    return (w * y).sum(), {"y": y}


@control(ordered, {"x": real("m", "t"), "w": real("t")})
def sort_by_inverse_permutation(x, w):
    rank = x.argsort(dim=1, stable=True).argsort(1)
    return {"y": w.expand_as(x), "x": w[rank], "w": x.sort(1).values.sum(0)}


@control(ordered, {"x": real("m", "t"), "w": real("t")})
def sort_by_counting(x, w):
    """The rank of an entry is the number of smaller ones, ties by position."""
    t = torch.arange(x.shape[1])
    before = (x[:, None] < x[..., None]) | ((x[:, None] == x[..., None]) & (t < t[:, None]))
    return {"x": w[before.sum(-1)]}


def top_two(x, c):
    return (c * x.topk(2, dim=1).values.sum(1)).sum(), {}


@control(top_two, {"x": real("m", "t+1"), "c": real("m")})
def top_two_by_sorting(x, c):
    places = x.argsort(dim=1, descending=True)[:, :2]
    return {"x": F.one_hot(places, x.shape[1]).sum(1) * c[:, None]}


def median(x):
    return x.median(dim=1).values.square().sum(), {}


@control(median, {"x": real("m", "2*t+1")})
def median_by_rank(x):
    rank = x.argsort(1).argsort(1)
    return {"x": torch.where(rank == (x.shape[1] - 1) // 2, 2 * x, 0.0)}


def shuffled(x, order, W):
    y = x[order]
    return (torch.tanh(y) * W).sum(), {"y": y}


@control(shuffled, {"x": real("m", "d"), "order": permutation("m"), "W": real("m", "d")})
def permutation_undone(x, order, W):
    dy = W / torch.cosh(x[order]) ** 2
    return {"y": dy, "x": dy[order.argsort()], "W": torch.tanh(x)[order]}


@control(shuffled, {"x": real("m", "d"), "order": permutation("m"), "W": real("m", "d")})
def permutation_matrix(x, order, W):
    P = torch.eye(len(x), dtype=x.dtype)[order]
    return {"x": (P.T @ W) * (1 - torch.tanh(x) ** 2)}


def segments(x, group, c):
    """The mean of each group of rows; empty groups give 0."""
    total = torch.zeros(c.shape, dtype=x.dtype).index_add(0, group, x)
    count = torch.bincount(group, minlength=len(c)).clamp(min=1)
    mean = total / count[:, None]
    return (c * mean**2).sum(), {"mean": mean}


@control(segments, {"x": real("m", "d"), "group": index("m", classes="g"), "c": real("g", "d")})
def means_gathered_back(x, group, c, mean):
    dmean = 2 * c * mean
    count = torch.bincount(group, minlength=len(c)).to(x.dtype)
    return {"mean": dmean, "x": dmean[group] / count[group][:, None]}


def graph_layer(x, source, target, W):
    """Messages along edges, repeated edges and self-loops among them."""
    h = x @ W.T
    out = torch.zeros_like(h).index_add(0, target, h[source])
    return torch.log1p(out**2).sum(), {"h": h, "out": out}


GRAPH = {
    "x": real("n", "d"),
    "source": index("e", classes="n"),
    "target": index("e", classes="n"),
    "W": real("k", "d"),
}


@control(graph_layer, GRAPH)
def messages_sent_back(x, source, target, W, out):
    dout = 2 * out / (1 + out * out)
    dh = torch.zeros_like(out).index_add(0, source, dout[target])
    return {"out": dout, "h": dh, "W": dh.T @ x, "x": dh @ W}


@control(graph_layer, GRAPH)
def adjacency_matrix(x, source, target, W, out):
    A = torch.zeros(len(x), len(x), dtype=x.dtype)
    for i, j in zip(source.tolist(), target.tolist(), strict=True):
        A[j, i] += 1
    dout = out / (0.5 + out.square() / 2)
    return {"h": A.T @ dout, "W": dout.T @ (A @ x), "x": A.T @ (dout @ W)}


def pieces(x, y, c):
    """Concatenation, stacking, flips and rolls."""
    u = torch.cat([x, y.flip(1)], 1).roll(1, 0)
    return (c * u**2).sum(), {"u": u}


@control(pieces, {"x": real("m", "p"), "y": real("m", "q"), "c": real("m", "p+q")})
def pieces_taken_apart(x, y, c, u):
    dx, dy = (2 * c * u).roll(-1, 0).split([x.shape[1], y.shape[1]], 1)
    return {"x": dx, "y": dy.flip(1), "u": 2 * c * u}


def spectrum(x, c):
    """Power in each frequency."""
    X = torch.fft.rfft(x)
    return (c * (X.real**2 + X.imag**2)).sum(), {}


@control(spectrum, {"x": real("m", "2*t"), "c": real("t+1")})
def power_spectrum_by_cosines(x, c):
    """dx = 2 sum_f c_f (Re X_f cos + Im X_f sin), the transform written as two real matrices."""
    n = x.shape[1]
    angle = 2 * torch.pi * torch.outer(torch.arange(n), torch.arange(n // 2 + 1)).double() / n
    C, S = torch.cos(angle).to(x.dtype), -torch.sin(angle).to(x.dtype)
    return {"x": 2 * ((x @ C * c) @ C.T + (x @ S * c) @ S.T)}
