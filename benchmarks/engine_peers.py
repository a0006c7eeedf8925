"""What the engines are measured against: torch's autograd, torch.compile, scikit-learn and JAX, the same arithmetic.

A contestant is built once and then asked for spans of steps; `weights` returns W of each layer as NumPy arrays, so
that all can be held equal before any is timed. What is not installed raises ImportError when it is built.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import manualbp as mbp

LR, L2 = 0.1, 1e-4


@dataclass(frozen=True)
class Problem:
    """One point of the grid: widths, batch, and data for `steps` steps; hidden units are sigmoids."""

    widths: tuple[int, ...]
    batch: int
    steps: int
    weights: list[np.ndarray]  # (n_out, n_in); biases start at 0
    x: Tensor
    y: Tensor  # (m, 1) for one output, else class indices
    order: Tensor

    @property
    def device(self) -> torch.device:
        return self.x.device


class Contestant(Protocol):
    def run(self, steps: int) -> None:
        """The first `steps` steps of the epoch, on the weights as they are."""

    def weights(self) -> list[np.ndarray]: ...

    def biases(self) -> list[np.ndarray]: ...


def problem(
    widths: tuple[int, ...], batch: int, steps: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Problem:
    g = torch.Generator().manual_seed(0)
    m = batch * steps
    x = torch.randn(m, widths[0], generator=g).to(device, dtype)
    if widths[-1] == 1:
        y = torch.rand(m, 1, generator=g).round().to(device, dtype)
    else:
        y = torch.randint(0, widths[-1], (m,), generator=g).to(device)
    weights = [
        (torch.randn(n_out, n_in, generator=g) / n_in**0.5).numpy() for n_in, n_out in itertools.pairwise(widths)
    ]
    return Problem(widths, batch, steps, weights, x, y, torch.randperm(m, generator=g))


def manual(p: Problem) -> tuple[mbp.Sequential, mbp.Loss, tuple[dict[str, Tensor], ...]]:
    layers: list[mbp.Layer] = []
    params: list[dict[str, Tensor]] = []
    for W in p.weights:
        layers += [mbp.Linear(W.shape[1], W.shape[0]), mbp.Sigmoid()]
        values = torch.from_numpy(W).clone().to(p.x)
        params += [{"W": values, "b": values.new_zeros(len(W))}, {}]
    loss = mbp.LogLoss() if p.widths[-1] == 1 else mbp.CrossEntropy()
    return mbp.Sequential(layers[:-1]), loss, tuple(params[:-1])


class ByHand:
    """One of this project's engines, by the product that it measures as the fastest: no part of its time."""

    def __init__(self, p: Problem, name: str, matmul: str = "ieee") -> None:
        from manualbp.engines import auto, build

        net, loss, self.params = manual(p)
        self.p, self.order, self.note = p, p.order.to(p.device), ""
        if name == "reference":
            self.engine = build("reference", net, loss, device=p.device, dtype=p.x.dtype)
            return
        names: Any = () if name == "auto" else (name,)
        choice = auto(net, loss, p.x, p.y, p.batch, matmul=matmul, names=names)  # type: ignore[arg-type]
        self.engine, self.note = choice.engine, choice.why

    def run(self, steps: int) -> None:
        order = self.order[: steps * self.p.batch]
        self.engine.train(self.params, self.p.x, self.p.y, order, self.p.batch, lr=LR, l2=L2)

    def weights(self) -> list[np.ndarray]:
        return [own["W"].cpu().numpy() for own in self.params if own]

    def biases(self) -> list[np.ndarray]:
        return [own["b"].cpu().numpy() for own in self.params if own]


class Eager:
    """nn.Module and optim.SGD, L2 as the optimizer's weight decay of the weights."""

    def __init__(self, p: Problem, **kind: bool) -> None:
        self.p, self.order = p, p.order.to(p.device)
        self.model, weights, biases = module(p)
        groups = [{"params": weights, "weight_decay": L2}, {"params": biases}]
        self.optimizer = torch.optim.SGD(groups, lr=LR, **kind)
        self.loss = F.binary_cross_entropy_with_logits if p.widths[-1] == 1 else F.cross_entropy
        self.losses: list[Tensor] = []

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        J: Tensor = self.loss(self.model(x), y)
        J.backward()
        self.optimizer.step()
        return J.detach()

    def run(self, steps: int) -> None:
        p = self.p
        self.losses = [self.step(p.x[rows], p.y[rows]) for rows in self.order[: steps * p.batch].split(p.batch)]

    def weights(self) -> list[np.ndarray]:
        return [layer.weight.detach().cpu().numpy() for layer in self.model if isinstance(layer, nn.Linear)]

    def biases(self) -> list[np.ndarray]:
        return [layer.bias.detach().cpu().numpy() for layer in self.model if isinstance(layer, nn.Linear)]


def module(p: Problem) -> tuple[nn.Sequential, list[nn.Parameter], list[nn.Parameter]]:
    layers: list[nn.Module] = []
    for W in p.weights:
        linear = nn.Linear(W.shape[1], W.shape[0], device=p.device, dtype=p.x.dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
            linear.bias.zero_()
        layers += [linear, nn.Sigmoid()]
    model = nn.Sequential(*layers[:-1])
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    return model, [layer.weight for layer in linears], [layer.bias for layer in linears]


class EagerGraph(Eager):
    """The eager step captured in a CUDA graph."""

    def __init__(self, p: Problem) -> None:
        super().__init__(p, foreach=True)
        self.rows = self.order[: p.batch].clone()
        stream = torch.cuda.Stream()
        kept = [q.detach().clone() for q in self.model.parameters()]
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(p.x[self.rows], p.y[self.rows])
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.J = self.step(p.x[self.rows], p.y[self.rows])
        with torch.no_grad():
            for q, value in zip(self.model.parameters(), kept, strict=True):
                q.copy_(value)

    def run(self, steps: int) -> None:
        self.losses = []
        for rows in self.order[: steps * self.p.batch].split(self.p.batch):
            self.rows.copy_(rows)
            self.graph.replay()
            self.losses.append(self.J.clone())


class CompiledStep:
    """torch.compile of the whole step: loss, gradient and update in one graph."""

    def __init__(self, p: Problem, mode: str | None) -> None:
        self.p, self.order = p, p.order.to(p.device)
        _, weights, biases = module(p)
        self.weights_ = [w.detach().clone() for w in weights]
        self.biases_ = [b.detach().clone() for b in biases]
        loss = F.binary_cross_entropy_with_logits if p.widths[-1] == 1 else F.cross_entropy

        def cost(weights: list[Tensor], biases: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
            for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
                x = F.linear(x, W, b)
                x = torch.sigmoid(x) if i + 1 < len(weights) else x
            return loss(x, y)

        gradient = torch.func.grad_and_value(cost, argnums=(0, 1))

        def step(weights: list[Tensor], biases: list[Tensor], x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
            (dW, db), J = gradient(weights, biases, x[rows], y[rows])
            for W, g in zip(weights, dW, strict=True):
                W.sub_(LR * (g + L2 * W))
            for b, g in zip(biases, db, strict=True):
                b.sub_(LR * g)
            return J

        torch._dynamo.reset()
        self.step = torch.compile(step, mode=mode, fullgraph=True, dynamic=False)

    def run(self, steps: int) -> None:
        p = self.p
        with torch.no_grad():
            rows = self.order[: steps * p.batch].split(p.batch)
            self.losses = [self.step(self.weights_, self.biases_, p.x, p.y, each) for each in rows]

    def weights(self) -> list[np.ndarray]:
        return [W.cpu().numpy() for W in self.weights_]

    def biases(self) -> list[np.ndarray]:
        return [b.cpu().numpy() for b in self.biases_]


class ScikitLearn:
    """MLPClassifier.partial_fit: one pass over the rows it is given, in their order."""

    def __init__(self, p: Problem) -> None:
        from sklearn.neural_network import MLPClassifier

        self.p = p
        self.model = MLPClassifier(
            p.widths[1:-1], activation="logistic", solver="sgd", momentum=0.0, nesterovs_momentum=False,
            learning_rate_init=LR, alpha=L2 * p.batch, batch_size=p.batch, shuffle=False, random_state=0,
        )  # fmt: skip
        self.x, self.y = p.x[p.order].numpy(), p.y[p.order].numpy().ravel().astype(np.int64)
        self.classes = np.arange(2 if p.widths[-1] == 1 else p.widths[-1])
        self._fit(1)
        for kept, W in zip(self.model.coefs_, p.weights, strict=True):
            kept[:] = W.T
        for kept in self.model.intercepts_:
            kept[:] = 0

    def _fit(self, steps: int) -> None:
        rows = steps * self.p.batch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.partial_fit(self.x[:rows], self.y[:rows], classes=self.classes)

    def run(self, steps: int) -> None:
        self._fit(steps)

    def weights(self) -> list[np.ndarray]:
        return [W.T for W in self.model.coefs_]

    def biases(self) -> list[np.ndarray]:
        return list(self.model.intercepts_)


class Jax:
    """jit and, with `scan`, the whole span as one lax.scan; without, a call a step. float32."""

    def __init__(self, p: Problem, *, scan: bool) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.p, self.scan = jax, p, scan
        self.params = [(jnp.array(W), jnp.zeros(len(W), jnp.float32)) for W in p.weights]
        self.x, self.y = jnp.array(p.x.numpy()), jnp.array(p.y.numpy())
        self.order = jnp.array(p.order.numpy().astype(np.int32))
        self.rows = [self.order[i * p.batch : (i + 1) * p.batch] for i in range(1 if scan else p.steps)]

        def cost(params: Any, x: Any, y: Any) -> Any:
            for i, (W, b) in enumerate(params):
                x = x @ W.T + b
                x = jax.nn.sigmoid(x) if i + 1 < len(params) else x
            if p.widths[-1] == 1:
                return (jnp.maximum(x, 0) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x)))).sum() / len(y)
            true = jnp.take_along_axis(x, y[:, None], 1)[:, 0]
            return (jax.nn.logsumexp(x, 1) - true).sum() / len(y)

        def step(params: Any, rows: Any) -> Any:
            J, grads = jax.value_and_grad(cost)(params, self.x[rows], self.y[rows])
            new = [(W - LR * (g + L2 * W), b - LR * gb) for (W, b), (g, gb) in zip(params, grads, strict=True)]
            return new, J

        def span(params: Any, order: Any) -> Any:
            return jax.lax.scan(step, params, order)

        self.call = jax.jit(span if scan else step, donate_argnums=0)

    def run(self, steps: int) -> None:
        if self.scan:
            order = self.order[: steps * self.p.batch].reshape(steps, self.p.batch)
            self.params, losses = self.call(self.params, order)
        else:
            losses = []
            for rows in self.rows[:steps]:
                self.params, J = self.call(self.params, rows)
                losses.append(J)
        self.jax.block_until_ready((self.params, losses))

    def weights(self) -> list[np.ndarray]:
        return [np.asarray(W) for W, _ in self.params]

    def biases(self) -> list[np.ndarray]:
        return [np.asarray(b) for _, b in self.params]


def contestants(p: Problem, *, compile_modes: tuple[str, ...]) -> dict[str, Any]:
    """Builders by name: this project's engines first."""
    found: dict[str, Any] = {
        "manualbp reference": lambda: ByHand(p, "reference"),
        "manualbp fused": lambda: ByHand(p, "fused"),
    }
    cuda = p.device.type == "cuda"
    found[f"manualbp {'graph' if cuda else 'compiled'}"] = lambda: ByHand(p, "graph" if cuda else "compiled")
    found["manualbp auto"] = lambda: ByHand(p, "auto")
    found["torch eager, foreach"] = lambda: Eager(p, foreach=True)
    found["torch eager, fused"] = lambda: Eager(p, fused=True)
    if cuda:
        found["torch eager, CUDA graph"] = lambda: EagerGraph(p)
    for mode in compile_modes:
        found[f"torch.compile, {mode}"] = lambda mode=mode: CompiledStep(p, None if mode == "default" else mode)
    if not cuda:
        found["scikit-learn"] = lambda: ScikitLearn(p)
    found["jax jit"] = lambda: Jax(p, scan=False)
    found["jax scan"] = lambda: Jax(p, scan=True)
    return found
