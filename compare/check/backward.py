"""Calling the user's backward: what it is handed, and what of its answer can be compared."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Backward = Callable[..., Any]


class AutogradUsed(RuntimeError):
    """A backward under check asked autograd for a derivative."""


@dataclass
class Given:
    """A backward's answer: gradients that can be compared, and why the others cannot."""

    gradients: dict[str, Tensor] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)  # as the backward returned them
    notes: list[str] = field(default_factory=list)


class Remote(ABC):
    """A backward that is called in another process."""

    def __call__(self, **values: Any) -> Any:
        """Not in this process."""
        raise TypeError("this backward runs in another process; ask for what is `given`")

    @abstractmethod
    def given(self, values: Mapping[str, Any], quantities: Mapping[str, Tensor]) -> Given:
        """What the backward answers to these values."""


def call(backward: Backward, values: Mapping[str, Any], quantities: Mapping[str, Tensor]) -> Given:
    """Hand a backward clones of the values that it lists by name; sort what it returns.

    `quantities` are the tensors that have a gradient. Never raises for what the user's code does: that is part of
    the answer. A backward that lives in another process has a method `given` and answers for itself.
    """
    if isinstance(backward, Remote):
        return backward.given(values, quantities)
    given = Given()
    try:
        arguments = _arguments(backward, values)
        kept = {n: v.clone() for n, v in arguments.items() if isinstance(v, Tensor)}
        with torch.no_grad(), _without_autograd():
            returned = backward(**arguments)
    except AutogradUsed as error:
        return Given(invalid={"backward": str(error)})
    except (Exception, SystemExit) as error:  # sys.exit() in a script is no reason to end the caller's program
        return Given(invalid={"backward": _one_line(error, backward)})
    for name, before in kept.items():
        after = arguments[name]
        if after.shape != before.shape or not torch.equal(after.nan_to_num(), before.nan_to_num()):
            given.notes.append(f"backward changes its argument {name!r} in place: what reads it later sees the change")
    if not isinstance(returned, Mapping):
        what = "nothing" if returned is None else type(returned).__name__
        return Given(invalid={"backward": f"returned {what}; it must return {{name: dJ/dname}}"})
    if not returned:
        given.invalid["backward"] = "returned no gradient at all; return {name: dJ/dname} for any quantities"
    for name, gradient in returned.items():
        _sort(given, name, gradient, values, quantities)
    return given


def _arguments(backward: Backward, values: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(backward).parameters.values()
    wanted: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            wanted.update(values)
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ValueError(f"parameter {parameter.name!r}: values are handed over by name, so it must have one")
        elif parameter.name in values:
            wanted[parameter.name] = values[parameter.name]
        elif parameter.default is inspect.Parameter.empty:
            raise ValueError(
                f"backward asks for {parameter.name!r}, which is no input or intermediate; "
                f"there are: {', '.join(values)}"
            )
    return {n: v.detach().clone() if isinstance(v, Tensor) else v for n, v in wanted.items()}


def _sort(given: Given, name: Any, gradient: Any, values: Mapping[str, Any], quantities: Mapping[str, Tensor]) -> None:
    if name not in quantities:
        if name not in values:
            reason = f"is no quantity of the forward; there are: {', '.join(quantities)}"
        else:
            reason = "has no gradient: it is an integer, a constant or detached"
        if gradient is not None or name not in values:
            given.invalid[str(name)] = reason
        return
    like = quantities[name]
    try:
        tensor = _tensor(gradient, like)
    except ValueError as error:
        given.invalid[name] = str(error)
        return
    given.dtypes[name] = tensor.dtype
    given.gradients[name] = tensor.detach().to(like.dtype).clone()


def _tensor(gradient: Any, like: Tensor) -> Tensor:
    if gradient is None:
        raise ValueError("missing: the backward returned None for it")
    if isinstance(gradient, Tensor):
        tensor = gradient
        if tensor.requires_grad:
            raise ValueError("made by autograd: it has a grad_fn; a hand-written gradient is plain numbers")
        if tensor.layout != torch.strided:
            raise ValueError(f"is a {str(tensor.layout).removeprefix('torch.')} tensor; return it .to_dense()")
        if tensor.device != like.device:
            raise ValueError(f"is on {tensor.device}, where the quantity is on {like.device}")
    elif isinstance(gradient, np.ndarray | np.generic | float | int) and not isinstance(gradient, bool):
        array = np.asarray(gradient)
        if array.dtype.kind not in "fiuc":
            raise ValueError(f"has dtype {array.dtype}; a gradient is floating")
        try:
            tensor = torch.from_numpy(np.array(array, copy=True, order="C")).to(like.device)
        except (TypeError, ValueError) as error:  # digits or a byte order that torch does not know
            raise ValueError(f"has dtype {array.dtype}, which torch does not know; return float64") from error
        if isinstance(gradient, int):
            tensor = tensor.to(like.dtype)
    else:
        raise ValueError(f"is no tensor, array or number but {type(gradient).__name__}")
    if tensor.is_complex() != like.is_complex():
        raise ValueError(f"has dtype {_dtype(tensor)}, where the quantity is {_dtype(like)}")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(f"has dtype {_dtype(tensor)}; a gradient is floating")
    if tuple(tensor.shape) != tuple(like.shape):
        raise ValueError(f"has shape {tuple(tensor.shape)}, where the quantity has {tuple(like.shape)}")
    return tensor


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@contextlib.contextmanager
def _without_autograd() -> Iterator[None]:
    """Refuse autograd's engine, and function transforms that differentiate, while a backward runs."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AutogradUsed("autograd: the backward asked autograd for a derivative; write it out by hand")

    places = [
        (torch.autograd, "grad"),
        (torch.autograd, "backward"),
        (torch.autograd, "_engine_run_backward"),
        (torch.autograd.graph, "_engine_run_backward"),
        (torch.Tensor, "backward"),
        (torch.func, "grad"),
        (torch.func, "grad_and_value"),
        (torch.func, "vjp"),
        (torch.func, "jvp"),
        (torch.func, "jacrev"),
        (torch.func, "jacfwd"),
        (torch.func, "hessian"),
        (torch.func, "linearize"),
        (torch.autograd.functional, "jacobian"),
        (torch.autograd.functional, "vjp"),
        (torch.autograd.functional, "jvp"),
        (torch.autograd.functional, "hessian"),
        (torch.autograd.forward_ad, "make_dual"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name in places if hasattr(owner, name)]
    try:
        for owner, name, _ in before:
            setattr(owner, name, refuse)
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def _one_line(error: BaseException, backward: Backward) -> str:
    """`TypeName: text (file.py:line)`, the line being the deepest one in the file that defines the backward."""
    text = " ".join(str(error).split())[:300]
    where = ""
    code = getattr(inspect.unwrap(backward), "__code__", None)
    if code is not None:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == code.co_filename]
        where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"raised {type(error).__name__}: {text}{where}"
