"""Every engine and every peer side by side: python -m benchmarks.engines (make bench-engines).

Each point of the grid, on each number of threads, is a process of its own (engine_point.py) in which all contestants
run in turns. Results go to benchmarks/results/engines-DEVICE.json as they come, and from there into a table and a
figure beside it. Points that are there already are kept, so that a run that was stopped goes on; --fresh starts anew.
On a quiet 2-core machine the whole takes about 25 minutes, half of it torch.compile; --points and --threads choose.

OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are unset for all: where they are set they are somebody's own tuning.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
GRID = (  # widths, batch, steps of an epoch, rounds
    ((3, 3, 1), 1, 20000, 21),
    ((3, 3, 1), 64, 2000, 21),
    ((30, 16, 1), 1, 10000, 21),
    ((30, 16, 1), 32, 2000, 21),
    ((784, 30, 10), 1, 2000, 21),
    ((784, 30, 10), 10, 500, 21),
    ((784, 128, 10), 64, 60, 21),
    ((784, 512, 512, 10), 128, 8, 15),
    ((784, 2048, 2048, 10), 512, 2, 9),
    ((4096, 4096, 4096, 10), 1024, 1, 5),
)
ON_GPU = (*GRID, ((8192, 8192, 8192, 10), 4096, 1, 9))
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "numba", "jax", "jaxlib", "manualbp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, nargs="*", help="default: 1 and all cores")
    parser.add_argument("--points", nargs="*", help="such as 3-3-1@64; default: the whole grid")
    parser.add_argument("--compile-modes", nargs="*", default=["default", "max-autotune"], help="of torch.compile")
    parser.add_argument("--only", nargs="*", help="contestants whose names hold one of these words; default: all")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a busy machine, one thread")
    parser.add_argument("--rounds", type=int, help="of each point; default: 5 to 21")
    parser.add_argument("--note", default="", help="stands above the table, such as what else the machine was doing")
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    parser.add_argument("--only-report", action="store_true", help="table and figure from the results that are there")
    options = parser.parse_args()
    path = RESULTS / f"engines-{options.device}.json"
    found = json.loads(path.read_text()) if path.exists() else {"points": {}}
    found |= {"machine": machine(options.device), "versions": versions()}
    if options.note:
        found["note"] = options.note
    threads = options.threads or ([1] if options.device == "cuda" else sorted({1, os.cpu_count() or 1}))
    for widths, batch, steps, rounds in ON_GPU if options.device == "cuda" else GRID:
        name = f"{'-'.join(map(str, widths))}@{batch}"
        for count in threads:
            key = f"{name}, {count} thread{'s' if count > 1 else ''}"
            wanted = not options.only_report and (not options.points or name in options.points)
            if not wanted or (key in found["points"] and not options.fresh):
                continue
            print(key, flush=True)
            asked = {
                "widths": widths, "batch": batch, "steps": steps, "rounds": options.rounds or rounds, "threads": count,
                "device": options.device, "compile_modes": options.compile_modes, "limit": True, "only": options.only,
            }  # fmt: skip
            result = child(asked)
            if result is not None:
                found["points"][key] = result | {"clock": options.clock}
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(found, indent=1) + "\n")
    from benchmarks.engine_tables import figure, table

    text = table(found)
    path.with_suffix(".md").write_text(text)
    figure(found, path.with_suffix(".png"))
    print(text)


def child(asked: dict[str, Any], module: str = "benchmarks.engine_point") -> Any:
    """What a fresh process prints as JSON; None, with its last line told, where it fails."""
    command = [sys.executable, "-m", module, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(asked["threads"]))
    if done.returncode:
        print(f"  failed: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def environment(threads: int) -> dict[str, str]:
    """The same number of threads for everyone."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "XLA_FLAGS"))}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        env[name] = str(threads)
    if threads == 1:
        env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    env["JAX_PLATFORMS"] = env.get("JAX_PLATFORMS", "cpu")
    return env


def machine(device: str) -> dict[str, Any]:
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
        flags = next((line for line in lines if line.startswith("flags")), "")
        model += ", AVX-512" if "avx512f" in flags else ", AVX2" if "avx2" in flags else ""
    found: dict[str, Any] = {"cpu": model, "cores": os.cpu_count(), "platform": platform.platform()}
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


if __name__ == "__main__":
    main()
