"""Where a continued run starts: its record, locked, and the checkpoint that it goes on from."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compare.run.checkpoint import Checkpoint
from compare.run.config import TrainConfig
from compare.run.data import Data, fingerprint
from compare.run.machine import doubts, machine
from compare.run.mismatch import FOLDER, source_of
from compare.run.record import RunRecord
from compare.run.refusal import escaped, place, refusal
from compare.run.state import thaw

if TYPE_CHECKING:
    from compare.run.loop import Loop


@dataclass(frozen=True)
class Start:
    """A run that is about to be continued."""

    record: RunRecord
    checkpoint: Checkpoint

    @staticmethod
    def about(config: TrainConfig, data: Data, network: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint says of its run as a whole, in JSON's types; called where the run computes.

        `config` is as it was asked for, but for what "auto" became; `given` are the caller's own objects by name.
        """
        here = machine(config.engine, config.device)
        return {
            "config": dataclasses.asdict(dataclasses.replace(config, threads=here["threads"])),
            "machine": here,
            "data": fingerprint(data),
            "network": network,
            "own": {
                name: None if thing is None else (name if name == "data" else source_of(thing))
                for name, thing in given.items()
            },
        }

    def checked(self, about: Mapping[str, Any]) -> RunRecord:
        """The record, once it is certain that data and network are those of the run. Raises `ValueError`."""
        then = self.checkpoint.state["about"]
        where = place(self.record.path)
        if about["data"] != then["data"]:
            remedy = "bring back the file as it was, or train a new run"
            raise refusal(where, "the data are not those that this run was trained on (SHA-256)", remedy)
        if about["network"] != then["network"]:
            what = f"the network is {about['network']}, the run's was {escaped(str(then['network']))[:200]}"
            raise refusal(where, what, "give the network that was trained")
        return self.record

    def doubts(self, config: TrainConfig) -> list[str]:
        """Why bits may differ from those of a run that never stopped. Asked before it goes on, where it will run."""
        then = self.checkpoint.state["about"]["machine"]
        return doubts(then, machine(str(then.get("engine")), config.device))

    def put_into(self, loop: Loop) -> None:
        """Put a new loop into the checkpoint's state, and take back what was logged after it. Raises `ValueError`."""
        state = self.checkpoint.state
        try:
            thaw(loop, self.checkpoint)
            sizes = {name: int(size) for name, size in state["logs"].items()}
            complete = bool(state["complete"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            what = f"its checkpoint is not one of this network ({escaped(str(error))[:200]})"
            raise refusal(place(self.record.path), what, "give the network that was trained") from None
        with contextlib.suppress(OSError):
            shutil.rmtree(self.record.path / FOLDER)  # of a mismatch after the checkpoint, which will come again
        self.record.rewind(sizes, loop.curves.epochs[-1] + 1, complete=complete)
        loop.keeper.went_on(loop)
