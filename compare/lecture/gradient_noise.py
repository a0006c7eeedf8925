"""Section 3: how far the gradient of B samples lies from that of all of them, measured over many draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

import manualbp as mbp
from compare.lecture import experiments as e
from compare.lecture.runs import Runs
from compare.run.data import load_data
from compare.run.record import RunRecord
from manualbp import named

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DRAWS = 800  # batches of each size


@dataclass(frozen=True)
class Noise:
    """Variance of the gradient of B samples, summed over all parameters: measured, its error, and expected."""

    B: int
    measured: float
    uncertainty: float
    expected: float
    different: float  # measured where all samples of a batch are different
    different_uncertainty: float
    different_expected: float


def per_sample_gradients() -> tuple[Tensor, Tensor]:
    """Rows of all samples' gradients at the start of those runs, (m, parameters), and the gradient of the batch."""
    data = load_data("breast-cancer")
    net = mbp.Sequential([mbp.Linear(30, 16), mbp.Sigmoid(), mbp.Linear(16, 1)])
    loss = mbp.LogLoss()
    params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        z, cache = net.forward(params, x)
        _, loss_cache = loss.forward(z, y)
        _, grads = net.backward(params, cache, loss.backward(loss_cache))
        return torch.cat([g.flatten() for _, g in named(grads)])

    x, y = data.x_train, data.y_train
    return torch.stack([gradient(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]), gradient(x, y)


def noise(G: Tensor, full: Tensor) -> list[Noise]:
    """Draw batches of each size, with replacement and without, and measure how far their gradients scatter."""
    m = len(G)
    single = float(((G - full) ** 2).sum(1).mean())  # variance of one sample drawn from the m
    generator = torch.Generator().manual_seed(0)

    def scatter(weights: Tensor) -> tuple[float, float]:
        squares = ((weights @ G - full) ** 2).sum(1)
        return float(squares.mean()), float(squares.std() / math.sqrt(len(squares)))

    found = []
    for B in SIZES:
        drawn = torch.randint(m, (DRAWS, B), generator=generator)
        ones = torch.ones(DRAWS, B, dtype=torch.float64)
        with_replacement = scatter(torch.zeros(DRAWS, m, dtype=torch.float64).scatter_add_(1, drawn, ones) / B)
        order = torch.rand(DRAWS, m, generator=generator).argsort(1)[:, :B]
        different = scatter(torch.zeros(DRAWS, m, dtype=torch.float64).scatter_(1, order, 1.0) / B)
        found.append(
            Noise(
                B,
                *with_replacement,
                e.variance_of_batch(single, B),
                *different,
                e.variance_of_epoch_batch(single, B, m),
            )
        )
    return found


def exact_variances(samples: tuple[int, ...], B: int) -> tuple[Fraction, Fraction, Fraction]:
    """Variance of one sample, and of the mean of B: over all ways to draw with repeats, and over all subsets."""
    mean = Fraction(sum(samples), len(samples))

    def variance(batches: Iterable[tuple[int, ...]]) -> Fraction:
        squares = [(Fraction(sum(batch), len(batch)) - mean) ** 2 for batch in batches]
        return sum(squares, Fraction(0)) / len(squares)

    return (
        variance((sample,) for sample in samples),
        variance(itertools.product(samples, repeat=B)),
        variance(itertools.combinations(samples, B)),
    )


def slope(points: list[Noise]) -> float:
    """Of log variance against log B, by least squares."""
    x = torch.tensor([math.log(p.B) for p in points], dtype=torch.float64)
    y = torch.tensor([math.log(p.measured) for p in points], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


def log_noise(runs: Runs, points: list[Noise]) -> None:
    """For TensorBoard: variance by batch size; the run "autograd" holds what 1/B expects."""
    if runs.folder is None:
        return
    folder = Path(runs.folder)
    with RunRecord.create(folder, "lecture-section-3-noise", "", {}, overwrite=runs.overwrite) as record:
        for p in points:
            record.scalars(
                p.B,
                {
                    "manual": {"log10 variance of the gradient by B": math.log10(p.measured)},
                    "autograd": {"log10 variance of the gradient by B": math.log10(p.expected)},
                },
            )
