"""Messages: what is sent comes back bit for bit, and what nobody sent is refused."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compare import wire

MIB = 2**20

TENSORS: dict[str, Callable[[], Tensor]] = {
    "scalar": lambda: torch.tensor(3.0),
    "empty": lambda: torch.empty(0, 3),
    "zero dimensions of nothing": lambda: torch.empty(2, 0, 5, dtype=torch.int32),
    "transposed": lambda: torch.randn(3, 4).t(),
    "sliced": lambda: torch.randn(5, 7)[1:4, ::2],
    "narrow": lambda: torch.randn(100)[3:5],
    "expanded": lambda: torch.randn(3, 1).expand(3, 4),
    "overlapping": lambda: torch.arange(6.0).as_strided((3, 3), (1, 1)),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "bool": lambda: torch.tensor([[True, False]]),
    "float64": lambda: torch.tensor([0.1, -0.0, float("nan"), float("inf"), 5e-324], dtype=torch.float64),
    "float16": lambda: torch.randn(3).half(),
    "bfloat16": lambda: torch.randn(3, 2).bfloat16(),
    "complex64": lambda: torch.randn(2, 3, dtype=torch.complex64),
    "complex128": lambda: torch.randn(2, 3, dtype=torch.complex128).t(),
    "complex scalar": lambda: torch.tensor(1 - 2j),
    "complex empty": lambda: torch.empty(0, 2, dtype=torch.complex64),
    "conjugate view": lambda: torch.randn(3, dtype=torch.complex64).conj(),
    "negative view": lambda: torch.randn(3, dtype=torch.complex64).conj().imag,
    "with a graph": lambda: torch.randn(3, requires_grad=True) * 2,
    "parameter": lambda: torch.nn.Parameter(torch.randn(3)),
} | {
    f"{dtype}".removeprefix("torch."): lambda dtype=dtype: torch.tensor([0, 1, 100], dtype=dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint64)
}


def same(a: Tensor, b: Tensor) -> bool:
    a, b = (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t.resolve_neg() for t in (a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = (t.detach().contiguous().flatten().view(torch.uint8) for t in (a, b))
    return torch.equal(*bits)


def through_wire(head, tensors):
    pieces = b"".join(wire.encode(head, tensors))
    reader = wire.Reader(2**20)
    while reader.wanted:
        n = min(reader.wanted, random.randint(1, 50))
        reader.feed(pieces[:n])
        pieces = pieces[n:]
    assert not pieces
    return reader.message()


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_travels_bit_for_bit(name):
    sent = TENSORS[name]()
    _, got = through_wire({}, {name: sent})
    assert same(got[name], sent)
    assert not got[name].requires_grad
    assert got[name].untyped_storage().nbytes() == sent.numel() * sent.element_size()


def test_tensors_that_share_memory_and_any_names_travel():
    a = torch.randn(4)
    sent = {"a": a, "": a, "__metadata__": a[1:], "dW[2] é\n": a.t(), "0": a.view(2, 2)}
    head, got = through_wire({"x": [1, None, "é", 0.1]}, sent)
    assert head == {"x": [1, None, "é", 0.1]}
    assert list(got) == list(sent)
    assert all(same(got[name], sent[name]) for name in sent)
    got["a"].zero_()
    assert not torch.equal(got[""], got["a"])


@pytest.mark.parametrize(
    ("head", "tensors", "says"),
    [
        ({}, {"a": torch.eye(2).to_sparse()}, "not dense"),
        ({}, {"a": torch.empty(2, device="meta")}, "not dense"),
        ({}, {"a": torch.ones(2).to(torch.float8_e4m3fn)}, "float8"),
        ({}, {"a": 3.0}, "must be a tensor, received float"),
        ({}, {1: torch.ones(1)}, "must be a string"),
        ({"a": {1, 2}}, {}, "JSON"),
        ({"a": "x" * (17 * MIB)}, {}, "at most"),
    ],
)
def test_what_cannot_be_sent_is_refused(head, tensors, says):
    with pytest.raises(wire.WireError, match=says):
        wire.encode(head, tensors)


def test_deeply_nested_data_is_refused():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(wire.WireError):
        wire.encode({"a": deep}, {})
    with pytest.raises(wire.WireError):
        wire.decode(b"[" * 100_000, b"")


def test_a_promised_size_is_refused_or_not_allocated():
    reader = wire.Reader(2**20)
    with pytest.raises(wire.WireError, match="limit"):
        reader.feed(wire.PREFIX.pack(wire.MAGIC, 10, 2**60))
    with pytest.raises(wire.WireError, match="no message"):
        wire.Reader(2**20).feed(b"x" * wire.PREFIX.size)
    reader = wire.Reader(2**40)
    reader.feed(wire.PREFIX.pack(wire.MAGIC, 10, 2**39))
    reader.feed(b"x" * 1000)
    assert sys.getsizeof(reader._bytes) < 10_000


def test_a_message_that_was_changed_is_read_or_refused_but_nothing_else():
    generator = random.Random(0)
    prefix, packed = wire.encode(
        {"number": 1}, {"a": torch.randn(3, 2), "b": torch.tensor([True]), "c": torch.tensor([1j])}
    )
    text = prefix[wire.PREFIX.size :]
    read = 0
    for _ in range(1500):
        changed = [bytearray(text), bytearray(packed)]
        for _ in range(generator.randint(1, 4)):
            part = generator.choice(changed)
            part[generator.randrange(min(len(part), 300))] = generator.choice([0, 34, 44, 48, 57, 93, 255])
        with contextlib.suppress(wire.WireError):
            _, tensors = wire.decode(bytes(changed[0]), bytes(changed[1]))
            read += 1
            for tensor in tensors.values():
                tensor.sum().item()
    assert read > 20


@pytest.mark.parametrize("head", ["[]", '{"head": 1, "tensors": []}', '{"head": {}, "tensors": 3}', "1e999", "\xff"])
def test_a_head_of_another_form_is_refused(head):
    with pytest.raises(wire.WireError):
        wire.decode(head.encode("latin-1"), b"")


def test_a_bool_that_is_neither_is_made_one():
    pieces = wire.encode({}, {"b": torch.tensor([True, False])})
    packed = bytearray(pieces[1])
    packed[-2:] = b"\x07\x00"
    _, tensors = wire.decode(pieces[0][wire.PREFIX.size :], bytes(packed))
    assert tensors["b"].view(torch.uint8).tolist() == [1, 0]
