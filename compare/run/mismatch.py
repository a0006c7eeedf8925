"""A mismatch told, and kept: the step, layer and quantity, and a bundle that reproduces it.

runs/NAME/mismatch/tensors.safetensors   the batch, the parameters and both gradients
runs/NAME/mismatch/mismatch.json         config, step, epoch, network, what differs
runs/NAME/mismatch/report.txt            the check's report on that batch
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import manualbp as mbp
from compare.check.derivation import check_derivation
from compare.check.layer import check_layer
from compare.check.report import Report, Row
from compare.names import Names
from compare.run.agreement import Difference
from compare.run.config import TrainConfig
from compare.run.finite import layer_of
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.steps import Mismatch
from manualbp import named

FOLDER = "mismatch"


@dataclass(frozen=True)
class Told:
    """A mismatch in words: the step, layer and quantity in one line, and the report behind it."""

    headline: str
    report: Report

    def __str__(self) -> str:
        return f"{self.headline}\n\n{self.report}"


def tell(pair: Pair, names: Names, mismatch: Mismatch) -> Told:
    """Run the check on the failing batch at the failing parameters, and say which quantity is wrong first."""
    step = mismatch.step
    where = f"step {step.number}, epoch {step.epoch}"
    incomparable = [difference for difference in mismatch.differences if difference.reason]
    shown = (incomparable or mismatch.differences)[-1]  # the one nearest to J
    what = _difference(names, shown)
    if shown.quantity == "update":
        return Told(f"{where}: {what}", _own_report(pair, names, mismatch))
    try:
        report = _loss_report(pair, names, step.part) if pair.own_loss else None
        if report is None or report.ok:
            report = _explained(_report(pair, step.part, pair.l2), pair, step.part)
    except Exception as error:  # the check cannot run this layer, whatever it raises; that it is wrong is known
        note = f"the check says no more: {type(error).__name__}: {' '.join(str(error).split())}"
        return Told(f"{where}: {what}", _own_report(pair, names, mismatch, note))
    first = report.first_wrong
    if report.ok:
        dtype = str(step.part.x.dtype)[6:]
        note = "" if dtype == "float64" else f"right in float64: its formula loses digits in {dtype}"
        return Told(f"{where}: {what}{note and '; ' + note}", _own_report(pair, names, mismatch, note))
    if first is None or incomparable:
        return Told(f"{where}: {what}", report)
    quantity = quantity_of(first.name)
    if pair.l2 and first.name in names.parameters.values() and _report(pair, step.part, 0.0).ok:
        quantity += ", in its L2 part"
    cause = f" ({first.cause})" if first.cause not in ("", "unknown") else ""
    return Told(f"{where}: {quantity} is wrong{cause}", report)


def quantity_of(name: str) -> str:
    """A name of the check's report in words: `delta of z2, layer 2`, `gradient of W2, layer 2`."""
    if name.startswith("value of "):
        return f"{name} (the forward), {layer_of(name)}"
    if name == "x":
        return "gradient of the input x, layer 1"
    if name == "backward":
        return "backward as a whole"
    kind = "delta" if name[:1] in "za" and name.rstrip("'")[1:].isdigit() else "gradient"
    return f"{kind} of {name}, {layer_of(name)}"


def save_bundle(
    folder: Path, config: TrainConfig, pair: Pair, mismatch: Mismatch, told: Told, *, own_net: bool
) -> Path:
    """Write the bundle into a run's folder. Raises `OSError`."""
    target = folder / FOLDER
    target.mkdir()
    step = mismatch.step
    tensors = {"x": step.part.x, "y": step.part.y}
    tensors |= {f"parameter {path}": tensor for path, tensor in named(pair.params)}
    tensors |= {f"manual {path}": gradient for path, gradient in mismatch.ours.items()}
    tensors |= {f"autograd {path}": gradient for path, gradient in mismatch.theirs.items()}
    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        target / "tensors.safetensors",
    )
    about: dict[str, Any] = {
        "headline": told.headline,
        "step": step.number,
        "epoch": step.epoch,
        "config": dataclasses.asdict(config),
        "inputs": step.part.x.shape[1],
        "outputs": _outputs(pair, step.part),
        "own": {
            "net": source_of(pair.net) if own_net else None,
            "loss": source_of(pair.loss) if pair.own_loss else None,
            "twin": None if pair.given_twin is None else source_of(pair.given_twin),
        },
        "differences": [_json(dataclasses.asdict(difference)) for difference in mismatch.differences],
    }
    (target / "mismatch.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (target / "report.txt").write_text(f"{told}\n", encoding="utf-8")
    return target


def _own_report(pair: Pair, names: Names, mismatch: Mismatch, note: str = "") -> Report:
    """What the run itself saw, where the check has no more to say."""
    rows = [
        Row(
            names.parameters.get(difference.path, difference.path),
            "invalid" if difference.reason else "wrong",
            difference.relative,
            difference.ulps,
            difference.index,
            difference.expected,
            difference.got,
            condition=f"step {mismatch.step.number}",
            explanation=difference.reason or ("is not W - lr dJ/dW" if difference.quantity == "update" else ""),
        )
        for difference in reversed(mismatch.differences)
    ]
    return Report(tuple(rows), notes=(note,) if note else (), subject=type(pair.net).__name__)


def _report(pair: Pair, part: Part, l2: float) -> Report:
    """The whole network's report; where the cost has no known twin, the network's alone."""
    if pair.own_loss:
        return check_layer(pair.net, part.x, twin=pair.given_twin, params=pair.params, l2=l2)
    return check_layer(pair.net, part.x, y=part.y, loss=pair.loss, twin=pair.given_twin, params=pair.params, l2=l2)


def _explained(report: Report, pair: Pair, part: Part) -> Report:
    """The report with the cause of each wrong step."""
    if report.ok:
        return report
    from compare.explain.layer import explain_layer  # which most runs never need

    loss = None if pair.own_loss else pair.loss
    y = None if pair.own_loss else part.y
    l2 = pair.l2
    return explain_layer(report, pair.net, part.x, y=y, loss=loss, twin=pair.given_twin, params=pair.params, l2=l2)


def _loss_report(pair: Pair, names: Names, part: Part) -> Report:
    """The report on a cost of the user's own: its delta against autograd through its forward."""
    last = next(reversed(names.outputs.values()))
    with torch.no_grad():
        z = pair.net.forward(pair.params, part.x)[0].to(torch.float64)
    y = part.y.to(torch.float64) if part.y.is_floating_point() else part.y

    def forward(**values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return pair.loss.forward(values[last], values["y"])[0], {}

    def backward(**values: Tensor) -> dict[str, Tensor]:
        return {last: pair.loss.backward(pair.loss.forward(values[last], values["y"])[1])}

    return check_derivation(forward, backward, {last: z, "y": y})


def _difference(names: Names, difference: Difference) -> str:
    name = names.parameters.get(difference.path, difference.path)
    if difference.quantity == "update":
        return (
            f"update of {name}, {layer_of(name)}, is not W - lr dJ/dW: at {list(difference.index)} it gives "
            f"{difference.got:.10g}, should be {difference.expected:.10g}"
        )
    if difference.reason:
        return f"gradient of {name}, {layer_of(name)}, {difference.reason}"
    return (
        f"gradient of {name}, {layer_of(name)}, is off by {difference.relative:.2g} of its RMS: at "
        f"{list(difference.index)} it is {difference.got:.10g}, autograd's {difference.expected:.10g}"
    )


def _outputs(pair: Pair, part: Part) -> int:
    with torch.no_grad():
        return int(pair.net.forward(pair.params, part.x[:1])[0].shape[-1])


def source_of(thing: mbp.Layer | mbp.Loss | torch.nn.Module) -> str:
    """Where a user's own class is defined, such as `layers.py: MySigmoid`; of a network, its own layers."""
    layers = thing.layers if isinstance(thing, mbp.Sequential) else (thing,)
    kinds = dict.fromkeys(type(layer) for layer in layers if not type(layer).__module__.startswith("manualbp"))
    found = []
    for kind in kinds:
        try:
            file = inspect.getsourcefile(kind) or "unknown file"
        except (TypeError, OSError):
            file = "no file"
        found.append(f"{file}: {kind.__qualname__}")
    return ", ".join(found) or type(thing).__name__


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
