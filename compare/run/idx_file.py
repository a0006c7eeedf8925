"""IDX files, the format of MNIST, plain or gzipped: an array in a file, the labels in another beside it.

A file is: two zero bytes, a byte for the type, a byte for the number of dimensions, the size of each dimension as
four bytes, then the numbers; all big-endian.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.run.refusal import escaped, limit, place, refusal, require_regular_file
from compare.run.table import MAX_COLUMNS, Table, column_names

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 2**20
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, labels: Path | None, max_bytes: int) -> Table:
    """Images (or rows of numbers) out of one IDX file, their labels out of `labels` or the file beside it.

    Whole-number labels are classes however many there are. Raises `ValueError` for any other content, before it
    allocates more than `max_bytes`.
    """
    x = _array(path, max_bytes)
    if x.ndim == 1:
        remedy = "name the images with --data and the labels with --labels"
        raise refusal(place(path), "holds one number a sample, as labels do", remedy)
    labels = labels or _beside(path)
    y = _array(labels, max_bytes)
    if y.ndim != 1:
        raise refusal(place(labels), f"holds {y.ndim} dimensions, labels have one", "name the right --labels")
    if len(x) != len(y):
        what = f"{len(y):,} labels for the {len(x):,} samples of {escaped(path.name)}"
        raise refusal(place(labels), what, "name the pair that belongs together")
    image_shape = (x.shape[1], x.shape[2]) if x.ndim == 3 else None
    flat = x.reshape(len(x), -1)
    return Table(
        source=place(labels),
        name=escaped(path.name.split(".")[0] or path.stem),
        x=flat,
        y=y,
        features=column_names(flat.shape[1], image_shape),
        target=escaped(labels.name),
        classes=None,
        row=lambda sample: f"label {sample} (counted from 0)",
        labelled=y.dtype.kind in "ui",
        pixels=x.ndim > 2 and x.dtype == np.uint8,
        image_shape=image_shape,
        note=f"labels from {escaped(labels.name)}",
    )


def _beside(path: Path) -> Path:
    """The labels by MNIST's naming: `images` becomes `labels` and `idx3` becomes `idx1`, gzipped or not."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    other = name.removesuffix(".gz") if name.endswith(".gz") else name + ".gz"
    if name == path.name:
        raise refusal(place(path), "has no file of labels beside it", "name it with --labels")
    for candidate in (path.with_name(name), path.with_name(other)):
        if candidate.is_file():
            return candidate
    what = f"has no labels beside it ({escaped(name)} and {escaped(other)} were looked for)"
    raise refusal(place(path), what, "name the file with --labels")


def _array(path: Path, max_bytes: int) -> NDArray[Any]:
    """The array in an IDX file; the header is believed only as far as the bytes behind it go."""
    require_regular_file(path, max_bytes)
    where = place(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        stream: BufferedIOBase = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            shape, dtype = _header(stream, where)
            size = math.prod(shape) * dtype.itemsize
            needed = max(size, 8 * math.prod(shape))
            if needed > max_bytes:
                what = f"its {math.prod(shape):,} numbers take {needed:,} bytes as float64"
                raise refusal(where, what, f"{limit(max_bytes)} or take fewer rows")
            if math.prod(shape[1:]) > MAX_COLUMNS:
                what = f"has {math.prod(shape[1:]):,} numbers a sample"
                raise refusal(where, what, f"at most {MAX_COLUMNS:,} are read: make the images smaller")
            content = bytearray()
            while len(content) <= size and (chunk := stream.read(min(CHUNK, size + 1 - len(content)))):
                content += chunk
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            what = f"is a damaged gzip file ({escaped(str(error))})"
            raise refusal(where, what, "copy or download it again") from None
    if len(content) != size:
        what = f"is cut short: {len(content):,} of the" if len(content) < size else "goes on after the"
        raise refusal(where, f"{what} {size:,} bytes that its header announces", "copy or download it again")
    array = np.frombuffer(content, dtype=dtype).reshape(shape)
    finite = np.isfinite(array)
    if not finite.all():
        index = [int(i) for i in np.unravel_index(np.argmin(finite), shape)]
        what = f"the number at {index} (sample first, counted from 0) is {array[tuple(index)]}"
        raise refusal(where, what, "replace it, or leave the sample out")
    return array


def _header(stream: BufferedIOBase, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= 8:
        what = f"is not IDX: it starts with the bytes {magic.hex(' ')}"
        raise refusal(where, what, "give IDX images such as train-images-idx3-ubyte.gz (00 00 08 03)")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise refusal(where, "is cut short: its header is not whole", "copy or download it again")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    if 0 in shape:
        raise refusal(where, f"is empty: its shape is {list(shape)}", "check how the file was made")
    return shape, np.dtype(DTYPES[magic[2]])
