"""Repeat the step at which a run's gradients did not agree, from the bundle that it left."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

import manualbp as mbp
from compare.check.report import Report
from compare.names import names
from compare.run.config import TrainConfig, from_mapping
from compare.run.folder import find_run
from compare.run.mismatch import FOLDER, tell
from compare.run.network import LOSSES, Part, build_network
from compare.run.pair import Pair
from compare.run.refusal import escaped, place, refusal, require_regular_file
from compare.run.settings import settings
from compare.run.steps import Mismatch, Step, Steps
from compare.twin import nested
from manualbp import named

MAX_BYTES = 2**31


@dataclass(frozen=True)
class Replayed:
    """What came of it: `exit_status` is 1 where the gradients still do not agree, as in the run."""

    text: str
    report: Report | None
    exit_status: int

    def __str__(self) -> str:
        return self.text


def replay(
    run: str | Path,
    *,
    runs: str | Path = "runs",
    net: mbp.Layer | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
) -> Replayed:
    """Do the failing step of a run again, from the batch and the parameters in its `mismatch` folder.

    A run of the user's own layers, cost or twin needs them again: `net`, `loss`, `twin`, as they were given to
    `train`. Raises `ValueError` where there is no bundle, it is damaged, or something of the user's own is missing.
    """
    folder = _bundle(run, runs)
    about = _about(folder / "mismatch.json")
    for name, given in (("net", net), ("loss", loss), ("twin", twin)):
        source = about["own"].get(name)
        if source is not None and given is None:
            raise ValueError(
                f"this run trained a {name} of your own ({escaped(str(source))}), which a command never imports; "
                f"from Python: compare.replay({str(run)!r}, {name}=...)"
            )
    config = from_mapping(about["config"], place(folder / "mismatch.json"))
    tensors = _tensors(folder / "tensors.safetensors")
    with settings(_here(config)) as where:
        moved = {name: tensor.to(where.device) for name, tensor in tensors.items()}
        net = net or build_network(config, about["inputs"], about["outputs"])
        loss = loss or LOSSES[config.loss]()
        start = net.init(torch.Generator().manual_seed(0), dtype=where.dtype, device=where.device)
        params = nested(start, _parameters(moved, start, folder))
        pair = Pair(net, loss, params, lr=config.lr, l2=config.l2, twin=twin, stock_loss=config.twin_loss == "stock")
        known = names(net, params)
        step = Step(about["step"], about["epoch"], Part(moved["x"], moved["y"]), checked=True, calibrate=True)
        steps = Steps(pair, known)
        try:
            steps.take(step)
        except Mismatch as mismatch:
            told = tell(pair, known, mismatch)
            return Replayed(f"{told}\n\nThe mismatch is there again.", told.report, 1)
    then = escaped(str(about["headline"]))
    return Replayed(f"step {step.number}, epoch {step.epoch}: the gradients agree now. It was: {then}", None, 0)


def _bundle(run: str | Path, runs: str | Path) -> Path:
    """The bundle of a run, given by name or by its folder."""
    folder = find_run(str(run), Path(runs))
    if not (folder / FOLDER / "mismatch.json").is_file():
        raise refusal(
            place(folder), "holds no mismatch", "nothing to replay: its gradients agreed, or no step was compared"
        )
    return folder / FOLDER


def _about(path: Path) -> dict[str, Any]:
    require_regular_file(path, MAX_BYTES)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        sound = all(isinstance(about[key], int) and about[key] >= 0 for key in ("step", "epoch", "inputs", "outputs"))
        sound = sound and isinstance(about["own"], dict) and isinstance(about["config"], dict) and "headline" in about
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise refusal(place(path), "is no bundle that manualbp train wrote, or is damaged", "run the training again")
    found: dict[str, Any] = about
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    require_regular_file(path, MAX_BYTES)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise refusal(place(path), f"is damaged ({escaped(str(error))})", "run the training again") from None
    if not {"x", "y"} <= tensors.keys():
        raise refusal(place(path), "holds no batch", "run the training again")
    return tensors


def _parameters(tensors: dict[str, Tensor], start: mbp.Params, folder: Path) -> dict[str, Tensor]:
    """The parameters of the bundle, by path, in the shapes that the network has."""
    values = {}
    for path, like in named(start):
        tensor = tensors.get(f"parameter {path}")
        if tensor is None or tensor.shape != like.shape or tensor.dtype != like.dtype:
            got = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)} and {tensor.dtype}"
            what = f"parameter {path} {got}, the network's {tuple(like.shape)} and {like.dtype}"
            raise refusal(place(folder), what, "give the network that was trained")
        values[path] = tensor.clone()
    return values


def _here(config: TrainConfig) -> TrainConfig:
    """The config on a machine that may have no GPU."""
    gone = config.device == "cuda" and not torch.cuda.is_available()
    return dataclasses.replace(config, device="cpu") if gone else config
