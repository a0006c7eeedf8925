"""Continue a run from its newest intact checkpoint, bit for bit.

result = resume("breast-cancer-2026-11-23-083012")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

import manualbp as mbp
from compare.run.checkpoint import MAX_BYTES, Checkpoint, checkpoint_steps, intact_checkpoints
from compare.run.config import TrainConfig, from_mapping
from compare.run.data import Data
from compare.run.folder import find_run
from compare.run.history import EpochReport, TrainResult
from compare.run.record import RunRecord
from compare.run.refusal import escaped, place, refusal
from compare.run.start import Start
from compare.run.train import execute, result_or_raise
from compare.run.watcher import Calling, Watcher

_ABOUT = {"config": dict, "machine": dict, "data": str, "network": str, "own": dict}


def resume(
    run: str | Path,
    *,
    runs: str | Path = "runs",
    net: mbp.Layer | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    data: Data | None = None,
    max_bytes: int = MAX_BYTES,
    callback: Callable[[EpochReport], None] | None = None,
) -> TrainResult:
    """Go on with a run that was stopped, killed or lost its machine, from its newest intact checkpoint.

    What comes out is what the run would have given without the stop, in every bit: parameters, generator states,
    histories and `metrics.jsonl`. Where the machine is another one, or anything else on which bits depend, a warning
    says so before it goes on. A run that had ended gives its result again. A run of the user's own layers, cost,
    twin or data needs them again, as they were given to `train`. A checkpoint's tensors may take `max_bytes`.

    Raises as `train` does; `ValueError` where there is no such run, none of its checkpoints is intact, another
    process is writing it, or network or data are not those that it was trained on.
    """
    watcher = Calling(callback)
    own = {"net": net, "loss": loss, "twin": twin, "data": data}
    return result_or_raise(resume_watched(run, watcher, runs=runs, max_bytes=max_bytes, **own))  # type: ignore[arg-type]


def resume_watched(
    run: str | Path,
    watcher: Watcher,
    *,
    runs: str | Path = "runs",
    net: mbp.Layer | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    data: Data | None = None,
    max_bytes: int = MAX_BYTES,
) -> TrainResult:
    """As `resume`, but every end of the run is a result, with its exit status. Raises `ValueError` for bad input."""
    folder = find_run(str(run), Path(runs))
    with RunRecord.reopen(folder, on_warning=watcher.warned) as record:
        checkpoint = _newest(folder, watcher, max_bytes)
        about = checkpoint.state["about"]
        for name, given in (("net", net), ("loss", loss), ("twin", twin), ("data", data)):
            source = about["own"].get(name)
            if source is not None and given is None:
                raise ValueError(
                    f"this run was given its {name} from Python ({escaped(str(source))[:200]}), which a command never "
                    f"imports; from Python: compare.resume({str(run)!r}, {name}=...)"
                )
        start, config = Start(record, checkpoint), _config(folder, about)
        if doubts := start.doubts(config):
            watcher.warned(f"bits may differ from a run without a stop: {escaped('; '.join(doubts))[:500]}")
        return execute(config, watcher, net=net, loss=loss, twin=twin, data=data, start=start)


def _newest(folder: Path, watcher: Watcher, max_bytes: int) -> Checkpoint:
    """The newest intact checkpoint; those that are damaged are told. Raises `ValueError` where there is none."""
    damaged: list[str] = []
    found = next(intact_checkpoints(folder, damaged, max_bytes), None)
    for line in damaged:
        watcher.warned(f"{line}; {'the one before it is used' if found else 'it cannot be used'}")
    if found is None:
        again = f"train again: manualbp train --config {place(folder)}/config.toml --overwrite"
        if checkpoint_steps(folder):
            raise refusal(place(folder), "none of its checkpoints is intact", again)
        raise refusal(place(folder), "has no checkpoint (--checkpoint-every off, or stopped before the first)", again)
    about = found.state.get("about")
    if not isinstance(about, dict) or not all(isinstance(about.get(key), kind) for key, kind in _ABOUT.items()):
        raise refusal(place(folder), "its checkpoint is not one that manualbp train wrote", "train a new run")
    return found


def _config(folder: Path, about: Mapping[str, Any]) -> TrainConfig:
    """The run's options. Where it lies is where it was found, whatever a file says."""
    config = from_mapping(_tuples(about["config"]), place(folder))
    return dataclasses.replace(config, name=folder.name, runs=str(folder.parent), overwrite=False)


def _tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
