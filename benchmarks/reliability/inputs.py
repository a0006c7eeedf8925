"""Mutated input files of every kind: each is read, or refused in one line that names the place."""

from __future__ import annotations

import gzip
import io
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.reliability.outcome import Outcome
from compare.run.config import from_toml
from compare.run.data import load_data

LIMIT = 2**20  # --max-bytes
SECONDS = 2.0  # of the processor's time that one file may take
MEMORY = 64 * 2**20  # bytes that the process may grow by over all files

TOKENS = [b"\0", b"\n", b"\r", b'"', b",", b";", b"\t", b"nan", b"inf", b"1e999", b"_", b"\x80", b"(", b"'", b"-"]
TOKENS += [b"9" * 25, b"\xff" * 4, b"|O", b"<c16", b"True", b"PK\x01\x02", b"\x1f\x8b", b"[", b"{", b"#"]
TOKENS += [b"0", b"1", b"7", b" ", b"\n1,1,x\n"]  # what may well be read
TOKENS += [b"\x1b[2J", "\u202e".encode()]  # what would move a terminal's cursor, or turn its text
EDITS = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 4), st.sampled_from(TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=3,
)


def measure(count: int) -> Outcome:
    """`count` files, a quarter of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="inputs-"))
    for name, content in SEEDS.items():  # imports what is imported late, and grows what grows once
        (folder / name).write_bytes(content)
    for kind in KINDS:
        KINDS[kind](folder, b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = {"read": 0, "refused": 0, "slowest": 0.0}
    wrong: list[str] = []
    for kind, read in KINDS.items():
        seeds = [name for name in SEEDS if name.startswith(kind)]

        @given(edits=EDITS, seed=st.sampled_from(seeds))
        @settings(
            max_examples=count // len(KINDS),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def one(edits: Any, seed: str) -> None:
            content = edited(SEEDS[seed], edits)
            (folder / seed).write_bytes(content)
            start = time.process_time()
            said = read(folder / seed, content)  # noqa: B023 - called in this round
            seen["slowest"] = max(seen["slowest"], time.process_time() - start)
            seen["read" if not said else "refused"] += 1
            if said and not (said.isprintable() and str(folder) in said and ";" in said):
                wrong.append(f"{seed}: {said}")
            (folder / seed).write_bytes(SEEDS[seed])

        one()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 2**10
    shutil.rmtree(folder)
    tried = int(seen["read"] + seen["refused"])
    reached = (
        f"{tried:,} files ({seen['read']:,.0f} read, {seen['refused']:,.0f} refused): {len(wrong)} tracebacks or "
        f"refusals without a place, slowest {seen['slowest']:.2f} s, memory grew by {grown / 2**20:.0f} MiB"
    )
    if wrong:
        reached += f"; first: {wrong[0][:300]}"
    return Outcome(tried, reached, not wrong and seen["slowest"] < SECONDS and grown < MEMORY)


def edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """`content` with the bytes at each place taken out and others put in; from the end for every odd place."""
    for place, taken, put in edits:
        at = place // 2 if place % 2 == 0 else max(0, len(content) - place // 2)
        content = content[:at] + put + content[at + taken :]
    return content


def _refusal(read: Callable[[], object]) -> str:
    """What a reader said in its refusal; empty where it read the file. Anything but a `ValueError` is a traceback."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read()
    except ValueError as error:
        return str(error)
    except Exception as error:
        return f"TRACEBACK\n{type(error).__name__}: {error}"
    return ""


def _csv(path: Path, content: bytes) -> str:
    target = "t" if b"t" in content.partition(b"\n")[0] else "a"
    return _refusal(lambda: load_data(str(path if content else path / "csv.csv"), target=target, max_bytes=LIMIT))


def _other(suffix: str) -> Callable[[Path, bytes], str]:
    def read(path: Path, content: bytes) -> str:
        if path.is_dir():
            path = path / next(name for name in SEEDS if name.startswith(suffix))
        if path.name.startswith("idx") and "labels" in path.name:  # asked for by way of the images beside it
            path = path.with_name(path.name.replace("labels", "images"))
        return _refusal(lambda: load_data(str(path), max_bytes=LIMIT))

    return read


def _toml(path: Path, content: bytes) -> str:
    return _refusal(lambda: from_toml(path / "toml.toml" if path.is_dir() else path))


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _compressed(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _idx(array: Any) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype("u1").tobytes()


def _seeds() -> dict[str, bytes]:
    draw = np.random.RandomState(0)
    x, y, images = draw.rand(20, 3), np.arange(20) % 3, draw.randint(0, 255, (20, 4, 4))
    rows = b"".join(b"%d.5,%d,%s\n" % (i, i * i, b"xyz"[i % 3 : i % 3 + 1]) for i in range(20))
    toml = (
        b'[config]\ndata = "iris"\nhidden = [16, 8]\nlr = 0.5\nl2 = 1e-3\nepochs = 3\nactivation = "tanh"\n'
        b'name = "a"\noverwrite = false\ncheckpoint_every = "5 epochs"\n'
    )
    return {
        "csv.csv": b"a,b,t\n" + rows,
        "csv-quoted.csv": b'"a";"b";"t"\r\n' + rows.replace(b",", b";").replace(b"\n", b"\r\n"),
        "csv.tsv": b"\xef\xbb\xbfa\tb\tt\n" + rows.replace(b",", b"\t"),
        "npz.npz": _npz(x=x, y=y),
        "npz-compressed.npz": _compressed(x=x, y=y),
        "npz-images.npz": _npz(X=images.astype("u1"), y=x[:, 0]),
        "idx-images": _idx(images),
        "idx-labels": _idx(y),
        "idx-images.gz": gzip.compress(_idx(images), mtime=0),
        "idx-labels.gz": gzip.compress(_idx(y), mtime=0),
        "toml.toml": toml,
        "toml-flat.toml": toml.replace(b"[config]\n", b""),
    }


SEEDS = _seeds()
KINDS: dict[str, Callable[[Path, bytes], str]] = {
    "csv": _csv,
    "npz": _other("npz"),
    "idx": _other("idx"),
    "toml": _toml,
}
