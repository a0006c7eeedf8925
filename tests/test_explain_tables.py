"""Backwards that read tables of data or functions beside them, and mistakes that only the whole statement shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compare import explain_derivation
from compare.check.codec import pack
from compare.explain.program import NotReadable, plain_value, read
from compare.explain.trial import Trial
from compare.wire import WireError
from tests.test_explain_forms import drawn
from tests.told import assert_told


def slope_of_tanh(z):
    return 1 - torch.tanh(z) ** 2


ACTIVATIONS = {"tanh": torch.tanh, "softplus": torch.nn.functional.softplus}
SLOPES = {
    "softplus": lambda z: torch.tanh(z),
    "tanh": slope_of_tanh,
}
LAYERS = [("W", "softplus"), ("V", "softplus")]
TREE = {3: (0, 1), 4: (2, 3)}
EDGES = [(0, 1), (0, 2), (1, 2), (2, 0)]
DEGREE = [1, 1, 2]
CHANGED = [slope_of_tanh]
CHANGED.append(slope_of_tanh)
NESTED = []
NESTED.append(NESTED)


def network(x, W, V):
    z1 = x @ W
    a1 = ACTIVATIONS["softplus"](z1)
    z2 = a1 @ V
    return ACTIVATIONS["softplus"](z2).square().sum(), {"z1": z1, "a1": a1, "z2": z2}


def another_slope(x, W, V, z1, a1, z2):
    inputs, before, weights, grads = [x, a1], [z1, z2], {"W": W, "V": V}, {}
    delta = 2 * torch.nn.functional.softplus(z2)
    layer = 1
    while layer >= 0:
        name, activation = LAYERS[layer]
        delta = delta * SLOPES[activation](before[layer])
        grads[f"z{layer + 1}"] = delta
        grads[name] = inputs[layer].T @ delta
        delta = delta @ weights[name].T
        layer -= 1
    return grads


def tree(words, W):
    h = dict(enumerate(words))
    for node, (left, right) in TREE.items():
        h[node] = torch.tanh(torch.cat([h[left], h[right]]) @ W)
    return h[4].square().sum(), {"h3": h[3], "h4": h[4]}


def children_exchanged(words, W, h3, h4):
    h = {0: words[0], 1: words[1], 2: words[2], 3: h3, 4: h4}
    dh = {k: torch.zeros_like(v) for k, v in h.items()} | {4: 2 * h4}
    for node in sorted(TREE, reverse=True):
        left, right = TREE[node]
        delta = W @ (dh[node] * (1 - h[node] ** 2))
        d_right, d_left = delta.split(len(h4))
        dh[left] = dh[left] + d_left
        dh[right] = dh[right] + d_right
    return {"h4": dh[4], "h3": dh[3], "words": torch.stack([dh[0], dh[1], dh[2]])}


def neighbours(x):
    m = torch.tanh(x)
    mean = [torch.zeros_like(x[0]) for _ in DEGREE]
    for source, to in EDGES:
        mean[to] = mean[to] + m[source] / DEGREE[to]
    return torch.stack(mean).square().sum(), {"m": m, "mean": torch.stack(mean)}


def summed_over_neighbours(x, m, mean):
    dm = torch.zeros_like(m)
    for source, to in EDGES:
        dm[source] += 2 * mean[to]
    return {"m": dm}


def both_ways(x, Wf, Wb, c):
    forwards, back = torch.tanh(x @ Wf), torch.tanh(x @ Wb)
    return (c * torch.cat([forwards, back], -1)).sum(), {"f": forwards, "b": back}


def the_second_way_alone(x, Wf, Wb, c, f, b):
    dx = torch.zeros_like(x)
    n = Wf.shape[1]
    for t in range(len(x)):
        dx[t] = (c[t, :n] * (1 - f[t] ** 2)) @ Wf.T
    for t in reversed(range(len(x))):
        dx[t] = (c[t, n:] * (1 - b[t] ** 2)) @ Wb.T
    return {"f": c[:, :n], "b": c[:, n:], "x": dx}


def leaky(x, W, c):
    z = x @ W
    return (c * torch.where(z > 0, z, 0.1 * z)).mean(), {"z": z, "a": torch.where(z > 0, z, 0.1 * z)}


def leaky_by_the_delta(x, W, c, z):
    da = c / c.numel()
    return {"z": torch.where(da > 0, da, 0.1 * da)}


REG = 0.3


def ridge(x, w, y):
    return (x @ w - y).square().mean() + REG * (w * w).sum(), {}


def averaged_nowhere(x, w, y):
    x, w, y = x.numpy(), w.numpy(), y.numpy()
    dw = np.zeros_like(w)
    for i in range(len(x)):
        dw += 2 * (x[i] @ w - y[i]) * x[i]
    dw += 2 * REG * w
    return {"w": torch.from_numpy(dw)}


def sparse(x, W, V):
    z = x @ W
    a = torch.sigmoid(z)
    return (a @ V).square().sum() + 0.2 * a.sum(), {"z": z, "a": a}


def slope_of_the_sparsity_alone(x, W, V, a):
    dz = 2 * (a @ V) @ V.T + 0.2 * a * (1 - a)
    return {"z": dz}


def softsign(x, W, c):
    z = x @ W
    a = z / (1 + z.abs())
    return (c * a).sum(), {"z": z, "a": a}


def not_squared(x, W, c, z):
    return {"a": c, "z": c / (1 + z.abs())}


def elu(x, W, c):
    z = x @ W
    a = torch.nn.functional.elu(z, alpha=0.7)
    return (c * a).sum(), {"z": z, "a": a}


def fed_with_the_argument(x, W, c, z, a):
    zs, outs = [x, z], [x, a]
    for k in (1,):
        dW = x.T @ (c * torch.where(outs[k] > 0, torch.ones_like(c), outs[k] + 0.7))
        dz = c * torch.where(zs[k] > 0, torch.ones_like(c), zs[k] + 0.7)
    return {"a": c, "z": dz, "W": dW}


def gated(x, W, c):
    z = x @ W
    gate = torch.tanh(2 * z)
    return (c * gate.square()).sum(), {"z": z, "gate": gate}


def images(x):
    var = x.var((0, 2, 3), correction=0, keepdim=True)
    xhat = (x - x.mean((0, 2, 3), keepdim=True)) / torch.sqrt(var + 1e-3)
    return xhat.pow(3).sum(), {"xhat": xhat}


def counted_as_rows(x, xhat):
    x, xhat = x.numpy(), xhat.numpy()
    axes, m = (0, 2, 3), x.shape[0]
    d = 3 * xhat**2
    inverse = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-3)
    dx = inverse / m * (m * d - d.sum(axes, keepdims=True) - xhat * (d * xhat).sum(axes, keepdims=True))
    return {"xhat": torch.from_numpy(d), "x": torch.from_numpy(dx)}


def stepped_too_early(x, W, V, z1, a1, z2):
    weights, speed, grads = {"W": W, "V": V}, {"W": 0 * W, "V": 0 * V}, {}
    delta = 2 * torch.nn.functional.softplus(z2) * torch.sigmoid(z2)
    for layer, name in ((2, "V"), (1, "W")):
        grads[f"z{layer}"] = delta
        grads[name] = (x if layer == 1 else a1).T @ delta
        speed[name] = 0.9 * speed[name] - 0.1 * grads[name]
        weights[name] = weights[name] + speed[name]
        if layer == 2:
            grads["a1"] = delta @ weights["V"].T
            delta = grads["a1"] * torch.sigmoid(z1)
    return grads


def residual(x, Ws):
    h1 = x + torch.tanh(x @ Ws[0])
    h2 = h1 + torch.tanh(h1 @ Ws[1])
    return h2.square().sum(), {"h1": h1, "h2": h2}


def handed_on_through_the_blocks_alone(x, Ws, h1, h2):
    states, grads, dh = [x, h1], {}, 2 * h2
    for k in (1, 0):
        grads[f"h{k + 1}"] = dh
        dz = dh * (1 - torch.tanh(states[k] @ Ws[k]) ** 2)
        dh = dz @ Ws[k].T
    return grads | {"x": dh}


def hinge(x, W, c):
    gap = ((x @ W) * c).sum(1)
    return torch.relu(gap).mean(), {"gap": gap}


def averaged_over_the_active(x, W, c, gap):
    active = (gap > 0).to(gap.dtype)
    return {"gap": active / active.sum()}


NET = drawn(x=(5, 3), W=(3, 4), V=(4, 2))
HIDDEN = drawn(x=(5, 3), W=(3, 4), c=(5, 4))
MISTAKES = {
    "a table of functions": (network, another_slope, NET, "z2", "wrong_activation_derivative", ""),
    "a table of data": (
        tree,
        children_exchanged,
        drawn(words=(3, 4), W=(8, 4)),
        "h3",
        "wrong_index",
        "d_left, d_right",
    ),
    "data of the forward's": (neighbours, summed_over_neighbours, drawn(x=(3, 4)), "m", "missing_mean", "/ DEGREE[to]"),
    "overwritten in a second loop": (
        both_ways,
        the_second_way_alone,
        drawn(x=(5, 3), Wf=(3, 2), Wb=(3, 4), c=(5, 6)),
        "x",
        "overwritten",
        "dx[t] += ",
    ),
    "a mask of two uses": (leaky, leaky_by_the_delta, HIDDEN, "z", "wrong_mask", "torch.where(z > 0"),
    "a mean before the penalty": (
        ridge,
        averaged_nowhere,
        drawn(x=(5, 3), w=(3,), y=(5,)),
        "w",
        "missing_mean",
        "dw = dw / len(",
    ),
    "a sum in brackets": (sparse, slope_of_the_sparsity_alone, NET, "z", "order_of_operations", ") * a * (1 - a)"),
    "a term of a function": (softsign, not_squared, HIDDEN, "z", "wrong_activation_derivative", "** 2"),
    "an activation of its own": (elu, fed_with_the_argument, HIDDEN, "z", "derivative_at_wrong_place", "outs[k]"),
    "an update of a table's": (network, stepped_too_early, NET, "a1", "updated_weight", ""),
    "a path beside the blocks": (
        residual,
        handed_on_through_the_blocks_alone,
        drawn(x=(5, 4), Ws=(2, 4, 4)),
        "h1",
        "missing_path",
        "dh = dh + dz @ Ws[k].T",
    ),
    "how many are active": (hinge, averaged_over_the_active, HIDDEN, "gap", "wrong_count", "active / len("),
    "counts of several axes": (images, counted_as_rows, drawn(x=(3, 2, 2, 4)), "x", "wrong_count", "x.shape[1]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_table_or_a_whole_statement_gets_wrong_is_named_and_mended(mistake):
    assert_told(MISTAKES[mistake])


def test_a_table_is_read_with_the_functions_in_it():
    program = read(another_slope)
    assert [piece.source.split("(")[0].split(" =")[0] for piece in program.helpers] == ["def slope_of_tanh", "SLOPES"]
    assert program.constants["LAYERS"] is LAYERS


def of_a_changed_table(z):
    return {"z": CHANGED[0](z)}


def of_a_table_in_itself(z):
    return {"z": z * len(NESTED)}


SHARED = [1.0]
for _ in range(6):
    SHARED = [SHARED] * 50  # some fifteen thousand million entries, all of them one


@pytest.mark.parametrize("value", [SHARED, list(range(200_000)), dict.fromkeys(range(200_000)), NESTED])
def test_data_of_too_many_entries_are_not_sent(value):
    assert not plain_value(value)


NAMES = np.array(["softplus", "tanh"])


def of_names(z):
    return {"z": 2 * z if NAMES[0] else z}


def test_an_array_that_torch_has_no_dtype_for_is_said_so():
    inputs = {"z": torch.ones(3, dtype=torch.float64)}
    report = explain_derivation(lambda z: ((z**2).sum() / 3, {}), of_names, inputs)
    assert report.first_wrong.cause
    with pytest.raises(WireError, match="NAMES is an array of <U8; convert it to numbers"):
        pack({"NAMES": NAMES})


@pytest.mark.parametrize("backward", [of_a_changed_table, of_a_table_in_itself])
def test_a_table_that_is_changed_is_not_read(backward):
    with pytest.raises(NotReadable, match="is not assigned once"):
        read(backward)


def test_a_run_leaves_a_table_as_it_is():
    trial = Trial(read(reversing), drawn(z=(3,))(0))
    assert [trial.run()["z"].tolist() for _ in range(2)] == [[1.0, 3.0], [1.0, 3.0]]
    assert ORDER == [3.0, 1.0]


ORDER = [3.0, 1.0]


def reversing(z):
    ORDER.reverse()
    return {"z": torch.tensor(ORDER)}
