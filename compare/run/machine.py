"""Where a run computes, as far as bits depend on it, and whether another place promises the same bits."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

FACTS = ("engine", "device", "processor", "instructions", "torch", "numpy")  # each can change a last bit
UNPROVEN = "that two runs on a GPU give the same bits has not been tried"  # no GPU was at hand


@functools.cache
def versions() -> Mapping[str, str]:
    """Of everything that a number in the logs can depend on."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in ("numpy", "tensorboard", "manualbp"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return MappingProxyType(found)


def machine(engine: str, device: str | None) -> dict[str, Any]:
    """Engine, device ("cpu" or the GPU's kind), processor, threads and libraries, as they are now."""
    return {
        **{name: version for name, version in versions().items() if name in ("torch", "numpy")},
        "engine": engine,
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device,
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def doubts(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Why a run that is continued here may differ in its last bits from one that never stopped; empty: it will not.

    Threads are no reason: a continued run takes as many as it had.
    """
    found = [f"{fact} was {then.get(fact)}, is {now.get(fact)}" for fact in FACTS if then.get(fact) != now.get(fact)]
    return found + [UNPROVEN] * (then.get("device") != "cpu")


def _processor() -> str:
    """The processor's model: libraries choose their kernels by it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
