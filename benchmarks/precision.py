"""Does the check of precision leave right derivations in peace? Every one of the corpus, in each lower dtype.

    python -m benchmarks.precision [--shard 0/8]

At the plain inputs of each: how many gradients lose more digits than rounding explains, by which of the two rules
(`scattered`: RMS error; `shared`: the factor that all entries share), and how near the nearest comes to an alarm.
Left out: derivations that are imprecise on purpose, and other choices at kinks, which this rule is not asked about.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import torch

from compare.check.conditions import conditions, realise
from compare.check.derivation import default_dtype
from compare.check.precision import Loss, losses
from compare.check.scale import Convention
from tests.derivations import Case, load

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def judged(case: Case) -> Iterator[tuple[str, Loss]]:
    for dtype in DTYPES:
        with default_dtype(dtype):
            values = realise(case.inputs, next(conditions(case.inputs)))
            found = losses(case.forward, case.backward, values, dtype, convention=Convention())
        for name, loss in found.items():
            yield f"{case.name}: {name} in {str(dtype).removeprefix('torch.')}", loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", default="0/1", help="part i of n")
    options = parser.parse_args()
    shard, of = map(int, options.shard.split("/"))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    right = [c for c in load() if c.kind != "wrong" and not c.options.get("imprecise") and "kinks" not in c.name]
    right = right[shard::of]
    found = [each for case in right for each in judged(case)]
    scattered = [name for name, loss in found if loss.scattered]
    shared = [name for name, loss in found if not loss.scattered and loss.excessive]
    nearest = max((abs(loss.shared) / loss.shared_floor for _, loss in found if not loss.scattered), default=0.0)
    print(
        f"{len(right)} derivations, {len(found)} gradients, {time.process_time():.0f} s: {len(scattered)} scattered, "
        f"{len(shared)} shared; of the others the nearest reaches {nearest:.2f} of what may be shared"
    )
    for name in scattered + shared:
        print(f"- {name}")


if __name__ == "__main__":
    main()
