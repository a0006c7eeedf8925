"""Checkpoints: what a run can go on from, as files that run no code and that a single wrong byte gives away.

runs/NAME/checkpoints/000000000450.safetensors   the tensors: parameters, histories, generator states
runs/NAME/checkpoints/000000000450.json          everything else, and the SHA-256 of the tensors' file and of itself

The number is that of the steps done. The JSON is written last: where it is whole, so is the checkpoint. Each file is
written under another name first, forced to the disk and renamed (`write_durably`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from compare.run.durable import TEMPORARY, sync_folder, write_durably
from compare.run.jsonl import plain
from compare.run.refusal import escaped, limit, place

CHECKPOINTS = "checkpoints"
FORMAT = 1
MAX_BYTES = 2 * 2**30  # of tensors, unless --max-bytes says otherwise
LONGEST_JSON = 2**24  # bytes; what is long is a tensor
_NAME = re.compile(r"(\d{12})\.json")
_SEALED = re.compile(rb'(\{.*),"sha256":"([0-9a-f]{64})"\}\n', re.DOTALL)


class DamagedError(ValueError):
    """A checkpoint whose bytes are not those that were written; one line says which file and how."""


@dataclass(frozen=True)
class Checkpoint:
    """A run's state after `step` steps: tensors by name, and what JSON can hold."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint, *, keep: int) -> None:
    """Write a checkpoint into the folder of a run, and remove all but the last `keep`.

    None is removed before the new one is on the disk. Raises `OSError`; then those that were there still are.
    """
    folder = run / CHECKPOINTS
    folder.mkdir(exist_ok=True)
    tensors, described = _paths(folder, checkpoint.step)
    packed = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()})
    head = {"format": FORMAT, "step": checkpoint.step, "bytes": len(packed), "tensors": _sha256(packed)}
    write_durably(tensors, packed)
    write_durably(described, _sealed({**head, "state": checkpoint.state}))
    _prune(folder, keep)


def load_checkpoint(run: Path, step: int, max_bytes: int = MAX_BYTES) -> Checkpoint:
    """The checkpoint after `step` steps. Raises `DamagedError` where a byte of it is not as it was written.

    Its tensors may take `max_bytes`; that is known before any is read.
    """
    tensors, described = _paths(run / CHECKPOINTS, step)
    head = _unsealed(described)
    if head.get("format") != FORMAT:
        raise DamagedError(f"{place(described)}: is of format {escaped(str(head.get('format')))[:20]}, not {FORMAT}")
    if head.get("step") != step or not isinstance(head.get("state"), dict):
        raise DamagedError(f"{place(described)}: does not belong to step {step}")
    if isinstance(length := head.get("bytes"), int) and length > max_bytes:
        raise DamagedError(f"{place(tensors)}: holds {length:,} bytes; {limit(max_bytes)}")
    packed = _read(tensors, exactly=length)
    if _sha256(packed) != head.get("tensors"):
        raise DamagedError(f"{place(tensors)}: its bytes are not those that were written (SHA-256)")
    try:
        found = safetensors.torch.load(packed)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:  # a forged checksum
        raise DamagedError(f"{place(tensors)}: is not safetensors ({escaped(str(error))[:100]})") from None
    return Checkpoint(step, found, head["state"])


def checkpoint_steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints, damaged ones included, the newest first."""
    folder = run / CHECKPOINTS
    if folder.is_symlink():  # a run's folder that someone else made leads nowhere else
        return []
    try:
        return _steps(os.listdir(folder))
    except OSError:
        return []


def _steps(names: list[str]) -> list[int]:
    return sorted((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), reverse=True)


def intact_checkpoints(run: Path, damaged: list[str], max_bytes: int = MAX_BYTES) -> Iterator[Checkpoint]:
    """A run's intact checkpoints, the newest first; of each that is damaged, `damaged` gets a line before."""
    for step in checkpoint_steps(run):
        try:
            yield load_checkpoint(run, step, max_bytes)
        except DamagedError as error:
            damaged.append(str(error))


def _paths(folder: Path, step: int) -> tuple[Path, Path]:
    return folder / f"{step:012d}.safetensors", folder / f"{step:012d}.json"


def _prune(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the last `keep`, and what a crash left half-written. Raises `OSError`."""
    names = os.listdir(folder)
    kept = {f"{step:012d}" for step in _steps(names)[:keep]}
    removed = False
    for name in sorted(names, key=lambda name: not name.endswith(".json")):  # each JSON before its tensors
        stem, _, suffix = name.partition(".")
        ours = suffix in ("json", "safetensors") and stem.isdigit() and stem not in kept
        if ours or name.endswith(TEMPORARY):
            with contextlib.suppress(OSError):
                os.unlink(folder / name)
                removed = True
    if removed:
        sync_folder(folder)


def _sealed(head: Mapping[str, Any]) -> bytes:
    body = json.dumps(plain(head), allow_nan=False, separators=(",", ":"))[:-1].encode()
    return b'%b,"sha256":"%b"}\n' % (body, _sha256(body).encode())


def _unsealed(path: Path) -> dict[str, Any]:
    match = _SEALED.fullmatch(_read(path, most=LONGEST_JSON))
    if match is None or _sha256(match[1]) != match[2].decode():
        raise DamagedError(f"{place(path)}: its bytes are not those that were written (SHA-256)")
    try:
        head: dict[str, Any] = json.loads(match[1] + b"}")
    except (ValueError, RecursionError):
        raise DamagedError(f"{place(path)}: is no JSON") from None
    return head


def _read(path: Path, *, most: int = 0, exactly: Any = None) -> bytes:
    """All bytes of a regular file of a length that is known before anything is read."""
    try:
        if path.is_symlink() or not path.is_file():
            raise DamagedError(f"{place(path)}: is missing, or no regular file")
        size = path.stat().st_size
        if (exactly is not None and size != exactly) or (exactly is None and size > most):
            wanted = f"{exactly:,}" if isinstance(exactly, int) else f"at most {most:,}"
            raise DamagedError(f"{place(path)}: holds {size:,} bytes instead of {wanted}")
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{place(path)}: cannot be read ({error.strerror or error})") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
