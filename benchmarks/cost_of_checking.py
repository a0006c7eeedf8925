"""What it costs to compare both gradients at every step: the twin run with the check against the same run without.

python benchmarks/cost_of_checking.py [--threads 1] [--device cpu]

Both runs step in turns, so that a change of the machine's speed hits both; a repetition is a few steps of each, the
figure is the median of the repetitions' times, and the spread their quartiles.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time

import torch

import manualbp as mbp
from compare.names import names
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.steps import READ_EVERY, Step, Steps

SIZES = (  # layer widths, batch, activation
    ((30, 16, 1), 32, mbp.Sigmoid()),
    ((784, 128, 10), 64, mbp.Sigmoid()),
    ((784, 512, 512, 10), 128, mbp.ReLU()),
    ((784, 128, 10), 64, mbp.GELU()),  # within the noise floor: autograd is evaluated once more at each step
)
REPETITIONS = 40
STEPS = 5


def network(widths: tuple[int, ...], activation: mbp.Layer) -> mbp.Sequential:
    layers: list[mbp.Layer] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [mbp.Linear(n_in, n_out, mbp.Xavier()), activation]
    return mbp.Sequential(layers[:-1])


class Run:
    """One twin run, timed a few steps at a time."""

    def __init__(self, net: mbp.Sequential, part: Part, *, checked: bool) -> None:
        params = net.init(torch.Generator().manual_seed(0), dtype=part.x.dtype, device=part.x.device)
        pair = Pair(net, mbp.LogLoss(), params, lr=0.01, l2=1e-4)
        self.steps = Steps(pair, names(net, params), read_every=READ_EVERY if part.x.is_cuda else 1)
        self.part, self.checked, self.number = part, checked, 0

    def seconds(self) -> float:
        """Time of one step, over a few."""
        _synchronise(self.part)
        start = time.perf_counter()
        for _ in range(STEPS):
            calibrate = self.checked and self.number < 2
            self.steps.take(Step(self.number, 1, self.part, self.checked, calibrate))
            self.number += 1
        _synchronise(self.part)
        return (time.perf_counter() - start) / STEPS


def _synchronise(part: Part) -> None:
    if part.x.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    print(f"{device}, {options.threads} thread(s), torch {torch.__version__}; us a step, median [quartiles]")
    for widths, batch, activation in SIZES:
        for dtype in (torch.float32, torch.float64):
            generator = torch.Generator().manual_seed(1)
            x = torch.randn(batch, widths[0], generator=generator, dtype=torch.float64)
            y = torch.rand(batch, widths[-1], generator=generator, dtype=torch.float64).round()
            part = Part(x.to(options.device, dtype), y.to(options.device, dtype))
            net = network(widths, activation)
            runs = {"without": Run(net, part, checked=False), "with": Run(net, part, checked=True)}
            times: dict[str, list[float]] = {name: [] for name in runs}
            for repetition in range(REPETITIONS + 3):
                for name, run in runs.items():
                    seconds = run.seconds()
                    if repetition >= 3:
                        times[name].append(1e6 * seconds)
            median = {name: statistics.median(values) for name, values in times.items()}
            spread = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
            kind = "bit for bit" if runs["with"].steps.agreement.exact else "noise floor"
            size = "-".join(map(str, widths))
            print(
                f"{size:>15}, {batch:>3}, {type(activation).__name__:>7}, {str(dtype)[6:]}, {kind}: "
                + ", ".join(f"{n} {median[n]:7.0f} [{spread[n][0]:.0f}-{spread[n][2]:.0f}]" for n in runs)
                + f", ratio {median['with'] / median['without']:.2f}"
            )


if __name__ == "__main__":
    main()
