"""Train a network by hand-written gradients next to its autograd twin, and hold the two against each other.

result = train(TrainConfig(data="digits", hidden=(64,), epochs=40))
result.verdict                          # "equal bit for bit"
result.history["manual"]["loss/val"]    # one number an epoch
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import manualbp as mbp
from compare.check.report import GradientMismatch, Report
from compare.names import leaves, names
from compare.run.config import TrainConfig
from compare.run.data import Data, load_data
from compare.run.engine import choose
from compare.run.finite import layer_of
from compare.run.folder import refuse_taken
from compare.run.history import EpochReport, TrainResult
from compare.run.keeper import Keeper
from compare.run.loop import Loop
from compare.run.network import LOSSES, Part, build_network, described, outputs, parts, settled
from compare.run.pair import Pair
from compare.run.record import RunRecord
from compare.run.settings import settings
from compare.run.start import Start
from compare.run.watch import Watch
from compare.run.watcher import Calling, Plan, Watcher

BUILT_BY_CONFIG = ("hidden", "activation", "init", "init_std")


def train(
    config: TrainConfig | None = None,
    *,
    net: mbp.Layer | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    data: Data | None = None,
    callback: Callable[[EpochReport], None] | None = None,
) -> TrainResult:
    """Train by hand and by autograd from one start on the same batches, comparing both gradients.

    `net`, `loss`: the user's own layers or cost instead of those that `config` names; z[L] of the network goes into
    the cost. `twin`: a module to hold `net` against, its parameters in the order of `net`'s (a copy is trained); by
    default stock torch.nn, and for a layer or cost without a known twin autograd through its own forward, of which the
    verdict tells. `data`: instead of `config.data`. `callback` is called after each evaluation.

    Raises `GradientMismatch`, with the check's report, where a gradient is wrong; `ValueError` for bad input. A run
    that diverges returns, with the verdict "diverged". Ctrl-C goes on as `KeyboardInterrupt` when the logs are closed.
    """
    return result_or_raise(
        execute(config or TrainConfig(), Calling(callback), net=net, loss=loss, twin=twin, data=data)
    )


def result_or_raise(result: TrainResult) -> TrainResult:
    """The result, or what `train` raises instead of it."""
    if result.exit_status == 1:
        raise GradientMismatch(result.report or Report((), notes=(result.verdict_text,)), result.verdict_text)
    if result.exit_status > 100:
        raise KeyboardInterrupt
    return result


def execute(
    config: TrainConfig,
    watcher: Watcher,
    *,
    net: mbp.Layer | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    data: Data | None = None,
    start: Start | None = None,
) -> TrainResult:
    """As `train`, but every end of the run is a result, with its exit status. Raises `ValueError` for bad input.

    `start` continues a run; see `compare.run.resume`.
    """
    refuse_taken(Path(config.runs), config.name if start is None else None, overwrite=config.overwrite)
    given = {"net": net, "loss": loss, "twin": twin, "data": data}
    if data is not None:
        config = dataclasses.replace(config, data=data.name)
    data = data or load_data(
        config.data,
        target=config.target,
        labels=config.labels,
        task=config.task,
        scale=config.scale,
        val_fraction=config.val_fraction,
        seed=config.seed,
        max_bytes=config.max_bytes,
    )
    asked, own_net = config, net is not None
    config = settled(_with_own(config, net, loss), data)
    with settings(config) as place:
        config = dataclasses.replace(config, device=place.name)
        net = net or build_network(config, data.x_train.shape[1], outputs(config, data))
        loss = loss or LOSSES[config.loss]()
        training, validation = parts(config, data, place.device, place.dtype)
        with torch.no_grad():
            params = net.init(torch.Generator().manual_seed(config.seed), dtype=place.dtype, device=place.device)
        pair = Pair(net, loss, params, lr=config.lr, l2=config.l2, twin=twin, stock_loss=config.twin_loss == "stock")
        _fits(pair, training, data)
        chosen = choose(config, pair, training)
        config = chosen.config
        notes = _judged_by(pair)
        network = described(net, loss)
        asked = dataclasses.replace(asked, device=place.name, engine=config.engine, product=config.product)
        about = Start.about(asked, data, network, given)
        record = (
            RunRecord.create(
                Path(config.runs),
                config.name,
                data.name,
                dataclasses.asdict(dataclasses.replace(config, overwrite=False)),  # it was for this once
                overwrite=config.overwrite,
                engine=config.engine,
                device=place.name,
                on_warning=watcher.warned,
            )
            if start is None
            else start.checked(about)
        )
        with record:
            keeper = Keeper(config, record, about)
            watch = Watch(record, data)
            loop = Loop(
                config,
                pair,
                names(net, params),
                training,
                validation,
                record,
                keeper=keeper,
                watch=watch,
                classes=bool(data.classes),
                engine=chosen.engine,
            )
            if start is None:
                record.text("network", network)
                watch.started(loop, dataclasses.asdict(config))
            else:
                start.put_into(loop)
            from_step = None if start is None else loop.done
            told = f"{data.name}: {data.note}"
            watcher.started(Plan(config, told, network, place.note, record.path, notes, chosen.why, from_step))
            ending = loop.run(watcher.evaluated, own_net=own_net)
            text = "; ".join((ending.text, *notes))
            record.text("verdict", text, step=loop.epoch + 1)  # after its points: those of a continued run replace it
            watch.ended(loop, well=not ending.exit_status)
    return TrainResult(
        config=config,
        network=network,
        verdict=ending.verdict,
        verdict_text=text,
        epochs=loop.curves.epochs,
        history=loop.curves.history,
        best_epoch=loop.curves.best,
        overfitting_epoch=loop.curves.overfitting["manual"].since,
        folder=record.path,
        params=pair.params,
        twin_params={path: p.detach() for path, p in pair.twin.parameters.items()},
        steps=loop.done,
        seconds=loop.seconds,
        exit_status=ending.exit_status or (0 if record.complete else 3),
        report=ending.report,
        notes=notes,
    )


def _with_own(config: TrainConfig, net: mbp.Layer | None, loss: mbp.Loss | None) -> TrainConfig:
    """`config` with the form of targets that the user's own cost takes.

    Raises `ValueError` for options that describe what is given as an object.
    """
    if net is not None:
        changed = [name for name in BUILT_BY_CONFIG if getattr(config, name) != getattr(TrainConfig, name)]
        if changed:
            raise ValueError(f"net= is given, and {', '.join(changed)} for a network to be built; drop one of them")
        config = dataclasses.replace(config, hidden=())
    if loss is not None and config.loss == "auto":
        for name, kind in LOSSES.items():
            if isinstance(loss, kind):  # type: ignore[arg-type]
                return dataclasses.replace(config, loss=name)
    return config


def _fits(pair: Pair, part: Part, data: Data) -> None:
    """Raises `ValueError` where network, cost and data do not go together."""
    x, y = part.x[:2], part.y[:2]
    for path, tensor in mbp.named(pair.params):
        if tensor.is_floating_point() and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise ValueError(
                f"net.init gave parameter {path} as {tensor.dtype} on {tensor.device}, the run is {x.dtype} on "
                f"{x.device}; use the dtype and device that init is given"
            )
    with torch.no_grad():
        z = pair.net.forward(pair.params, x)[0]
        if y.dtype == torch.int64 and z.shape[1] < len(data.classes):
            raise ValueError(
                f"the network has {z.shape[1]} outputs, {data.name} has {len(data.classes)} classes; "
                "cross-entropy takes one output a class"
            )
        pair.loss.forward(z, y)
        theirs = pair.twin.module(x)
    if theirs.shape != z.shape:
        raise ValueError(f"twin: its output has shape {tuple(theirs.shape)}, the network's {tuple(z.shape)}")


def _judged_by(pair: Pair) -> list[str]:
    """What the verdict must say of layers and costs without a known twin."""
    known = names(pair.net, pair.params).outputs
    kinds = {path: type(layer).__name__ for path, layer, _ in leaves(pair.net, pair.params)}
    notes = [
        f"{known[path]} of {layer_of(known[path])} ({kinds[path]}): autograd through its own forward"
        for path in pair.through_forward
    ]
    if pair.own_loss:
        notes.append(f"loss {type(pair.loss).__name__}: autograd through its own forward")
    if pair.given_twin is not None:
        notes.append(f"twin: {type(pair.given_twin).__name__}, as given")
    return notes
