"""Hostile pickles, given as data, as options, as a checkpoint, as the bundle of a mismatch: none of them is run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reliability.outcome import Outcome
from benchmarks.reliability.runs import data, options, train
from compare.run.checkpoint import CHECKPOINTS, checkpoint_steps
from compare.run.config import from_toml
from compare.run.data import load_data
from compare.run.replay import replay
from compare.run.resume import resume_watched
from compare.run.watcher import Calling

Ask = Callable[[], object]


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def measure(count: int) -> Outcome:
    """Every form of the payload in every place, `count` times with another pickle protocol each."""
    root = Path(tempfile.mkdtemp(prefix="pickles-"))
    train(options(root, "run"))
    ran = refused = tried = 0
    for number in range(count):
        for ask in _asks(root, number % (pickle.HIGHEST_PROTOCOL + 1)):
            tried += 1
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ask()
            except ValueError as error:
                refused += str(error).isprintable()
            if (root / "mark").exists():
                ran += 1
                (root / "mark").rmdir()
    shutil.rmtree(root)
    reached = f"{ran}/{tried} payloads run; {refused}/{tried} refused in one line"
    return Outcome(tried, reached, not ran and refused == tried)


def forms(mark: Path, protocol: int) -> dict[str, bytes]:
    """The payload as a file of each kind that somewhere is unpickled."""
    payload = Payload(mark)
    bare = pickle.dumps(payload, protocol)
    array = np.empty(1, dtype=object)
    array[0] = payload
    npy, npz, pt = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, array)
    np.savez(npz, x=array, y=array)
    torch.save(payload, pt)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x.npy", bare)
        archive.writestr("y.npy", npy.getvalue())
    return {"pickle": bare, "npy": npy.getvalue(), "npz": npz.getvalue(), "pt": pt.getvalue(), "zip": zipped.getvalue()}


def _asks(root: Path, protocol: int) -> Iterator[Ask]:
    folder = root / "run"
    step = checkpoint_steps(folder)[0]
    tensors, described = (folder / CHECKPOINTS / f"{step:012d}{suffix}" for suffix in (".safetensors", ".json"))
    good = tensors.read_bytes(), described.read_bytes()
    bundle = folder / "mismatch"
    for form in forms(root / "mark", protocol).values():
        for name in ("d.npy", "d.npz", "d.pt", "d.csv", "d-images-idx3", "d.gz"):
            (root / name).write_bytes(form)
            yield lambda name=name: load_data(str(root / name), target="t" if name.endswith("csv") else None)  # type: ignore[misc]
        (root / "c.toml").write_bytes(form)
        yield lambda: from_toml(root / "c.toml")
        bundle.mkdir()
        for name in ("mismatch.json", "tensors.safetensors"):
            (bundle / name).write_bytes(form)
        yield lambda: replay(folder)
        (bundle / "mismatch.json").write_text(json.dumps(_about()))
        yield lambda: replay(folder)
        shutil.rmtree(bundle)
        for other in checkpoint_steps(folder)[1:]:
            (folder / CHECKPOINTS / f"{other:012d}.json").unlink()
        tensors.write_bytes(form)
        described.write_bytes(forged(good[1], form))
        yield lambda: resume_watched("run", Calling(None), runs=root, data=data())
        described.write_bytes(form)
        yield lambda: resume_watched("run", Calling(None), runs=root, data=data())
        tensors.write_bytes(good[0])
        described.write_bytes(good[1])


def forged(sealed: bytes, packed: bytes) -> bytes:
    """A checkpoint's JSON whose checksums say that `packed` is what was written."""
    head = json.loads(sealed)
    del head["sha256"]
    head |= {"bytes": len(packed), "tensors": hashlib.sha256(packed).hexdigest()}
    body = json.dumps(head, separators=(",", ":"))[:-1].encode()
    return b'%b,"sha256":"%b"}\n' % (body, hashlib.sha256(body).hexdigest().encode())


def _about() -> dict[str, Any]:
    """Of a bundle, in order but for its tensors."""
    own = {"net": None, "loss": None, "twin": None}
    return {"headline": "", "step": 1, "epoch": 1, "inputs": 4, "outputs": 3, "config": {}, "own": own}
