"""Files as data: what is read comes back number for number, and what is refused is refused in one line."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compare.run import csv_file
from compare.run.data import load_data
from compare.run.files import read_file
from compare.run.table import Table

QUICK = settings(max_examples=120, deadline=None, database=None, derandomize=True)
LIMIT = 2**22


def read(path: Path, target: str | None = None, labels: str | None = None, **options: Any) -> Table:
    arguments: dict[str, Any] = {"task": "auto", "max_bytes": LIMIT, **options}
    return read_file(path, target=target, labels=labels, **arguments)


def refused(path: Path, **options: Any) -> str:
    """The message of the refusal, which is one printable line: place, what is wrong, remedy."""
    with pytest.raises(ValueError, match=r".") as caught:
        load_data(str(path), max_bytes=options.pop("max_bytes", LIMIT), **options)
    message = str(caught.value)
    assert type(caught.value) is ValueError
    assert message.isprintable()
    assert ": " in message
    assert "; " in message, "the remedy comes after a semicolon"
    return message


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    types = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
    return bytes([0, 0, kind, array.ndim]) + sizes + array.astype(types[kind]).tobytes()


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


def npz_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npy(descr: str, shape: str, content: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


X = np.arange(24.0).reshape(8, 3)
Y = np.arange(8) % 2
IMAGES = (np.arange(48) * 5 % 251).reshape(8, 2, 3).astype(np.uint8)


# --- CSV ----------------------------------------------------------------------------------------------------

PLAIN = b"a,b,t\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b",", b";"),
        PLAIN.replace(b",", b"\t"),
        PLAIN.replace(b",", b" , "),
        PLAIN.rstrip(b"\n"),
        PLAIN + b"\n\r\n  \n",
        b'"a","b","t"\n"1","2","x"\n3,4,y\n5,6,"x"\n+7.0,0.8e1,y',
    ],
    ids=["plain", "BOM", "CRLF", "CR", "semicolon", "tab", "blanks", "no last end", "blank lines last", "quoted"],
)
def test_dialects_of_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    table = read(tmp_path / "d.csv", "t")
    assert table.features == ("a", "b")
    assert table.classes == ("x", "y")
    assert table.y.tolist() == [0, 1, 0, 1]
    assert table.x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_unicode_quotes_and_line_ends_inside_cells(tmp_path: Path) -> None:
    content = 'ação,"peso, kg",クラス\n1,2,"é, ""sim"""\n3,4,"two\nlines"\n5,6,"é, ""sim"""\n7,oops,z\n'
    (tmp_path / "d.csv").write_text(content, encoding="utf-8")
    message = refused(tmp_path / "d.csv", target="クラス")
    assert "row 6, column 'peso, kg'" in message, "rows are counted as an editor shows them"
    (tmp_path / "d.csv").write_text(content.replace("oops", "8"), encoding="utf-8")
    table = read(tmp_path / "d.csv", "クラス")
    assert table.features == ("ação", "peso, kg")
    assert table.classes == ("two\\nlines", "z", 'é, "sim"')
    assert [table.row(i) for i in range(4)] == ["row 2", "row 3", "row 5", "row 6"]


@given(x=hnp.arrays(np.float64, (5, 2), elements=st.floats(allow_nan=False, allow_infinity=False)))
@QUICK
def test_numbers_of_a_csv_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, x: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "round.csv"
    path.write_text("a,b,t\n" + "".join(f"{a!r},{b!r},{i}.5\n" for i, (a, b) in enumerate(x.tolist())))
    table = read(path, "t")
    assert table.x.tobytes() == x.tobytes()
    assert table.y.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_a_row_whose_sum_overflows_is_finite(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b,t\n1e308,1.7e308,0.5\n-1,2,1.5\n")
    assert read(tmp_path / "d.csv", "t").x.tolist() == [[1e308, 1.7e308], [-1, 2]]


CSV_REFUSED: list[tuple[str, bytes, dict[str, Any], list[str]]] = [
    ("empty", b"", {}, ["is empty"]),
    ("only a byte-order mark", b"\xef\xbb\xbf", {}, ["row 1", "no header"]),
    ("header only", b"a,t\n", {}, ["no rows", "add rows"]),
    ("blank header", b"\n1,2\n", {}, ["row 1", "is blank", "delete the line"]),
    ("no header", b"1,2\n3,4\n", {}, ["row 1", "not names", "add a header"]),
    ("one column", b"t\n1\n2\n", {}, ["row 1", "single column, 't'", "at least one input"]),
    ("no name", b"a,,t\n1,2,3\n", {}, ["row 1", "column 2 has no name", "name it"]),
    ("equal names", b"a,t,a\n1,2,3\n", {}, ["columns 1 and 3", "'a'", "rename"]),
    ("target not given", b"a,b\n1,2\n", {"target": None}, ["not named", "--target", "a, b"]),
    ("target missing", b"alpha,beta\n1,2\n", {"target": "betta"}, ["no column 'betta'", "but 'beta'", "alpha, beta"]),
    ("ragged, short", b"a,b,t\n1,2,x\n3,y\n", {}, ["row 3", "2 cells", "3 columns", "correct the row"]),
    ("ragged, long", b"a,t\n1,x,\n", {}, ["row 2", "3 cells", "2 columns"]),
    ("blank cell", b"a,b,t\n1,2,x\n3,,y\n", {}, ["row 3, column 'b'", "blank", "fill it in"]),
    ("blank target", b"a,t\n1,x\n2,\n", {}, ["row 3, column 't'", "blank"]),
    ("blank line", b"a,t\n1,x\n\n2,y\n", {}, ["row 3", "is blank", "delete the line"]),
    ("nan", b"a,t\n1,x\nNaN,y\n", {}, ["row 3, column 'a'", "'NaN'", "finite"]),
    ("inf", b"a,t\n1,x\n-inf,y\n", {}, ["row 3, column 'a'", "'-inf'"]),
    ("overflow", b"a,t\n1e999,x\n", {}, ["row 2, column 'a'", "'1e999'", "finite"]),
    ("nan target", b"a,t\n1,1\n2,nan\n", {}, ["row 3, column 't'", "'nan'"]),
    ("text", b"a,t\n1,x\nred,y\n", {}, ["row 3, column 'a'", "'red' is not a number", "remove the column"]),
    ("underscore", b"a,t\n1_000,x\n", {}, ["row 2, column 'a'", "'1_000' is not a number"]),
    ("decimal comma", b"a;t\n1,5;x\n", {}, ["row 2, column 'a'", "decimal comma", "with a point"]),
    ("NA among numbers", b"a,t\n1,1.5\n2,2.5\n3,NA\n", {}, ["row 4, column 't'", "'NA'", "--task classes"]),
    ("text for regression", b"a,t\n1,x\n2,y\n", {"task": "regression"}, ["row 2, column 't'", "'x'", "numbers"]),
    ("one class", b"a,t\n1,x\n2,x\n", {}, ["'t'", "one class", "target"]),
    ("one number", b"a,t\n1,3\n2,3\n", {}, ["'t'", "one class"]),
    ("constant", b"a,t\n1,.5\n2,.5\n3,.5\n", {}, ["'t'", "constant", "target"]),
    ("a class of one", b"a,t\n1,x\n2,x\n3,y\n", {}, ["class 'y' has 1 sample (row 4)", "add rows"]),
    ("not binary", b"a,t\n1,x\n2,y\n3,z\n", {"task": "binary"}, ["class 'x'", "row 2"]),
    ("two rows", b"a,t\n1,.5\n2,.7\n", {}, ["2 rows", "add rows"]),
    ("too few to validate", PLAIN, {}, ["4 rows", "each of the 2 classes", "--val-fraction 0.5"]),
    ("latin-1", "a,t\n1,é\n".encode("latin-1"), {}, ["row 2", "UTF-8", "save"]),
    ("utf-16", "a,t\n1,x\n".encode("utf-16"), {}, ["row 1", "UTF-8", "save"]),
    ("NUL", b"a,t\n1,x\0\n", {}, ["row 2", "NUL", "save"]),
    ("a zip file", npz(x=X), {}, ["row 1", "not", "save"]),
    ("open quote", b'a,t\n1,"x\n2,y\n', {}, ["row 3", "not CSV", "quotes"]),
    ("text after a quote", b'a,t\n1,"x"y\n', {}, ["row 2", "not CSV", "quotes"]),
    ("cell too long", b"a,t\n1," + b"x" * 200_000, {}, ["row 2", "not CSV", "field limit"]),
    ("control characters", b"a,t\x1b[2J\n1,2\n", {"target": "u"}, ["t\\x1b[2J"]),
    ("too large", PLAIN, {"max_bytes": 20}, ["30 bytes", "limit is 20", "--max-bytes"]),
    ("numbers too large", b"a,t\n" + b"1,2\n" * 40, {"max_bytes": 165}, ["row 7", "limit is 165", "--max-bytes"]),
    ("labels for CSV", PLAIN, {"labels": "x"}, ["--labels", "CSV", "--target"]),
]


@pytest.mark.parametrize(("content", "options", "said"), [c[1:] for c in CSV_REFUSED], ids=[c[0] for c in CSV_REFUSED])
def test_csv_is_refused(tmp_path: Path, content: bytes, options: dict[str, Any], said: list[str]) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    message = refused(path, **{"target": "t", **options})
    assert message.startswith(str(path)), "the file comes first"
    for words in said:
        assert words in message


def test_a_line_without_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "LONGEST_LINE", 1000)
    (tmp_path / "d.csv").write_text("a,t\n" + "1," * 1000)
    assert "row 2: is longer than 1,000 characters" in refused(tmp_path / "d.csv", target="t")


def test_class_names_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MAX_CLASSES", 5)
    (tmp_path / "d.csv").write_text("a,t\n" + "".join(f"1,c{i}\n" for i in range(9)))
    assert "5 names at most" in refused(tmp_path / "d.csv", target="t")
    (tmp_path / "d.csv").write_text("a,t\n" + "".join(f"1,{i}.5\n" for i in range(9)))
    assert read(tmp_path / "d.csv", "t").y.tolist() == [i + 0.5 for i in range(9)]


def test_numbers_and_texts_in_a_target(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,t\n1,7\n2,x\n3,7\n4,7\n5,x\n")
    assert "'x'" in refused(tmp_path / "d.csv", target="t")
    table = read(tmp_path / "d.csv", "t", task="classes")
    assert table.classes == ("7", "x")
    assert table.y.tolist() == [0, 1, 0, 0, 1]


# --- NPZ ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "u1", "<i8", ">i4", "f2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_an_npz_come_back(tmp_path: Path, compressed: bool, dtype: str, order: str) -> None:
    x = np.array(X % 2 if dtype == "bool" else X, dtype=dtype, order=order)  # type: ignore[call-overload]
    (tmp_path / "d.npz").write_bytes(npz(compressed, X=x, y=Y[:, None], other=np.array(["text"])))
    table = read(tmp_path / "d.npz")
    np.testing.assert_array_equal(table.x, x)
    np.testing.assert_array_equal(table.y, Y)
    assert table.features == ("x0", "x1", "x2")
    assert table.note == "arrays X and y"
    assert not table.pixels


def test_shapes_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(npz(x=X[:, 0], y=X[:, :2]))
    table = read(path)
    assert (table.x.shape, table.y.shape) == ((8, 1), (8, 2))
    path.write_bytes(npz(x=IMAGES, y=Y))
    table = read(path)
    assert (table.x.shape, table.image_shape, table.pixels) == ((8, 6), (2, 3), True)
    assert table.features[:2] == ("pixel_0_0", "pixel_0_1")
    path.write_bytes(npz(x=X.reshape(2, 2, 3, 2), y=Y[:2]))
    table = read(path)
    assert (table.x.shape, table.image_shape, table.pixels) == ((2, 12), None, False)


with_nan = X.copy()
with_nan[5, 1] = np.nan
BOMB = npz_of({"x.npy": npy("'<f8'", "(8, 3)", bytes(2**23)), "y.npy": npy("'<f8'", "(8,)")}, zipfile.ZIP_DEFLATED)
WIDE = np.zeros((8, 400), np.uint8)
FLIPPED = bytearray(npz(x=X, y=Y))
FLIPPED[FLIPPED.find(X[1].tobytes())] ^= 1

NPZ_REFUSED: list[tuple[str, bytes, dict[str, Any], list[str]]] = [
    ("empty", b"", {}, ["is empty"]),
    ("not a zip", b"hello world", {}, ["not NPZ", "again"]),
    ("cut short", npz(x=X, y=Y)[:-30], {}, ["damaged", "again"]),
    ("a flipped bit", bytes(FLIPPED), {}, ["array x", "CRC", "again"]),
    ("no y", npz(x=X, z=Y), {}, ["one array y", "x, z", "numpy.savez"]),
    ("x and X", npz(x=X, X=X, y=Y), {}, ["x (or X)", "numpy.savez"]),
    ("nothing", npz_of({"readme": b""}), {}, ["holds none", "numpy.savez"]),
    ("objects", npz(x=np.array([[1], None], object), y=Y), {}, ["array x", "never unpickled", "numbers"]),
    ("complex", npz(x=X + 1j, y=Y), {}, ["array x", "complex128", "columns"]),
    ("text", npz(x=X, y=np.array(list("abababab"))), {}, ["array y", "text", "numpy.unique"]),
    ("dates", npz(x=X.astype("M8[s]"), y=Y), {}, ["array x", "datetime64", "float64"]),
    ("long double", npz(x=X.astype("g"), y=Y), {}, ["array x", "float", "astype"]),
    ("structured", npz(x=np.zeros(8, [("a", "f8")]), y=Y), {}, ["array x", "'a'", "astype"]),
    ("nan", npz(x=with_nan, y=Y), {}, ["x[5, 1]", "nan", "counted from 0", "replace"]),
    ("inf", npz(x=X, y=np.where(Y, np.inf, 0)), {}, ["y[1]", "inf"]),
    ("lengths", npz(x=X, y=Y[:7]), {}, ["8 samples", "y has 7"]),
    ("one number", npz(x=np.float64(3), y=Y), {}, ["array x", "shape ()"]),
    ("no columns", npz(x=X[:, :0], y=Y), {}, ["array x", "(8, 0)"]),
    ("y of three dimensions", npz(x=X, y=np.zeros((8, 1, 1))), {}, ["y has 3 dimensions", "reshape"]),
    ("not one-hot", npz(x=X, y=X), {"task": "classes"}, ["3 columns", "one-hot", "--task regression"]),
    ("bomb", BOMB, {}, ["array x", "8,388,608", "announces 192"]),
    ("too large as float64", npz(x=WIDE, y=Y), {"max_bytes": 10_000}, ["25,600 bytes", "10,000", "--max-bytes"]),
    (
        "a lying shape",
        npz_of({"x.npy": npy("'<f8'", "(99999999999, 99999999999)"), "y.npy": npy("'<f8'", "(8,)")}),
        {},
        ["array x", "limit is", "--max-bytes"],
    ),
    ("negative", npz_of({"x.npy": npy("'<f8'", "(-1, 8)"), "y.npy": b""}), {}, ["array x", "(-1, 8)"]),
    ("too wide", npz_of({"x.npy": npy("'u1'", "(1, 1048577)"), "y.npy": b""}), {"max_bytes": 2**30}, ["1,048,577"]),
    ("deep header", npz_of({"x.npy": npy("(" * 90, "(8,)"), "y.npy": b""}), {}, ["array x", "damaged"]),
    ("code in a header", npz_of({"x.npy": npy("__import__('os')", "(8,)"), "y.npy": b""}), {}, ["damaged"]),
    ("lzma", npz_of({"x.npy": npy("'<f8'", "(8,)"), "y.npy": b""}, zipfile.ZIP_LZMA), {}, ["compressed", "numpy"]),
    ("target for NPZ", npz(x=X, y=Y), {"target": "t"}, ["--target", "NPZ", "y"]),
]


@pytest.mark.parametrize(("content", "options", "said"), [c[1:] for c in NPZ_REFUSED], ids=[c[0] for c in NPZ_REFUSED])
def test_npz_is_refused(tmp_path: Path, content: bytes, options: dict[str, Any], said: list[str]) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    message = refused(path, **options)
    assert message.startswith(str(path)), "the file comes first"
    for words in said:
        assert words in message


class Payload:
    ran = False

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return setattr, (Payload, "ran", True)


def test_a_pickle_in_an_npz_is_not_run(tmp_path: Path) -> None:
    payload = np.array([Payload()] * 8, dtype=object)
    (tmp_path / "d.npz").write_bytes(npz(x=payload, y=payload))
    assert "never unpickled" in refused(tmp_path / "d.npz")
    assert not Payload.ran


def test_a_long_zip_directory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compare.run.npz_file.LONGEST_READ", 1000)
    (tmp_path / "d.npz").write_bytes(npz_of({f"{i:090}": b"" for i in range(20)}))
    assert "directory is too long" in refused(tmp_path / "d.npz")


# --- IDX ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E])
@pytest.mark.parametrize("zipped", [False, True])
def test_images_of_an_idx_come_back(tmp_path: Path, kind: int, zipped: bool) -> None:
    images = np.minimum(IMAGES, 127)
    content = idx(images, kind)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' * zipped}"
    path.write_bytes(gzip.compress(content) if zipped else content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(Y))
    table = read(path)
    np.testing.assert_array_equal(table.x, images.reshape(8, 6))
    np.testing.assert_array_equal(table.y, Y)
    assert (table.image_shape, table.pixels, table.labelled) == ((2, 3), kind == 0x08, True)
    assert (table.name, table.target) == ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


def test_labels_are_found_or_named(tmp_path: Path) -> None:
    images = tmp_path / "my-images"
    images.write_bytes(idx(IMAGES.reshape(8, 6)))
    assert "my-labels.gz were looked for" in refused(images)
    (tmp_path / "my-labels.gz").write_bytes(gzip.compress(idx(Y)))
    table = read(images)
    assert (table.target, table.image_shape, table.pixels) == ("my-labels.gz", None, False)
    (tmp_path / "other").write_bytes(idx(Y + 0.5, 0x0E))
    table = read(images, labels=str(tmp_path / "other"))
    assert table.y.tolist() == (Y + 0.5).tolist()
    assert not table.labelled
    (tmp_path / "data.idx").write_bytes(idx(IMAGES))
    assert "name it with --labels" in refused(tmp_path / "data.idx")


GOOD = idx(IMAGES)
IDX_REFUSED: list[tuple[str, bytes, bytes, dict[str, Any], list[str]]] = [
    ("empty", b"", idx(Y), {}, ["is empty"]),
    ("wrong magic", b"\1" + GOOD[1:], idx(Y), {}, ["not IDX", "01 00 08 03", "00 00 08 03"]),
    ("unknown type", b"\0\0\x0a" + GOOD[3:], idx(Y), {}, ["not IDX", "00 00 0a 03"]),
    ("no dimensions", b"\0\0\x08\0" + GOOD[4:], idx(Y), {}, ["not IDX"]),
    ("cut in the header", GOOD[:9], idx(Y), {}, ["cut short", "header", "again"]),
    ("cut short", GOOD[:-1], idx(Y), {}, ["47 of the 48 bytes", "again"]),
    ("trailing bytes", GOOD + b"\0", idx(Y), {}, ["goes on after the 48 bytes", "again"]),
    ("no images", idx(IMAGES[:0]), idx(Y), {}, ["[0, 2, 3]"]),
    ("a lying header", b"\0\0\x08\3" + b"\xff" * 12, idx(Y), {}, ["limit is", "--max-bytes"]),
    ("too wide", b"\0\0\x08\2\0\0\0\1\0\x20\0\0", idx(Y), {"max_bytes": 2**30}, ["2,097,152 numbers a sample"]),
    ("gzip cut short", gzip.compress(GOOD)[:-9], idx(Y), {}, ["damaged gzip", "again"]),
    ("gzip and more", gzip.compress(GOOD) + b"more", idx(Y), {}, ["damaged gzip", "again"]),
    ("gzip damaged", gzip.compress(GOOD)[:12] + b"\xff\xff" + gzip.compress(GOOD)[14:], idx(Y), {}, ["gzip"]),
    ("gzip of something else", gzip.compress(b"a,b\n1,2\n"), idx(Y), {}, ["not IDX", "61 2c 62 0a"]),
    ("gzip bomb", gzip.compress(GOOD + bytes(2**26)), idx(Y), {}, ["goes on after"]),
    ("labels as images", idx(Y), idx(Y), {}, ["one number a sample", "--data", "--labels"]),
    ("images as labels", GOOD, GOOD, {}, ["t10k-labels", "3 dimensions", "--labels"]),
    ("labels of another set", GOOD, idx(Y[:7]), {}, ["t10k-labels", "7 labels", "8 samples"]),
    ("labels cut short", GOOD, idx(Y)[:-1], {}, ["t10k-labels", "7 of the 8 bytes"]),
    ("a class of one", GOOD, idx(np.array([0, 0, 0, 0, 1, 0, 0, 0])), {}, ["t10k-labels", "'1'", "label 4"]),
    ("nan", idx(np.where(IMAGES == 95, np.nan, IMAGES), 0x0D), idx(Y), {}, ["[3, 0, 1]", "nan", "replace"]),
    ("target for IDX", GOOD, idx(Y), {"target": "t"}, ["--target", "IDX", "--labels"]),
]


@pytest.mark.parametrize(
    ("images", "labels", "options", "said"), [c[1:] for c in IDX_REFUSED], ids=[c[0] for c in IDX_REFUSED]
)
def test_idx_is_refused(tmp_path: Path, images: bytes, labels: bytes, options: dict[str, Any], said: list[str]) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(labels)
    message = refused(tmp_path / "t10k-images-idx3-ubyte", **options)
    assert message.startswith(str(tmp_path)), "the file comes first"
    for words in said:
        assert words in message


# --- any file -----------------------------------------------------------------------------------------------


def test_what_is_not_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "is a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refused(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert "cannot be opened" in refused(tmp_path / "loop.csv")
    assert "cannot be opened" in refused(Path(f"{tmp_path}/a\0b.csv"))
    assert "cannot be opened" in refused(tmp_path / ("long" * 500))
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    assert "no known kind" in refused(tmp_path / "d.parquet")
    (tmp_path / "evil\n\x1b[2J.csv").write_bytes(PLAIN)
    assert "evil\\n\\x1b[2J.csv" in refused(tmp_path / "evil\n\x1b[2J.csv")

    def no(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "d.csv").write_bytes(PLAIN)
    monkeypatch.setattr(Path, "open", no)
    assert "Permission denied" in refused(tmp_path / "d.csv", target="t")


def test_labels_that_are_not_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_bytes(GOOD)
    assert refused(tmp_path / "a.idx", labels=str(tmp_path)).startswith(f"{tmp_path}: is a folder")
    assert "none: no such file" in refused(tmp_path / "a.idx", labels=str(tmp_path / "none"))


def test_memory_that_runs_out_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> None:
        raise MemoryError

    (tmp_path / "d.csv").write_bytes(PLAIN)
    monkeypatch.setattr("compare.run.data.split", no)
    assert "does not fit into memory; take fewer rows" in refused(tmp_path / "d.csv", target="t")


# --- damaged bytes ------------------------------------------------------------------------------------------

TOKENS = [b"\0", b"\n", b"\r", b'"', b",", b";", b"nan", b"1e999", b"_", b"\x80", b"(", b"'", b"-", b"9" * 25]
TOKENS += [b"\xff\xff\xff\xff", b"|O", b"<c16", b"True", b"PK", b"\x1f\x8b"]
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 4), st.sampled_from(TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """`content` with the bytes at each place taken out and others put in; from the end for every odd place."""
    for place, taken, put in edits:
        at = place // 2 if place % 2 == 0 else max(0, len(content) - place // 2)
        content = content[:at] + put + content[at + taken :]
    return content or b"\0"


def data_or_one_line(path: Path, **options: Any) -> None:
    message, data = "", None
    try:
        data = load_data(str(path), max_bytes=LIMIT, **options)
    except ValueError as error:
        message = f"{type(error).__name__}: {error}"
    if data is None:
        assert message.startswith(f"ValueError: {path.parent}")
        assert message.isprintable()
    else:
        assert all(bool(t.isfinite().all()) for t in (data.x_train, data.y_train, data.x_val, data.y_val))
        assert data.note.isprintable()


LONGER = b"".join(b"%d.5,%d,%s\n" % (i, i * i, b"xyz"[i % 3 : i % 3 + 1]) for i in range(16))


@given(edits=EDITS, target=st.sampled_from(["a", "t"]))
@QUICK
def test_damaged_csv(tmp_path_factory: pytest.TempPathFactory, edits: Any, target: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(edited(b"a,b,t\n" + LONGER, edits))
    data_or_one_line(path, target=target)


@given(edits=EDITS, compressed=st.booleans(), inside=st.booleans())
@QUICK
def test_damaged_npz(tmp_path_factory: pytest.TempPathFactory, edits: Any, compressed: bool, inside: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.npz"
    if inside:  # behind valid checksums
        x, y = npy("'<f8'", "(8, 3)", X.tobytes()), npy("'<i8'", "(8,)", Y.astype("<i8").tobytes())
        path.write_bytes(npz_of({"x.npy": edited(x, edits), "y.npy": y}))
    else:
        path.write_bytes(edited(npz(compressed, x=X, y=Y), edits))
    data_or_one_line(path)


@given(edits=EDITS, zipped=st.booleans(), labels=st.booleans())
@QUICK
def test_damaged_idx(tmp_path_factory: pytest.TempPathFactory, edits: Any, zipped: bool, labels: bool) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, content, damage in (("images", GOOD, not labels), ("labels", idx(Y), labels)):
        content = gzip.compress(content) if zipped else content
        (folder / f"fuzz-{name}-idx").write_bytes(edited(content, edits) if damage else content)
    data_or_one_line(folder / "fuzz-images-idx")
