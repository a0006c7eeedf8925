"""What runs in the children of a check: one holds the forward and autograd, the other holds the backward.

The backward never runs in the process that has the reference, so that it can find no autograd graph and replace
nothing there; the parent hands it values and hands its answers back.

    parent                Reference                              Hand
    run(condition)      → runs forward, reaches the backward,
                        ← stops and asks
    backward(values)    →                                        runs the backward
                        ←                                        its gradients, or why they cannot be compared
    answer(gradients)   → goes on, asks again, ... or
                        ← the Evaluation, which the parent judges
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from compare.check import codec, integrity
from compare.check.backward import Given, call
from compare.check.conditions import Condition, conditions, realise
from compare.check.derivation import Here, default_dtype, lowest_dtype
from compare.check.elsewhere import Aside, Elsewhere
from compare.check.evaluation import Evaluation
from compare.check.hooks import ForwardFailed, trace
from compare.check.layer import CONDITIONS, layer_evaluator
from compare.check.lines import source_lines
from compare.check.noise import Jitter, _Arithmetic, measure
from compare.check.subject import Subject, find, find_backward, find_reference
from compare.child import Refusal, describe, load

Reply = tuple[Any, dict[str, Tensor]]


def _unharmed(file: str) -> None:
    """Raises Refusal where the user's file has replaced something that the numbers depend on."""
    if name := integrity.replaced(_BEFORE):
        raise Refusal(f"{file} replaces {name}; numbers out of a changed torch or harness prove nothing: remove that")


class Reference:
    """The forward, autograd's derivatives of it, and what rounding explains."""

    def __init__(self) -> None:
        self._file = ""
        self._subject = Subject("derivation")
        self._hand = Elsewhere()
        self._runner: Any = None  # a Runner; of a layer its `evaluate` alone
        self._aside: Aside | None = None

    def load(self, data: Any, tensors: Any) -> Reply:
        """The file at `data["path"]`, what it defines, and the conditions to try."""
        self._file = Path(data["path"]).name
        module = load(data["path"])
        _unharmed(self._file)
        self._subject = find(module, data["name"]) if data["complete"] else find_reference(module, data["name"])
        parts = self._subject.parts
        tried: Iterable[Condition] = CONDITIONS
        if self._subject.kind == "derivation":
            tried = conditions(parts["inputs"], data["seed"])
        elif self._subject.kind == "function":
            tried = ()
        elif self._subject.kind == "layer":
            given = {name: parts[name] for name in ("x", "y", "loss", "twin", "params")}
            self._runner = _Both(layer_evaluator(parts["layer"], **given, seed=data["seed"]))
        lowest = lowest_dtype(parts["inputs"], data["seed"]) if self._subject.kind == "derivation" else None
        packed, out = codec.pack({"kind": self._subject.kind, "conditions": list(tried), "dtype": lowest})
        return packed, out

    def graded(self, data: Any, tensors: Any) -> Reply:
        """For grading: the quantities on the path to J, those that the file lists, and whether it has a backward."""
        parts = self._subject.parts
        condition = next(iter(conditions(parts["inputs"], data["seed"])))
        with default_dtype(condition.dtype):
            order = list(trace(parts["forward"], realise(parts["inputs"], condition)).gradients({}))
        listed = None if parts["quantities"] is None else list(parts["quantities"])
        return {"order": order, "listed": listed, "backward": parts["backward"] is not None}, {}

    def begin(self, data: Any, tensors: Any) -> Reply:
        """Forget what was found out about an earlier backward."""
        parts = self._subject.parts
        if self._aside is not None:
            self._aside.abandon()
            self._aside = None
        if self._subject.kind == "derivation":
            self._runner = Here(parts["forward"], self._hand, parts["inputs"])
        return {}, {}

    def check_function(self, data: Any, tensors: Any) -> Reply:
        """The report on an autograd.Function, whose forward and backward cannot be parted."""
        from compare.check.function import check_function  # a check of its own, which most files do not need

        parts = self._subject.parts
        report = check_function(
            parts["function"], parts["reference"], parts["inputs"], seed=data["seed"], seconds=data["seconds"]
        )
        return codec.pack(report)

    def run(self, data: Any, tensors: Mapping[str, Tensor]) -> Reply:
        """Begin one of a `Runner`'s methods: its result, or the first question to the backward."""
        method, arguments = codec.unpack(data, tensors)
        self._aside = Aside(lambda: getattr(self._runner, method)(*arguments))
        self._hand.ask = self._aside.ask
        self._aside.start()
        return self._next()

    def answer(self, data: Any, tensors: Mapping[str, Tensor]) -> Reply:
        """Go on with the backward's answer: the result, or the next question."""
        assert self._aside is not None
        self._aside.answers.put(data if "raised" in data else codec.unpack(data, tensors))
        return self._next()

    def values(self, data: Any, tensors: Mapping[str, Tensor]) -> Reply:
        """The inputs at a condition, J and the intermediates, and how far rounding can move each of these."""
        condition = codec.unpack(data, tensors)
        forward = self._subject.parts["forward"]
        with default_dtype(condition.dtype):
            inputs = realise(self._subject.parts["inputs"], condition)

            def run(jitter: Jitter) -> dict[str, Tensor]:
                graph = trace(forward, inputs, jitter)
                return {"J": graph.J.detach()} | {n: t.detach() for n, t in graph.intermediates.items()}

            measured = measure(run, seed=condition.seed)
        return codec.pack({"inputs": inputs, "values": measured.values, "floors": measured.floors})

    def _next(self) -> Reply:
        assert self._aside is not None
        kind, value = self._aside.questions.get()
        if kind == "ask":
            packed, tensors = codec.pack(value)
            return {"ask": packed}, tensors
        self._aside = None
        if kind == "raised":
            if not isinstance(value, Exception):
                raise value
            raised = value.__cause__ if isinstance(value, ForwardFailed) and value.__cause__ is not None else value
            told = {"usage": isinstance(raised, ValueError), "forward": isinstance(value, ForwardFailed)}
            return {"raised": describe(raised), **told}, {}
        packed, tensors = codec.pack(value)
        return {"result": packed}, tensors

    def intact(self, data: Any, tensors: Any) -> Reply:
        """Raises Refusal if the file has by now replaced something that the numbers depend on."""
        _unharmed(self._file)
        return {}, {}


class Hand:
    """The backward, and for a submission the forward that it may have."""

    def __init__(self) -> None:
        self._file = ""
        self._backward: Callable[..., Any] = dict
        self._forward: Callable[..., Any] | None = None
        self._decisions: list[Any] = []

    def load(self, data: Any, tensors: Any) -> Reply:
        """The file at `data["path"]`; which lines compute what, and whether it has a forward."""
        self._file = Path(data["path"]).name
        module = load(data["path"])
        _unharmed(self._file)
        if data["complete"]:
            self._backward = find(module, data["name"]).parts["backward"]
        else:
            self._backward, self._forward = find_backward(module, data["name"])
        return {"lines": source_lines(self._backward), "forward": self._forward is not None}, {}

    def backward(self, data: Any, tensors: Mapping[str, Tensor]) -> Reply:
        """The backward's answer to some values, under noise if the reference runs under noise."""
        question = codec.unpack(data, tensors)
        values = question["values"]
        quantities = {name: values[name] for name in question["quantities"]}
        torch.manual_seed(question["randomness"])
        watch = _Watch()
        with default_dtype(question["dtype"]), self._arithmetic(question["noise"], question["coarsest"]), watch:
            given = call(self._backward, values, quantities)
        if watch.seen:
            given = Given(invalid={"backward": "autograd: the backward runs autograd's engine; write it out by hand"})
        return codec.pack(given)

    def intact(self, data: Any, tensors: Any) -> Reply:
        """Raises Refusal if the file has by now replaced something that the numbers depend on."""
        _unharmed(self._file)
        return {}, {}

    def forward(self, data: Any, tensors: Mapping[str, Tensor]) -> Reply:
        """J and the intermediates of a submission's own forward."""
        question = codec.unpack(data, tensors)
        assert self._forward is not None
        with default_dtype(question["dtype"]), torch.no_grad():
            returned = self._forward(**question["inputs"])
        if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping)):
            raise Refusal("forward does not return (J, {name: intermediate})")
        named = {"J": returned[0]} | {str(name): value for name, value in returned[1].items()}
        return codec.pack({name: value for name, value in named.items() if isinstance(value, Tensor)})

    def _arithmetic(self, noise: Any, coarsest: float) -> TorchDispatchMode | _Plainly:
        if noise is None:
            return _Plainly()
        if noise == "record":
            self._decisions = []
            return _Arithmetic(self._decisions, None)
        mode = _Arithmetic(self._decisions, torch.Generator().manual_seed(noise))
        mode.coarsest = coarsest
        return mode


@dataclass(frozen=True)
class _Both:
    """A layer has no backward that could run elsewhere: both sides are here."""

    evaluate: Callable[[Condition], Evaluation]


class _Plainly:
    """No noise."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees operations that autograd's engine runs, however it was started."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is ever compiled, and the guard costs as much as the operation

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.seen = self.seen or torch._C._current_graph_task_id() != -1
        return func(*args, **(kwargs or {}))


_BEFORE = integrity.snapshot()  # of everything above too, before any user's file is loaded
