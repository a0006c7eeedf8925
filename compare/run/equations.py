"""The equations that a network's training runs, in the lecture's names and numbers, one line a step."""

from __future__ import annotations

import manualbp as mbp
from compare.names import Names, leaves

DERIVATIVES = {
    "Sigmoid": ("1 / (1 + exp(-{z}))", "{a} ∘ (1 - {a})"),
    "Tanh": ("tanh({z})", "(1 - {a}²)"),
    "ReLU": ("max(0, {z})", "[{z} > 0]"),
    "LeakyReLU": ("{z} if {z} > 0 else slope {z}", "(1 if {z} > 0 else slope)"),
    "Identity": ("{z}", "1"),
}
COSTS = {
    "LogLoss": (
        "J = -(1/m) Σ [y log ŷ + (1 - y) log(1 - ŷ)],  ŷ = 1 / (1 + exp(-{z}))",
        "δ{z} = (ŷ - y) / m    (3)",
    ),
    "CrossEntropy": ("J = -(1/m) Σ log ŷ[y],  ŷ = softmax({z})", "δ{z} = (ŷ - onehot(y)) / m"),
    "SquaredError": ("J = (1/2m) Σ ({z} - y)²", "δ{z} = ({z} - y) / m"),
}


def equations(net: mbp.Layer, params: mbp.Params, names: Names, loss: mbp.Loss, *, l2: float) -> list[str]:
    """Forward, backward and update. Rows are samples; a layer that the lecture has not is named, not written out."""
    forward: list[str] = []
    backward: list[str] = []
    x = "x"
    for path, layer, _ in leaves(net, params):
        out, kind = names.outputs[path], type(layer).__name__
        W, b = (names.parameters.get(f"{path}.{each}" if path else each) for each in "Wb")
        if kind == "Linear" and W is not None:
            decay = f" + λ {W}" if l2 else ""
            forward.append(f"{out} = {x} {W}ᵀ" + (f" + {b}" if b else ""))
            step = [f"dJ/d{W} = δ{out}ᵀ {x}{decay}" + (f",  dJ/d{b} = Σ δ{out}" if b else "") + "    (5)"]
            if x != "x":
                step.append(f"dJ/d{x} = δ{out} {W}")
        elif kind in DERIVATIVES:
            value, derivative = (text.format(z=x, a=out) for text in DERIVATIVES[kind])
            forward.append(f"{out} = {value}")
            step = [f"δ{x} = dJ/d{out} ∘ {derivative}    (4)"]
        else:
            forward.append(f"{out} = {kind}({x})")
            step = [f"dJ/d{x} = {kind}.backward(dJ/d{out})"]
        backward = step + backward
        x = out
    cost, delta = COSTS.get(type(loss).__name__, ("J = " + type(loss).__name__ + "({z}, y)", "δ{z} = dJ/d{z}"))
    penalty = [f"J + (λ/2) Σ W²,  λ = {l2:g}"] if l2 else []
    update = ["W ← W - α dJ/dW,  b ← b - α dJ/db    (1)"]
    return [*forward, cost.format(z=x), *penalty, delta.format(z=x), *backward, *update]
