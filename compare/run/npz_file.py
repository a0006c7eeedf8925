"""NPZ files: the arrays x and y in a zip file, as `numpy.savez(path, x=x, y=y)` writes them.

Nothing is unpickled, and nothing is unpacked before the sizes that the file announces are found to be small enough
and to agree with each other.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from compare.run.refusal import escaped, limit, listed, place, refusal, shown
from compare.run.table import MAX_COLUMNS, Table, column_names

LONGEST_READ = 2**24  # bytes at once; only a directory of a hundred thousand entries would take more
LONGEST_HEADER = 1024  # characters of an array's header; numpy writes about 120
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's own; others unpack without a bound
DAMAGED = (  # what zipfile and numpy raise on damaged bytes
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # a place before the start of the file
    RuntimeError,  # encrypted, a feature that zipfile lacks, a header nested too deeply
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
)


class _File(io.FileIO):
    """A file that yields at most `LONGEST_READ` bytes at once: `zipfile` reads its directory as one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LONGEST_READ:
            raise zipfile.BadZipFile("its directory is too long")
        return super().read(size)


def read_npz(path: Path, max_bytes: int) -> Table:
    """The table in the arrays `x` and `y` (or `X` and `y`) of an NPZ file.

    x is (m, d), or (m,) for one column, or has more dimensions, which are flattened: three are images (m, rows,
    columns). y is (m,) or (m, k). Both hold booleans, integers or real numbers, all finite.
    Raises `ValueError` for anything else, before it allocates more than `max_bytes`.
    """
    with _File(str(path)) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except DAMAGED as error:
            raise _damaged(place(path), error) from None
        with archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            x_name = "x" if "x" in names else "X"
            for name in (x_name, "y"):
                if names.count(name) != 1 or {"x", "X"} <= set(names):
                    what = f"needs one array x (or X) and one array y, and holds {listed(names) or 'none'}"
                    raise refusal(place(path), what, "save it with numpy.savez(path, x=inputs, y=targets)")
            x = _array(path, archive, x_name, max_bytes)
            y = _array(path, archive, "y", max_bytes)
    if y.ndim > 2:
        remedy = "reshape it to (samples,) or (samples, targets)"
        raise refusal(place(path), f"y has {y.ndim} dimensions", remedy)
    if len(x) != len(y):
        what = f"{x_name} has {len(x):,} samples and y has {len(y):,}"
        raise refusal(place(path), what, "save one target for each sample")
    image_shape = (x.shape[1], x.shape[2]) if x.ndim == 3 else None
    flat = x.reshape(len(x), -1)
    return Table(
        source=place(path),
        name=escaped(path.stem),
        x=flat,
        y=y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y,
        features=column_names(flat.shape[1], image_shape),
        target="y",
        classes=None,
        row=lambda sample: f"y[{sample}]",
        pixels=x.ndim > 2 and x.dtype == np.uint8,
        image_shape=image_shape,
        note=f"arrays {x_name} and y",
    )


def _damaged(where: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return refusal(where, f"is damaged or not NPZ ({shown(reason, 100)[1:-1]})", "save or copy it again")


def _array(path: Path, archive: zipfile.ZipFile, name: str, max_bytes: int) -> NDArray[Any]:
    """The array `name`, read after its header and the archive's directory agree on a size that is allowed."""
    info = archive.getinfo(f"{name}.npy")
    where = f"{place(path)}, array {name}"
    if info.compress_type not in COMPRESSIONS:
        raise refusal(where, "is compressed by a method that numpy does not write", "use numpy.savez_compressed")
    try:
        with archive.open(info) as member:
            shape, dtype = _header(member)
            content = info.file_size - member.tell()
    except DAMAGED as error:
        raise _damaged(where, error) from None
    _require_real(where, dtype)
    if not shape or min(shape) < 1:
        raise refusal(where, f"is of shape {shape}", "it needs one sample and one column at least")
    count = math.prod(shape)
    needed = max(8, dtype.itemsize) * count
    if needed > max_bytes:
        what = f"its {count:,} numbers take {needed:,} bytes as float64"
        raise refusal(where, what, f"{limit(max_bytes)} or take fewer rows")
    if count // shape[0] > MAX_COLUMNS:
        remedy = f"at most {MAX_COLUMNS:,} are read: rows must be samples"
        raise refusal(where, f"has {count // shape[0]:,} numbers a sample", remedy)
    if count * dtype.itemsize != content:
        what = f"holds {content:,} bytes of numbers where its shape {shape} announces {count * dtype.itemsize:,}"
        raise refusal(where, what, "save or copy it again")
    try:
        with archive.open(info) as member, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.lib.format.read_array(member, allow_pickle=False, max_header_size=LONGEST_HEADER)
    except DAMAGED as error:
        raise _damaged(where, error) from None
    finite = np.isfinite(array)
    if not finite.all():
        index = [int(i) for i in np.unravel_index(np.argmin(finite), shape)]
        what = f"{name}{index} (row first, counted from 0) is {array[tuple(index)]}"
        raise refusal(place(path), what, "replace it, or leave the row out")
    return array


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype; raises one of `DAMAGED`."""
    version = np.lib.format.read_magic(member)
    with warnings.catch_warnings():  # of a header that Python 2 wrote, of a deprecated name of a dtype
        warnings.simplefilter("ignore")
        try:
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(member, max_header_size=LONGEST_HEADER)
            else:
                header = np.lib.format.read_array_header_2_0(member, max_header_size=LONGEST_HEADER)
        except MemoryError:  # how Python's parser says that brackets are nested too deeply
            raise ValueError("its header cannot be parsed") from None
    shape, _, dtype = header
    return shape, dtype


def _require_real(where: str, dtype: np.dtype[Any]) -> None:
    """Raises `ValueError` unless the numbers are booleans, integers or floats of at most 64 bits."""
    if dtype.kind in "biuf" and dtype.itemsize <= 8:
        return
    if dtype.hasobject:
        what, remedy = "holds Python objects, which are never unpickled", "save it as an array of numbers"
    elif dtype.kind == "c":
        what, remedy = f"holds complex numbers ({dtype})", "save real and imaginary parts as columns"
    elif dtype.kind in "US":
        what, remedy = "holds text", "save class indices: numpy.unique(y, return_inverse=True)[1]"
    else:
        what, remedy = f"holds numbers of type {shown(str(dtype))}", "save it with .astype(numpy.float64)"
    raise refusal(where, what, remedy)
