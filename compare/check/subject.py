"""What a user's file asks to have checked: a derivation, a layer or an autograd.Function, found by its names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

import manualbp as mbp
from compare.child import Refusal

PARTS = ("inputs", "forward", "backward")
LAYER_PARTS = ("x", "y", "loss", "twin", "params")


@dataclass(frozen=True)
class Subject:
    """A derivation (inputs, forward, backward), a layer (and x, y, loss, twin, params) or a function with reference."""

    kind: str  # derivation, layer or function
    parts: Mapping[str, Any] = field(default_factory=dict)


def find(module: ModuleType, name: str = "") -> Subject:
    """What the file defines under `name`, or the only thing that it defines. Raises Refusal, in one line."""
    file = _file(module)
    if name:
        subject = _named(module, name)
        if subject is None:
            raise Refusal(f"{file}: {name} is nothing to check: {_lacks(module, name)}")
        return subject
    if all(hasattr(module, part) for part in PARTS):
        return Subject("derivation", {part: getattr(module, part) for part in PARTS})
    found = {each: subject for each in _public(module) if (subject := _named(module, each)) is not None}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise Refusal(
            f"{file} defines several things to check; name one: {', '.join(f'{file}:{each}' for each in found)}"
        )
    there = [part for part in PARTS if hasattr(module, part)]
    missing = " and ".join(part for part in PARTS if part not in there)
    has = f"defines {' and '.join(there)} but not {missing}" if there else f"defines none of {', '.join(PARTS)}"
    raise Refusal(f"{file} {has}; `manualbp new FILE` writes an example")


def find_reference(module: ModuleType, name: str = "") -> Subject:
    """A teacher's derivation: inputs and forward, and if they are there backward and `quantities`, names to grade."""
    holder: Any = _resolved(module, name) if name else module
    parts = {part: _part(holder, part) for part in (*PARTS, "quantities")} if holder is not None else {}
    missing = [part for part in ("inputs", "forward") if parts.get(part) is None]
    if missing:
        raise Refusal(f"{_file(module)} defines no {f'{name}.' if name else ''}{' and no '.join(missing)}")
    listed = parts["quantities"]
    if listed is not None and not (isinstance(listed, list | tuple) and all(isinstance(n, str) for n in listed)):
        raise Refusal(f"{_file(module)}: quantities must be a list of names, got {type(listed).__name__}")
    return Subject("derivation", parts)


def find_backward(module: ModuleType, name: str = "") -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """A submission's backward, and its forward if it has one. Raises Refusal, in one line."""
    holder: Any = _resolved(module, name) if name else module
    backward = _part(holder, "backward") if holder is not None else None
    if not callable(backward):
        raise Refusal(f"{_file(module)} defines no function {f'{name}.' if name else ''}backward")
    forward = _part(holder, "forward")
    return backward, forward if callable(forward) else None


def _named(module: ModuleType, name: str) -> Subject | None:
    """The subject called `name`; None where that is none, or is not complete."""
    thing = _resolved(module, name)
    if thing is None or isinstance(thing, ModuleType):
        return None
    beside = {part: _beside(module, name, thing, part) for part in (*LAYER_PARTS, "inputs", "reference")}
    if isinstance(thing, type) and issubclass(thing, torch.autograd.Function):
        if thing.__module__.startswith("torch."):
            return None  # `from torch.autograd import Function`
        complete = callable(beside["reference"]) and beside["inputs"] is not None
        parts = {"function": thing.apply, "reference": beside["reference"], "inputs": beside["inputs"]}
        return Subject("function", parts) if complete else None
    if isinstance(thing, mbp.Layer) and not isinstance(thing, type):
        parts = {"layer": thing} | {part: beside[part] for part in LAYER_PARTS}
        return Subject("layer", parts) if isinstance(beside["x"], torch.Tensor) else None
    if isinstance(thing, type) and all(hasattr(thing, part) for part in PARTS) and _takes_self(thing):
        thing = thing()
    parts = {part: _part(thing, part) for part in PARTS}
    return Subject("derivation", parts) if all(part is not None for part in parts.values()) else None


def _lacks(module: ModuleType, name: str) -> str:
    """Why `_named` gave None."""
    thing = _resolved(module, name)
    if thing is None:
        others = [each for each in _public(module) if _named(module, each) is not None]
        return f"the file does not define it; it has {', '.join(others) or 'no derivation, layer or function'}"
    if isinstance(thing, type) and issubclass(thing, torch.autograd.Function):
        return f"a Function needs {name}_reference, the same in plain torch, and {name}_inputs beside it"
    if isinstance(thing, mbp.Layer):
        return f"a Layer needs a batch beside it: {name}_x = torch.randn(8, 3), one sample a row"
    missing = [part for part in PARTS if _part(thing, part) is None]
    return f"it has no {' and no '.join(missing)}"


def _public(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def _resolved(module: ModuleType, name: str) -> Any:
    thing: Any = module
    for step in name.split("."):
        thing = _part(thing, step)
    return thing


def _part(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _beside(module: ModuleType, name: str, thing: Any, part: str) -> Any:
    """NAME_part of the file, or the attribute `part`, or the file's own `part`."""
    own = getattr(thing, part, None) if isinstance(thing, type) else None
    for value in (getattr(module, f"{name.replace('.', '_')}_{part}", None), own, getattr(module, part, None)):
        if value is not None:
            return value
    return None


def _takes_self(cls: type) -> bool:
    """Whether the functions of a class are methods, so that it has to be made first."""
    functions = [inspect.getattr_static(cls, part) for part in ("forward", "backward")]
    return any(inspect.isfunction(f) and next(iter(inspect.signature(f).parameters), "") == "self" for f in functions)


def _file(module: ModuleType) -> str:
    return (module.__file__ or module.__name__).rpartition("/")[2]
