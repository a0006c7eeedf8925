"""Long reductions: tens of thousands of samples summed in other orders, and many small steps."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.derivations import control
from tests.derivations.controls_nets import logistic, normal


def many(m):
    """A small net and m samples."""

    def draw(seed):
        v = normal(seed, x=(m, 3), W2=(4, 3), b2=(4,), W3=(1, 4), b3=(1,), y=(m, 1))
        return {**v, "y": (v["y"] > 0).double()}

    return draw


def deltas(x, y, a2, W3, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    return d3, d3 @ W3 * a2 * (1 - a2)


@control(logistic, many(20_000))
def seven_chunks_of_20000(x, y, a2, W3, z3):
    d3, d2 = deltas(x, y, a2, W3, z3)
    parts = [slice(i, None, 7) for i in range(7)]
    return {
        "W3": sum(d3[s].T @ a2[s] for s in parts),
        "b3": sum(d3[s].sum(0) for s in parts),
        "W2": sum(d2[s].T @ x[s] for s in parts),
        "b2": sum(d2[s].sum(0) for s in parts),
    }


@control(logistic, many(20_000))
def exactly_rounded_sums_of_20000(x, y, a2, W3, z3):
    d3, d2 = deltas(x, y, a2, W3, z3)
    return {"b3": np.array([math.fsum(d3[:, 0].tolist())]), "b2": np.array([math.fsum(d) for d in d2.T.tolist()])}


@control(logistic, many(20_000))
def one_running_sum_of_20000(x, y, a2, W3, z3):
    d3, d2 = deltas(x, y, a2, W3, z3)
    return {"W2": torch.stack([(d2[:, k, None] * x).cumsum(0)[-1] for k in range(d2.shape[1])]), "b3": d3.cumsum(0)[-1]}


@control(logistic, many(100_000))
def seven_chunks_of_100000(x, y, a2, W3, z3):
    d3, d2 = deltas(x, y, a2, W3, z3)
    return {
        "z3": d3,
        "W3": sum(d.T @ a for d, a in zip(d3.chunk(7), a2.chunk(7), strict=True)),
        "W2": sum(d.T @ a for d, a in zip(d2.chunk(7), x.chunk(7), strict=True)),
        "b2": sum(d.sum(0) for d in d2.chunk(7)),
    }


@control(logistic, many(50_000))
def permuted_50000(x, y, a2, W3, z3):
    d3, d2 = deltas(x, y, a2, W3, z3)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return {"W3": d3[order].T @ a2[order], "W2": d2[order].T @ x[order], "b2": d2[order].sum(0)}


def total(x, c):
    s = x.sum()
    return c * s * s / 2, {"s": s}


def nearly_cancelling(seed):
    """30,000 numbers whose sum is a small part of their size."""
    x = normal(seed, x=(15_000,))["x"]
    return {"x": torch.cat([x, 1e-6 - x]), "c": torch.tensor(2.0).double()}


@control(total, nearly_cancelling)
def sum_that_nearly_cancels(x, c):
    half = len(x) // 2
    s = (x[:half] + x[half:]).sum()
    return {"s": c * s, "x": (c * s).expand_as(x), "c": s * s / 2}


def walk(x, w):
    """Three hundred steps of a damped oscillation."""
    a, b, g = x[0], x[1], torch.sigmoid(w)
    for _ in range(300):
        a, b = a + 0.02 * b, b - 0.02 * (a + g * b)
    return (a * a + b * b) / 2, {"g": g}


@control(walk, lambda seed: normal(seed, x=(2,), w=()))
def walk_by_a_matrix_power(x, w, g):
    step = torch.tensor([[1, 0.02], [-0.02, 1 - 0.02 * g]], dtype=x.dtype)
    derivative = torch.tensor([[0, 0], [0, -0.02]], dtype=x.dtype)
    block = torch.cat([torch.cat([step, derivative], 1), torch.cat([torch.zeros_like(step), step], 1)])
    power = torch.linalg.matrix_power(block, 300)
    end = power[:2, :2] @ x
    dg = end @ power[:2, 2:] @ x
    return {"x": power[:2, :2].T @ end, "g": dg, "w": dg * g * (1 - g)}
