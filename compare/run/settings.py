"""Device, dtype, threads and precision of a run, set for its time only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from compare.run.config import TrainConfig

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Settings:
    """Where a run computes, in what, and a line that says so."""

    name: Literal["cpu", "cuda"]
    device: torch.device
    dtype: torch.dtype
    note: str


@contextlib.contextmanager
def settings(config: TrainConfig) -> Iterator[Settings]:
    """Set threads, and TF32 off; both are as before on leaving.

    Raises `ValueError` for `--device cuda` without a GPU. Out of memory, on either device, is a `ValueError` with
    advice as well.
    """
    name = _device(config.device)
    threads = torch.get_num_threads()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    try:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        yield Settings(name, torch.device(name), DTYPES[config.dtype], _note(name, config.dtype))
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise ValueError(
            f"out of memory on {name}; use a smaller --batch-size or --hidden, --dtype float32, "
            f"or {'--device cpu' if name == 'cuda' else 'fewer samples'}"
        ) from None
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = tf32


def _device(wanted: str) -> Literal["cpu", "cuda"]:
    if wanted == "cuda" and not torch.cuda.is_available():
        built = f"torch {torch.__version__}" + ("" if torch.version.cuda else " is built without CUDA")
        raise ValueError(f"--device cuda: no CUDA GPU is in reach ({built}); use --device cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _note(device: str, dtype: str) -> str:
    if device == "cpu":
        threads = torch.get_num_threads()
        return f"CPU, {threads} thread{'s' if threads != 1 else ''}, {dtype}"
    deterministic = "on" if torch.are_deterministic_algorithms_enabled() else "off"
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "unset")
    return (
        f"{torch.cuda.get_device_name()}, {dtype}, TF32 off, deterministic algorithms {deterministic}, "
        f"CUBLAS_WORKSPACE_CONFIG {workspace}"
    )
