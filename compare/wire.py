"""Messages between the harness and a child: a JSON object and named tensors, with their lengths before them.

    magic (4 bytes) | length of the JSON (4) | length of the tensors (8) | JSON | tensors in safetensors format

The JSON has the tensors' names and shapes; their entries lie end to end, in one safetensors tensor for each dtype: a
check exchanges many messages of many small tensors, and one is written as fast as twenty.

Nothing is pickled, and nothing that arrives is trusted: lengths are bounded before anything is kept, and what does not
parse, or parses to something that this module would not have written, raises `WireError`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

PREFIX = struct.Struct("<4sIQ")
MAGIC = b"mbp1"
MAX_JSON = 16 * 2**20  # bytes; a message's numbers travel as tensors
MAX_TENSORS = 10_000
MAX_DIMENSIONS = 64  # what torch itself can index

DTYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
    | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64}
)  # complex tensors travel as pairs of their real and imaginary parts


class WireError(ValueError):
    """Bytes that are no message, or a value that cannot be sent in one."""


def one_line(text: str, longest: int = 500) -> str:
    r"""`text` on one printable line of at most `longest` characters.

    Line breaks become spaces and every other unprintable character its Python escape (`\x1b`, `\u202e`), so that text
    from a user's code can neither move a terminal's cursor nor look like a line of the harness.
    """
    text = " ".join(str(text)[: 4 * longest].split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def encode(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[bytes]:
    """The message as a list of byte strings to send one after the other.

    Tensors of any strides, aliases of each other, on any device, with or without a graph are sent by value. Raises
    `WireError` for a value that JSON does not have, and for tensors that are not dense or have a dtype that does not
    travel.
    """
    names: list[list[object]] = []
    entries: dict[str, list[Tensor]] = {}  # by dtype
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise WireError(f"a tensor's name must be a string, received {type(name).__name__}")
        if not isinstance(tensor, Tensor):
            raise WireError(f"{one_line(name, 60)!r} must be a tensor, received {type(tensor).__name__}")
        dense = _dense(name, tensor)
        dtype = str(dense.dtype).removeprefix("torch.")
        names.append([name, tensor.dtype.is_complex, dtype, list(dense.shape)])
        entries.setdefault(dtype, []).append(dense.reshape(-1))
    try:
        text = json.dumps({"head": head, "tensors": names}).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"the data cannot be written as JSON: {one_line(str(error), 200)}") from None
    if len(text) > MAX_JSON:
        raise WireError(f"the data takes {len(text):,} bytes as JSON; at most {MAX_JSON:,} can be sent")
    if len(names) > MAX_TENSORS:
        raise WireError(f"{len(names):,} tensors; at most {MAX_TENSORS:,} can be sent in one message")
    packed = safetensors.torch.save({dtype: torch.cat(parts) for dtype, parts in entries.items()}) if entries else b""
    return [PREFIX.pack(MAGIC, len(text), len(packed)) + text, packed]


def _dense(name: str, tensor: Tensor) -> Tensor:
    """`tensor`'s entries as a dense contiguous tensor on the CPU."""
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        raise WireError(f"{one_line(name, 60)!r} is not dense; send a tensor with all its entries")
    dense = tensor.detach().as_subclass(Tensor).cpu().resolve_conj().resolve_neg()
    if dense.dtype.is_complex:
        dense = torch.view_as_real(dense)
    if dense.dtype not in DTYPES:
        raise WireError(f"{one_line(name, 60)!r} has dtype {tensor.dtype}, which cannot be sent; convert it first")
    return dense.contiguous()


class Reader:
    """Collects one message from pieces of any size, and never more than `most` bytes of tensors.

    `wanted` is the number of bytes still missing, as far as it is known yet: 0 when the message is whole.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.wanted = PREFIX.size
        self._json_length = 0
        self._known = False  # the prefix has been read
        self._bytes = bytearray()  # grows with what arrives, never with what a prefix promises

    def feed(self, piece: bytes) -> None:
        """Adds at most `wanted` bytes. Raises `WireError` as soon as the prefix is no message's or exceeds a bound."""
        self._bytes += piece
        self.wanted -= len(piece)
        if self.wanted or self._known:
            return
        magic, self._json_length, tensors_length = PREFIX.unpack(self._bytes)
        if magic != MAGIC:
            raise WireError("the bytes received are no message")
        if self._json_length > MAX_JSON or tensors_length > self.most:
            raise WireError(f"a message of {self._json_length + tensors_length:,} bytes; the limit is {self.most:,}")
        self._known = True
        self._bytes.clear()
        self.wanted = self._json_length + tensors_length

    def message(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The whole message's head and tensors; see `decode`."""
        split = self._json_length
        whole = memoryview(self._bytes)
        return decode(bytes(whole[:split]), bytes(whole[split:]))


def decode(text: bytes, packed: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The head and the tensors of a message: contiguous CPU tensors that own their memory.

    Raises `WireError` for anything that `encode` would not have written.
    """
    try:
        outer = json.loads(text)
        head, names = outer["head"], outer["tensors"]
        if not isinstance(head, dict) or not isinstance(names, list) or len(names) > MAX_TENSORS:
            raise WireError("the message's head is malformed")
        entries = safetensors.torch.load(packed) if packed else {}
        taken = dict.fromkeys(entries, 0)
        tensors: dict[str, Tensor] = {}
        for name, is_complex, dtype, shape in names:
            if not isinstance(name, str) or not isinstance(is_complex, bool) or name in tensors:
                raise WireError("the names of the message's tensors are malformed")
            if len(shape) > MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
                raise WireError("the shapes of the message's tensors are malformed")
            first, taken[dtype] = taken[dtype], taken[dtype] + math.prod(shape)
            part = entries[dtype].narrow(0, first, taken[dtype] - first)
            tensors[name] = _checked(part.reshape(shape).clone(), is_complex)
        if any(taken[dtype] != every.numel() for dtype, every in entries.items()):
            raise WireError("the message's tensors are not those that its head names")
    except WireError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, AssertionError, OverflowError) as error:
        # json and safetensors have no one error for "malformed"; RecursionError is a RuntimeError
        raise WireError(f"the message is malformed ({type(error).__name__})") from None
    return head, tensors


def _checked(tensor: Tensor, is_complex: bool) -> Tensor:
    if tensor.dtype not in DTYPES:
        raise WireError(f"a tensor of dtype {tensor.dtype}")
    if tensor.dtype == torch.bool:
        return tensor.view(torch.uint8) != 0  # a byte other than 0 and 1 is no bool, and torch does not look
    if not is_complex:
        return tensor
    if tensor.dtype not in (torch.float64, torch.float32, torch.float16) or tensor.shape[-1:] != (2,):
        raise WireError("a complex tensor must be sent as pairs of floating-point numbers")
    return torch.view_as_complex(tensor)
