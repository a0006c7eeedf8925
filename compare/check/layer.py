"""check_layer: a hand-written layer or network against its twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import manualbp as mbp
from compare.check.collect import collect
from compare.check.conditions import Condition
from compare.check.derivation import default_dtype
from compare.check.evaluate import evaluate
from compare.check.evaluation import Evaluation
from compare.check.noise import Jitter, measure
from compare.check.report import Report
from compare.check.scale import Convention
from compare.check.verdict import match
from compare.names import leaves, names, tapped
from compare.twin import LOSSES, Twin, adopt, build, loss_module, nested

CONDITIONS = (
    Condition("as given"),
    Condition("strided inputs", strided=True),
    Condition("one sample", 1),
    Condition("values x 5", 2),
    Condition("another cotangent", 3),
)


def check_layer(
    layer: mbp.Layer,
    x: Tensor,
    *,
    y: Tensor | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    params: mbp.Params | None = None,
    l2: float = 0.0,
    seed: int = 0,
) -> Report:
    """Compare every value, delta and gradient of a layer or network with its twin's, locally and chained.

    x is a batch, one sample a row. Without a loss J is the sum of the outputs times random signed numbers; with one,
    J is its cost for the targets y (drawn at random if not given) plus the L2 penalty. The twin is stock torch.nn where
    one is known, the module given as `twin`, or autograd through the layer's own forward (a note says so). Rows bear
    the lecture's names: z2, a2, W2, b2 (the input is layer 1); a row "value of z2" is there if the forwards differ.

    Raises ValueError where x does not fit the layer, or the twin's parameters are not those of the layer.
    """
    evaluator = layer_evaluator(layer, x, y=y, loss=loss, twin=twin, params=params, l2=l2, seed=seed)
    report = collect(evaluator, CONDITIONS, subject=type(layer).__name__, seconds=30.0)
    authors = layer_authors(layer, loss)
    return replace(report, rows=tuple(replace(row, line=authors.get(row.name, "")) for row in report.rows))


def layer_evaluator(
    layer: mbp.Layer,
    x: Tensor,
    *,
    y: Tensor | None = None,
    loss: mbp.Loss | None = None,
    twin: nn.Module | None = None,
    params: mbp.Params | None = None,
    l2: float = 0.0,
    seed: int = 0,
) -> Callable[[Condition], Evaluation]:
    """What `check_layer` runs under each of its `CONDITIONS`; same arguments, same errors."""
    side, z = sides(layer, x, loss=loss, twin=twin, params=params, l2=l2, seed=seed)
    convention = Convention()

    def evaluator(condition: Condition) -> Evaluation:
        rows = slice(0, 1) if condition.name == "one sample" else slice(None)
        inputs = side.inputs(x, z, y, seed + condition.seed, rows)
        if condition.name == "values x 5" and x.is_floating_point():
            inputs["x"] = inputs["x"] * 5.0
        if condition.strided and x.ndim > 1:
            inputs["x"] = inputs["x"].transpose(0, -1).contiguous().transpose(0, -1)
        with default_dtype(torch.float64):
            result = evaluate(side.forward, side.backward, inputs, seed=condition.seed, convention=convention)
            result.invalid |= side.values_off(inputs, condition.seed)
        for hidden in ("y", "cotangent"):
            result.invalid.pop(hidden, None)
        result.notes += side.notes
        return result

    return evaluator


def sides(
    layer: mbp.Layer,
    x: Tensor,
    *,
    loss: mbp.Loss | None,
    twin: nn.Module | None,
    params: mbp.Params | None,
    l2: float,
    seed: int,
) -> tuple[Sides, Tensor]:
    """The two sides of a layer, with parameters drawn if none are given, and its output for x."""
    if params is None:
        params = layer.init(torch.Generator().manual_seed(seed), dtype=torch.float64, device=x.device)
    side = Sides(layer, params, loss, twin, l2)
    z, _ = layer.forward(params, x.to(_dtype(params)) if x.is_floating_point() else x)
    if not isinstance(z, Tensor):
        raise ValueError(f"{type(layer).__name__}: the output must be one tensor to be checked, got {type(z).__name__}")
    return side, z


class Sides:
    """The twin as a forward with named intermediates, and the layer as the backward that is under check."""

    def __init__(
        self, layer: mbp.Layer, params: mbp.Params, loss: mbp.Loss | None, twin: nn.Module | None, l2: float
    ) -> None:
        self.layer, self.params, self.loss, self.l2 = layer, params, loss, l2
        self.names = names(layer, params)
        self.twin: Twin = build(layer, params) if twin is None else adopt(twin, layer, params)
        self.loss_module = loss_module(loss) if loss is not None and type(loss) in LOSSES else None
        self.modules = {id(p): name for name, p in self.twin.module.named_parameters()}
        self.notes = [
            f"{self.names.outputs.get(path, path or 'the layer')}: no twin is known for it; checked against autograd "
            "through its own forward"
            for path in self.twin.through_forward
        ]
        if loss is not None and self.loss_module is None:
            self.notes.append(f"{type(loss).__name__}: no twin is known for it; autograd goes through its own forward")

    def inputs(self, x: Tensor, z: Tensor, y: Tensor | None, seed: int, rows: slice = slice(None)) -> dict[str, Any]:
        """What both sides are given: these rows of x, the parameters, and targets or a cotangent of the output z."""
        draws = torch.Generator().manual_seed(seed)
        made: dict[str, Any] = {"x": _double(x[rows])}
        for path, tensor in mbp.named(self.params):
            made[self.names.parameters[path]] = _double(tensor)
        if self.loss is None:
            made["cotangent"] = torch.randn(z[rows].shape, generator=draws, dtype=torch.float64).to(z.device)
        else:
            made["y"] = _double(targets(self.loss, z, draws) if y is None else y)[rows]
        return made

    def forward(self, x: Tensor, **values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The twin's J, and the outputs of its modules."""
        seen: dict[str, Tensor] = {}
        last = next(reversed(self.names.outputs))

        def keep(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                seen[name] = output

            return hook

        handles = [
            leaf.register_forward_hook(keep(self.names.outputs[path])) for path, leaf in self.twin.leaves.items()
        ]
        bound = {
            self.modules[id(parameter)]: values[self.names.parameters[path]]
            for path, parameter in self.twin.parameters.items()
        }
        try:
            z = torch.func.functional_call(self.twin.module, bound, (x,))
        finally:
            for handle in handles:
                handle.remove()
        seen.setdefault(self.names.outputs[last], z) if not isinstance(self.layer, mbp.Residual) else None
        return self._cost(z, values), seen

    def _cost(self, z: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        if self.loss is None:
            return (z * values["cotangent"]).sum()
        if self.loss_module is None:
            J: Tensor = self.loss.forward(z, values["y"])[0]
        else:
            J = self.loss_module(z, values["y"]) / z.shape[0]
        for path in self.layer.weights:
            W = values[self.names.parameters[path]]
            J = J + (self.l2 / 2) * (W * W).sum()
        return J

    def _hand_forward(
        self, values: Mapping[str, Tensor]
    ) -> tuple[mbp.Layer, mbp.Params, Tensor, Any, dict[str, Any], dict[str, Any]]:
        outputs: dict[str, Any] = {}
        deltas: dict[str, Any] = {}
        net = tapped(self.layer, outputs, deltas)
        params = nested(self.params, {path: values[name] for path, name in self.names.parameters.items()})
        z, cache = net.forward(params, values["x"])
        return net, params, z, cache, outputs, deltas

    def backward(self, **values: Tensor) -> dict[str, Tensor | None]:
        """Run the hand-written side, and name its deltas and gradients."""
        net, params, z, cache, _, deltas = self._hand_forward(values)
        if self.loss is None:
            dz = values["cotangent"]
        else:
            dz = self.loss.backward(self.loss.forward(z, values["y"])[1])
        dx, grads = net.backward(params, cache, dz)
        if self.l2:
            mbp.l2.add_gradient_(self.layer, grads, params, self.l2)
        named = {self.names.outputs[path] for path in self.twin.leaves} | {next(reversed(self.names.outputs.values()))}
        found = {self.names.outputs[path]: delta for path, delta in deltas.items()}
        found = {name: delta for name, delta in found.items() if name in named}
        gradients = dict(mbp.named(grads))
        found |= {self.names.parameters[path]: gradients.get(path) for path in self.twin.parameters}
        return found | ({"x": dx} if values["x"].is_floating_point() else {})

    def values_off(self, inputs: Mapping[str, Any], seed: int) -> dict[str, str]:
        """Outputs of the hand-written forward that are not the twin's, and by how much."""

        def run(jitter: Jitter) -> dict[str, Tensor]:
            with torch.no_grad():
                return self.forward(**{name: jitter(value) for name, value in inputs.items()})[1]

        expected = measure(run, seed=seed)
        outputs = self._hand_forward(inputs)[4]
        wrong = {}
        for path, output in outputs.items():
            name = self.names.outputs[path]
            if name not in expected.values or not isinstance(output, Tensor):
                continue
            value = expected.values[name]
            if output.shape != value.shape:
                wrong[f"value of {name}"] = f"has shape {tuple(output.shape)}, the twin's {tuple(value.shape)}"
            elif not match((output,), value, expected.floors[name]).ok:
                gap = float((output - value).abs().max())
                wrong[f"value of {name}"] = f"the forward is off: its value differs from the twin's by up to {gap:.2g}"
        return dict(list(wrong.items())[:1])  # the first in the order of the forward; the others follow from it


def layer_authors(layer: mbp.Layer, loss: mbp.Loss | None) -> dict[str, str]:
    """Whose backward computes each quantity: a layer its parameters' gradients, and the delta of the layer before."""
    params = layer.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    named = names(layer, params)
    authors: dict[str, str] = {}
    before = "x"
    for path, each, own in leaves(layer, params):
        author = f"{type(each).__name__}.backward"
        authors[before] = author
        for inner, _ in mbp.named(own):
            authors[named.parameters[f"{path}.{inner}" if path else inner]] = author
        before = named.outputs[path]
    if loss is not None:
        authors[before] = f"{type(loss).__name__}.backward"
    return authors


def targets(loss: mbp.Loss, z: Tensor, generator: torch.Generator) -> Tensor:
    """Random targets that suit a loss: class indices, zeros and ones, or real numbers."""
    if isinstance(loss, mbp.CrossEntropy):
        return torch.randint(0, z.shape[1], z.shape[:1], generator=generator).to(z.device)
    if isinstance(loss, mbp.LogLoss):
        return (torch.rand(z.shape, generator=generator, dtype=torch.float64) < 0.5).double().to(z.device)
    return torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z.device)


def _double(value: Tensor) -> Tensor:
    return value.detach().double() if value.is_floating_point() else value


def _dtype(params: mbp.Params) -> torch.dtype:
    return next((t.dtype for _, t in mbp.named(params)), torch.float64)
