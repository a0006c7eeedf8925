"""Results and inputs of unusual layout, rank or kind: strides, NumPy views, scalars, integers, weights of samples."""

from __future__ import annotations

import numpy as np
import torch

from compare.check.inputs import binary, constant, index, positive, real
from tests.derivations import control
from tests.derivations.controls_nets import LAYER, layer, normal


@control(layer, LAYER)
def transposed_results(x, W, c):
    return {"W": (x.T @ c).T, "x": (W.T @ c.T).T, "b": c.T.sum(1), "z": c.T.contiguous().T}


@control(layer, LAYER)
def expanded_results(x, W, c):
    one = torch.ones(1, 1, dtype=c.dtype)
    return {"z": c * one.expand_as(c), "b": (one @ c.sum(0, keepdim=True)).expand(1, -1)[0]}


@control(layer, LAYER)
def strided_results(x, W, c):
    wide = torch.full((2 * W.shape[0], 3 * W.shape[1]), float("nan"), dtype=W.dtype)
    wide[::2, ::3] = c.T @ x
    return {"W": wide[::2, ::3], "z": torch.stack([c, -c], -1)[..., 0]}


@control(layer, LAYER)
def negative_strides_in_numpy(x, W, c):
    x, c, W = x.numpy()[::-1], c.numpy()[::-1], W.numpy()
    return {"x": (c @ W)[::-1], "W": (c[:, ::-1].T @ x)[::-1], "z": c[::-1], "b": c.sum(0)[::-1][::-1]}


@control(layer, LAYER)
def fortran_order(x, W, c):
    return {"W": np.asfortranarray(c.numpy().T @ x.numpy()), "x": np.asfortranarray(c.numpy() @ W.numpy())}


@control(layer, LAYER)
def read_only_and_broadcast_in_numpy(x, c):
    db = np.broadcast_to(c.numpy().sum(0), (4, c.shape[1]))[2]
    dz = c.numpy().copy()
    dz.setflags(write=False)
    return {"b": db, "z": dz}


@control(layer, LAYER)
def promoted_results(x, W, c):
    return {"W": c.double().T @ x.double(), "x": c.double() @ W.double(), "b": c.sum(0, dtype=torch.float64)}


@control(layer, LAYER)
def nested_lists_back_to_tensors(x, W, c):
    x, W, c = x.tolist(), W.tolist(), c.tolist()
    dW = [[sum(c[i][k] * x[i][j] for i in range(len(x))) for j in range(len(x[0]))] for k in range(len(c[0]))]
    return {"W": torch.tensor(dW, dtype=torch.float64), "b": np.array([sum(col) for col in zip(*c, strict=True)])}


@control(layer, LAYER)
def in_place_on_copies(x, W, c):
    dx = c.clone().unsqueeze(2).expand(-1, -1, W.shape[1]).clone()
    dx.mul_(W)
    db = c.clone()
    for row in db[1:]:
        db[0] += row
    return {"x": dx.sum(1), "b": db[0]}


ODD_LAYOUTS = {
    "x": torch.ones(1, 3).double().expand(5, 3),
    "W": normal(0, W=(3, 4))["W"].T,
    "b": normal(1, b=(8,))["b"][::2],
    "c": normal(2, c=(5, 8))["c"][:, 1::2],
}
NARROW = normal(3, x=(1000, 1), W=(1, 1), b=(1,), c=(1000, 1))
WIDE = normal(4, x=(4, 300), W=(200, 300), b=(200,), c=(4, 200))


@control(layer, ODD_LAYOUTS)
def inputs_expanded_transposed_and_strided(x, W, b, c):
    return {"x": c @ W, "W": torch.outer(c.sum(0), x[0]), "b": c.sum(0)}


@control(layer, NARROW)
def everything_of_width_one(x, W, c):
    return {"x": c * W.item(), "W": (c.squeeze() @ x.squeeze()).reshape(1, 1), "b": c.sum().reshape(1)}


@control(layer, WIDE)
def wide_layer(x, W, c):
    blocks = [c @ block for block in W.split(64, dim=1)]
    return {"x": torch.cat(blocks, 1), "W": torch.cat([part.T @ x for part in c.split(33, dim=1)]), "b": c.sum(0)}


def scalars(w, b, x, y):
    p = w * x + b
    e = p - y
    return e * e / 2, {"p": p, "e": e}


@control(scalars, {"w": real(), "b": real(), "x": real(), "y": real()})
def zero_dimensions(w, x, e):
    return {"w": e * x, "b": e.clone(), "x": w * e, "y": -e, "p": e + 0, "e": e * 1}


@control(scalars, {"w": real(), "b": real(), "x": real(), "y": real()})
def python_numbers_in_arrays(w, b, x, y):
    e = w.item() * x.item() + b.item() - y.item()
    return {"w": np.array(e * x.item()), "b": np.float64(e), "x": torch.tensor(e * w.item(), dtype=torch.float64)}


def learned_scale(x, s, t, c):
    """Temperature and slope as 0-d parameters."""
    a = torch.tanh(s * x + t)
    return (c * a).mean(), {"a": a}


@control(learned_scale, {"x": real("m", "d"), "s": real(), "t": real(), "c": real("m", "d")})
def sums_down_to_a_scalar(x, s, c, a):
    dz = c * (1 - a**2) / c.numel()
    return {"a": c / c.numel(), "x": s * dz, "s": torch.vdot(dz.flatten(), x.flatten()), "t": dz.sum()}


def broadcast(x, row, column, cell, c):
    z = x * row + column - cell
    return (c * torch.sin(z)).sum(), {"z": z}


BROADCAST = {
    "x": real("m", "d"),
    "row": real(1, "d"),
    "column": real("m", 1),
    "cell": real(1, 1),
    "c": real("m", "d"),
}


@control(broadcast, BROADCAST)
def sums_over_broadcast_dimensions(x, row, z, c):
    dz = c * torch.cos(z)
    return {
        "z": dz,
        "x": dz * row,
        "row": (dz * x).sum(0, keepdim=True),
        "column": dz.sum(1, keepdim=True),
        "cell": -dz.sum().reshape(1, 1),
    }


@control(broadcast, BROADCAST)
def sum_to_size(x, row, column, cell, z, c):
    dz = c * torch.cos(z)
    return {
        name: g.sum_to_size(t.shape)
        for name, g, t in (("row", dz * x, row), ("column", dz, column), ("cell", -dz, cell))
    }


@control(broadcast, BROADCAST)
def products_with_ones(x, z, c):
    dz = c * torch.cos(z)
    left, right = dz.new_ones(1, len(dz)), dz.new_ones(dz.shape[1], 1)
    return {"row": left @ (dz * x), "column": dz @ right, "cell": -(left @ dz @ right)}


def outer_sum(u, v, s):
    """A table of all pairs by broadcasting vectors of different lengths."""
    z = u[:, None] + v[None, :] * s
    return torch.exp(-z * z).sum(), {"z": z}


@control(outer_sum, {"u": real("p"), "v": real("q"), "s": real()})
def all_pairs(u, v, s, z):
    dz = -2 * z * torch.exp(-(z**2))
    return {"z": dz, "u": dz.sum(1), "v": s * dz.sum(0), "s": (dz @ v).sum()}


def four_dimensions(x, W, c):
    z = torch.einsum("abcd,ed->abce", x, W)
    return (c * z**2).sum(), {"z": z}


@control(four_dimensions, {"x": real("p", "q", "r", "d"), "W": real("k", "d"), "c": real("p", "q", "r", "k")})
def leading_dimensions_flattened(x, W, c, z):
    dz = 2 * c * z
    flat = dz.flatten(0, 2)
    return {"z": dz, "W": flat.T @ x.flatten(0, 2), "x": (flat @ W).view_as(x)}


@control(four_dimensions, {"x": real("p", "q", "r", "d"), "W": real("k", "d"), "c": real("p", "q", "r", "k")})
def tensordot_over_leading_dimensions(x, W, c, z):
    return {"W": torch.tensordot(2 * c * z, x, dims=([0, 1, 2], [0, 1, 2])), "x": (2 * c * z).matmul(W)}


def weighted(x, y, w, W):
    """A weighted mean over samples."""
    e = x @ W - y
    return (w * e**2).sum() / w.sum(), {"e": e}


@control(weighted, {"x": real("m", "d"), "y": real("m"), "w": positive("m"), "W": real("d")})
def weights_of_samples(x, y, w, e, W):
    total = w.sum()
    de = 2 * w * e / total
    J = (w @ e**2) / total
    return {"e": de, "W": x.T @ de, "y": -de, "w": (e**2 - J) / total, "x": torch.outer(de, W)}


def masked_mean(x, mask, W):
    """The mean over the entries that a mask keeps; one entry is always kept."""
    a = torch.tanh(x @ W)
    return (a * mask).sum() / (mask.sum() + 1), {"a": a}


@control(masked_mean, {"x": real("m", "t", "d"), "mask": binary("m", "t", "k"), "W": real("d", "k")})
def padding_mask(x, mask, W, a):
    da = mask / (mask.sum() + 1)
    dz = da.masked_fill(mask == 0, 0.0) * (1 - a**2)
    return {"a": da, "W": torch.einsum("mtd,mtk->dk", x, dz), "x": torch.einsum("mtk,dk->mtd", dz, W)}


def by_boolean_mask(x, keep, W):
    z = x @ W
    return (z[keep > 0.5] ** 3).sum() + 0.5 * z.sum(), {"z": z}


@control(by_boolean_mask, {"x": real("m", "d"), "keep": binary("m"), "W": real("d")})
def boolean_selection(x, keep, W, z):
    dz = torch.full_like(z, 0.5)
    dz[keep.bool()] += 3 * z[keep.bool()] ** 2
    return {"z": dz, "W": dz @ x, "x": dz[:, None] * W}


def dropout(x, keep, W, c, p):
    a = torch.relu(x @ W.T)
    d = a * keep / (1 - p)
    return (c * d).sum(), {"a": a, "d": d}


@control(
    dropout,
    {"x": real("m", "d"), "keep": binary("m", "k"), "W": real("k", "d"), "c": real("m", "k"), "p": constant(0.25)},
)
def inverted_dropout_with_a_given_mask(x, keep, W, c, a, p):
    da = torch.where(keep.bool(), c / (1 - p), 0.0)
    dz = torch.where(a > 0, da, torch.zeros_like(da))
    return {"d": c, "a": da, "W": dz.T @ x, "x": dz @ W}


def gathered(x, chosen, W):
    """Integer inputs: one column a sample."""
    z = x @ W.T
    picked = z.gather(1, chosen[:, None])[:, 0]
    return (picked**2).sum() / 2, {"z": z, "picked": picked}


@control(gathered, {"x": real("m", "d"), "chosen": index("m", classes="k"), "W": real("k", "d")})
def rows_added_where_they_were_chosen(x, chosen, W, picked):
    rows = picked[:, None] * x
    dz = torch.zeros(len(x), len(W), dtype=x.dtype).scatter_(1, chosen[:, None], picked[:, None])
    return {"W": torch.zeros_like(W).index_add_(0, chosen, rows), "x": picked[:, None] * W[chosen], "z": dz}


def shared_names(x, W, c):
    """Two names for one tensor, and a view of a third."""
    z = x @ W.T
    a = torch.sigmoid(z)
    return (c * a.T.contiguous().T).sum(), {"z": z, "a": a, "activation": a}


@control(shared_names, {"x": real("m", "d"), "W": real("k", "d"), "c": real("m", "k")})
def two_names_for_one_tensor(x, c, a):
    dz = c * a * (1 - a)
    return {"a": c, "activation": c, "z": dz, "W": dz.T @ x}
