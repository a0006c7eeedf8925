"""Values of a check as JSON and tensors, and back: what can cross between processes without pickling.

`pack` and `unpack` know numbers, strings, tensors with their strides, arrays, tuples, lists, dictionaries, sets, dtypes
and the check's own dataclasses; `unpack` verifies every field of a dataclass against its annotation, since what it is
given may come from a process that runs a user's code.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.check.backward import Given
from compare.check.conditions import Condition
from compare.check.evaluation import Comparison, Evaluation
from compare.check.inputs import Values
from compare.check.precision import Loss
from compare.check.report import Report, Row, Tried
from compare.wire import WireError

RECORDS: dict[str, Any] = {
    r.__name__: r for r in (Comparison, Condition, Evaluation, Given, Loss, Report, Row, Tried, Values)
}


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """`value` as what JSON can hold and a dict of tensors. Raises WireError for what cannot be sent."""
    tensors: dict[str, Tensor] = {}
    return _packed(value, tensors, ""), tensors


def _packed(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
    def inner(entry: Any, step: object) -> Any:
        return _packed(entry, tensors, f"{path}.{step}" if path else str(step))

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Tensor):
        return {"tensor": _kept(value, tensors)} | _layout(value)
    if isinstance(value, np.ndarray):
        try:
            return {"array": _kept(torch.from_numpy(np.array(value)), tensors)}
        except TypeError:  # objects, strings, dates
            raise WireError(f"{path or 'the value'} is an array of {value.dtype}; convert it to numbers") from None
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, tuple):
        return {"tuple": [inner(entry, i) for i, entry in enumerate(value)]}
    if isinstance(value, list):
        return [inner(entry, i) for i, entry in enumerate(value)]
    if isinstance(value, set | frozenset):
        return {"set": [inner(entry, "") for entry in sorted(value, key=str)]}
    if isinstance(value, Mapping):
        return {"dict": [[inner(key, "key"), inner(entry, key)] for key, entry in value.items()]}
    if type(value).__name__ in RECORDS and dataclasses.is_dataclass(value):
        fields = {f.name: inner(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        return {"record": type(value).__name__, "fields": fields}
    raise WireError(
        f"{path or 'the value'} is of type {type(value).__name__}; only tensors, arrays, numbers, strings, "
        "tuples, lists and dicts can be handed to another process"
    )


def _kept(tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    name = str(len(tensors))
    tensors[name] = tensor
    return name


def _layout(tensor: Tensor) -> dict[str, Any]:
    """Strides and device, where they are not the plain ones: a backward's `.view` depends on them."""
    layout: dict[str, Any] = {}
    if tensor.layout == torch.strided and not tensor.is_contiguous():
        layout["strides"] = list(tensor.stride())
    if tensor.device.type != "cpu":
        layout["device"] = str(tensor.device)
    return layout


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What was packed. Raises WireError for anything that `pack` would not have made."""
    try:
        return _unpacked(packed, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, WireError):
            raise
        raise WireError(f"the value is malformed ({type(error).__name__})") from None


def _unpacked(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(packed, list):
        return [_unpacked(entry, tensors) for entry in packed]
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return _laid_out(tensors[packed["tensor"]], packed)
    if "array" in packed:
        return tensors[packed["array"]].numpy()
    if "complex" in packed:
        return complex(*packed["complex"])
    if "dtype" in packed:
        dtype = getattr(torch, packed["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise WireError("a dtype is malformed")
        return dtype
    if "tuple" in packed:
        return tuple(_unpacked(entry, tensors) for entry in packed["tuple"])
    if "set" in packed:
        return frozenset(_unpacked(entry, tensors) for entry in packed["set"])
    if "dict" in packed:
        return {_unpacked(key, tensors): _unpacked(entry, tensors) for key, entry in packed["dict"]}
    record = RECORDS[packed["record"]]
    values = {name: _unpacked(entry, tensors) for name, entry in packed["fields"].items()}
    hints = _hints(record)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise WireError(f"{packed['record']}.{name} is malformed")
    return record(**values)


@functools.cache
def _hints(record: Any) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _laid_out(tensor: Tensor, packed: Mapping[str, Any]) -> Tensor:
    device = torch.device(packed.get("device", "cpu"))
    strides = packed.get("strides")
    if strides is None:
        return tensor.to(device)
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))
    if tensor.numel() == 0 or extent > 4 * tensor.numel() or min(strides) < 0 or 0 in strides:
        return tensor.to(device)  # a slice of something much larger, or entries that share memory: the values alone
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=device).copy_(tensor)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, as far as the records here use types."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin in (list, frozenset, set):
        return isinstance(value, origin) and all(_fits(entry, args[0]) for entry in value)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return isinstance(value, tuple) and all(_fits(entry, args[0]) for entry in value)
        return (
            isinstance(value, tuple)
            and len(value) == len(args)
            and all(_fits(e, a) for e, a in zip(value, args, strict=True))
        )
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint or (isinstance(hint, type) and not isinstance(value, bool) and isinstance(value, hint))
