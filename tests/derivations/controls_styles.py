"""Programs of other styles: objects, tables, tapes, buffers, recursion and mappings."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from compare.check.inputs import constant, real
from tests.derivations import control
from tests.derivations.controls_nets import REGRESSION, regression


class Affine:
    """A layer with state, as a student of object orientation writes it."""

    def __init__(self, W, b, below):
        self.W, self.b, self.below = W, b, below

    def backward(self, delta):
        self.dW, self.db = delta.T @ self.below, delta.sum(0)
        return delta @ self.W


@control(regression, REGRESSION)
def classes_with_state(x, y, W2, b2, W3, b3, a2, z3):
    first, second = Affine(W2, b2, x), Affine(W3, b3, a2)
    d3 = (z3 - y) / len(x)
    d2 = second.backward(d3) * (1 - a2**2)
    dx = first.backward(d2)
    return {"W3": second.dW, "b3": second.db, "W2": first.dW, "b2": first.db, "x": dx, "z2": d2}


class Step(NamedTuple):
    weight: str
    bias: str
    below: str
    delta: str


@control(regression, REGRESSION)
def table_of_layers(**values):
    grads = {"z3": (values["z3"] - values["y"]) / len(values["x"])}
    for step in (Step("W3", "b3", "a2", "z3"), Step("W2", "b2", "x", "z2")):
        delta = grads[step.delta]
        grads |= {step.weight: delta.T @ values[step.below], step.bias: delta.sum(0)}
        grads[step.below] = delta @ values[step.weight]
        if step.below == "a2":
            grads["z2"] = grads["a2"] * (1 - values["a2"] ** 2)
    return grads


@control(regression, REGRESSION)
def accumulated_in_a_defaultdict(x, y, a2, W3, z3):
    grads = defaultdict(float)
    for i in range(len(x)):
        d3 = (z3[i] - y[i]) / len(x)
        d2 = (W3.T @ d3) * (1 - a2[i] ** 2)
        for name, part in (("W3", d3[:, None] * a2[i]), ("b3", d3), ("W2", d2[:, None] * x[i]), ("b2", d2)):
            grads[name] = grads[name] + part
    return grads


@control(regression, REGRESSION)
def preallocated(x, y, W2, a2, W3, z3):
    dz3, dz2 = torch.empty_like(z3), torch.empty_like(a2)
    dW2, dW3, dx = torch.zeros_like(W2), torch.zeros_like(W3), torch.empty_like(x)
    torch.sub(z3, y, out=dz3).div_(len(x))
    torch.mm(dz3, W3, out=dz2)
    dz2.mul_(1 - a2 * a2)
    dW3.addmm_(dz3.T, a2)
    dW2.addmm_(dz2.T, x)
    torch.matmul(dz2, W2, out=dx)
    return {"z3": dz3, "z2": dz2, "W3": dW3, "W2": dW2, "x": dx}


@control(regression, REGRESSION)
def slice_by_slice_into_a_buffer(x, y, W2, b2, W3, b3, a2, z3):
    """All parameter gradients are views of one flat buffer."""
    flat = torch.zeros(W2.numel() + b2.numel() + W3.numel() + b3.numel(), dtype=x.dtype)
    dW2, db2, dW3, db3 = (
        part.view(t.shape)
        for part, t in zip(flat.split([t.numel() for t in (W2, b2, W3, b3)]), (W2, b2, W3, b3), strict=True)
    )
    d3 = (z3 - y) / len(x)
    d2 = (d3 @ W3) * (1 - a2**2)
    dW3 += d3.T @ a2
    db3 += d3.sum(0)
    dW2 += d2.T @ x
    db2 += d2.sum(0)
    return {"W2": dW2, "b2": db2, "W3": dW3, "b3": db3}


@control(regression, REGRESSION)
def closures_pushed_on_a_tape(x, y, W2, W3, a2, z3):
    grads, tape = {}, []

    def affine(W, below, weight):
        def pull(delta):
            grads[weight] = delta.T @ below
            return delta @ W

        tape.append(pull)

    affine(W2, x, "W2")
    tape.append(lambda da: da * (1 - a2**2))
    affine(W3, a2, "W3")
    delta = (z3 - y) / len(x)
    while tape:
        delta = tape.pop()(delta)
    return grads | {"x": delta}


@control(regression, REGRESSION)
def composed_by_functools(x, y, W2, W3, a2, z3):
    steps = [lambda d: d / len(x), lambda d: d @ W3, lambda d: d * (1 - a2**2), lambda d: d @ W2]
    return {"x": functools.reduce(lambda d, step: step(d), steps, z3 - y)}


@dataclass(frozen=True)
class Frozen(Mapping):
    """A read-only mapping as the answer."""

    grads: dict

    def __getitem__(self, name):
        return self.grads[name]

    def __iter__(self):
        return iter(self.grads)

    def __len__(self):
        return len(self.grads)


@control(regression, REGRESSION)
def answer_in_a_mapping(x, y, a2, z3):
    d3 = (z3 - y) / len(x)
    return Frozen({"z3": d3, "W3": d3.T @ a2})


@functools.cache
def signs(n):
    return torch.tensor([(-1.0) ** i for i in range(n)])


@control(regression, REGRESSION)
def signs_that_cancel(x, y, a2, W3, z3):
    """Every unit's sign flipped on the way in and on the way out, from a cached table."""
    s = signs(a2.shape[1]).to(a2.dtype)
    d3 = (z3 - y) / len(x)
    dz2 = (d3 @ (W3 * s)) * (1 - a2**2) * s
    return {"z3": d3, "z2": dz2, "W2": ((dz2 * s).T @ x) * s[:, None]}


def deep(x, c, depth, **weights):
    a, named = x, {}
    for layer in range(2, depth + 1):
        named[f"z{layer}"] = a @ weights[f"W{layer}"].T
        a = torch.sin(named[f"z{layer}"])
    return (c * a).sum(), named


DEEP = {"x": real("m", "n2"), "c": real("m", "n6"), "depth": constant(6)}
DEEP |= {f"W{i}": real(f"n{i}", f"n{i - 1}" if i > 2 else "n2", scale=0.7) for i in range(2, 7)}
DEEP["W2"] = real("n2", "n2", scale=0.7)


@control(deep, DEEP)
def loop_over_layers(depth, **t):
    grads, da = {}, t["c"]
    for layer in reversed(range(2, depth + 1)):
        delta = da * torch.cos(t[f"z{layer}"])
        below = torch.sin(t[f"z{layer - 1}"]) if layer > 2 else t["x"]
        grads |= {f"z{layer}": delta, f"W{layer}": delta.T @ below}
        da = delta @ t[f"W{layer}"]
    return grads | {"x": da}


@control(deep, DEEP)
def recursion_over_layers(depth, **t):
    def below(layer, da):
        if layer == 1:
            return {"x": da}
        delta = da * torch.cos(t[f"z{layer}"])
        a = torch.sin(t[f"z{layer - 1}"]) if layer > 2 else t["x"]
        return {f"W{layer}": delta.T @ a, f"z{layer}": delta} | below(layer - 1, delta @ t[f"W{layer}"])

    return below(depth, t["c"])


@control(deep, DEEP)
def forward_jacobians(depth, x, **t):
    """dx by multiplying each sample's Jacobian from the input up, not from the output down."""
    jacobian = torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1)
    for layer in range(2, depth + 1):
        jacobian = torch.cos(t[f"z{layer}"])[:, :, None] * (t[f"W{layer}"] @ jacobian)
    return {"x": torch.einsum("mk,mkd->md", t["c"], jacobian)}
