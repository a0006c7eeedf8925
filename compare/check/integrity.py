"""Has a user's file replaced parts of torch, NumPy, Python or the harness in its process?

Numbers that come out of such a process prove nothing. This sees plain replacement (`torch.autograd.grad = ...`), also
of a function's code, and modes that stay active over every operation. It is no defence against code that hides.
"""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

TORCH = """torch torch._C torch._C._nn torch._C._linalg torch._tensor torch._ops torch.autograd torch.autograd.graph
torch.autograd.forward_ad torch.autograd.function torch.autograd.functional torch.autograd.grad_mode torch.func
torch.functional torch.fft torch.linalg torch.nn.functional torch.nn.init torch.overrides torch.special
torch.utils._python_dispatch torch.utils._pytree torch.testing builtins math numpy numpy.linalg inspect json socket
safetensors.torch""".split()
CLASSES = (torch.Tensor, torch._C.TensorBase, torch.autograd.Function, torch.nn.Module, torch.Generator, torch.Size)
HARNESS = ("compare", "manualbp", "torch_ref")

_TORCH_FOLDER = torch.__file__.rpartition("__init__")[0]

Snapshot = dict[tuple[str, str], tuple[object, object]]


def snapshot() -> Snapshot:
    """What the names of torch and the harness stand for, and the code of those that are Python functions."""
    owners: dict[str, object] = {name: module for name in TORCH if (module := _module(name)) is not None}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in HARNESS:
            owners[name] = module
            owners |= {
                f"{name}.{attribute}": value
                for attribute, value in vars(module).items()
                if isinstance(value, type) and value.__module__ == name
            }
    owners |= {f"torch.{cls.__name__}": cls for cls in CLASSES}
    return {
        (owner, name): (value, value.__code__ if isinstance(value, FunctionType) else None)
        for owner, holder in owners.items()
        if isinstance(holder, ModuleType | type)
        for name, value in _names(holder).items()
        if callable(value) or (owner.partition(".")[0] in HARNESS and not name.startswith("__"))
    }


def _names(holder: ModuleType | type) -> dict[str, object]:
    """What a module defines; of a class also what it inherits, since a new name in it hides an inherited one."""
    if isinstance(holder, ModuleType):
        return dict(vars(holder))
    return {name: value for base in reversed(holder.__mro__) for name, value in vars(base).items()}


def _module(name: str) -> object | None:
    if name in sys.modules:
        return sys.modules[name]
    parent, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(parent), attribute, None) if parent else None


def _torch_own(value: object) -> bool:
    """Whether torch itself put this in: it wraps some of its functions when its compiler is imported."""
    if isinstance(value, FunctionType):
        return value.__code__.co_filename.startswith(_TORCH_FOLDER)
    return isinstance(value, type) and value.__module__.partition(".")[0] == "torch"


def replaced(before: Snapshot) -> str:
    """What is no longer what it was, as `torch.autograd.grad`; empty where all is as before."""
    for key, (value, code) in snapshot().items():
        if key not in before:
            continue
        old, old_code = before[key]
        if value is not old and not isinstance(old, ModuleType) and not _torch_own(value):
            return ".".join(key)
        if code is not old_code and not _torch_own(value):
            return f"the code of {'.'.join(key)}"
    if _get_current_dispatch_mode_stack():
        return "every operation, by a TorchDispatchMode that it leaves active"
    if any(not isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack()):  # type: ignore[no-untyped-call]
        return "every operation, by a TorchFunctionMode that it leaves active"
    return ""
