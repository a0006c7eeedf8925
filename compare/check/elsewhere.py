"""A backward that lives in another process, and the computation that waits for its answers."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from compare.check.backward import Given, Remote
from compare.check.noise import _Arithmetic


class Elsewhere(Remote):
    """The backward as the reference's process sees it: a question and its answer."""

    def __init__(self) -> None:
        self.ask: Callable[[Any], Any] = str

    def given(self, values: Mapping[str, Any], quantities: Mapping[str, Tensor]) -> Given:
        """What the backward answers; of other shapes or dtypes than it may have, nothing is believed."""
        noise: Any = None
        coarsest = math.inf
        for mode in _get_current_dispatch_mode_stack():
            if isinstance(mode, _Arithmetic):
                noise = "record" if mode.noise is None else mode.noise
                coarsest = mode.coarsest
        with _disable_current_modes():
            if isinstance(noise, torch.Generator):
                noise = int(torch.randint(2**62, (), generator=noise))
            question = {
                "values": {n: v.detach().clone() if isinstance(v, Tensor) else v for n, v in values.items()},
                "quantities": list(quantities),
                "noise": noise,
                "coarsest": coarsest,
                "randomness": int(torch.randint(2**62, ())),
                "dtype": torch.get_default_dtype(),
            }
            answer = self.ask(question)
            if not isinstance(answer, Given):
                return Given(invalid={"backward": f"raised {answer['raised']}"})
            return _believed(answer, quantities)


def _believed(given: Given, quantities: Mapping[str, Tensor]) -> Given:
    for name, gradient in list(given.gradients.items()):
        like = quantities.get(name)
        if like is None or gradient.shape != like.shape or gradient.dtype != like.dtype or name not in given.dtypes:
            del given.gradients[name]
            given.invalid[name] = "is not a gradient of that quantity's shape and dtype"
        else:
            given.gradients[name] = gradient.to(like.device)
    return given


class _Abandoned(BaseException):
    """Nobody waits for this evaluation any more."""


class Aside:
    """A computation in a thread of its own, which stops whenever it asks for something from outside."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.questions: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self.questions.put(("done", self._work()))
        except BaseException as error:  # SystemExit of the user's code too: the main thread tells the parent
            self.questions.put(("raised", error))

    def ask(self, question: Any) -> Any:
        """The answer to a question; called by the computation."""
        self.questions.put(("ask", question))
        answer = self.answers.get()
        if isinstance(answer, _Abandoned):
            raise answer
        return answer

    def abandon(self) -> None:
        """Let it unwind, so that what it has set for the process is put back."""
        self.answers.put(_Abandoned())
        self._thread.join()
