"""The reference of a small class: what everybody's backward is handed, and the gradients that are graded.

manualbp grade examples/class/submissions --reference examples/class/teacher.py --weights examples/class/weights.toml
"""

import torch

from compare import binary, real

inputs = {
    "x": real("m", "d"),
    "W2": real("h", "d"),
    "b2": real("h"),
    "W3": real("k", "h"),
    "b3": real("k"),
    "y": binary("m", "k"),
}


def forward(x, W2, b2, W3, b3, y):
    """Rows are samples. J is the log-loss, summed over outputs and averaged over samples."""
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W3.T + b3
    J = (torch.logaddexp(z3, torch.zeros_like(z3)) - y * z3).sum() / len(x)
    return J, {"z2": z2, "a2": a2, "z3": z3}


def backward(x, W3, y, a2, z3):
    """One line a step, from J backwards."""
    m = len(x)
    dz3 = (torch.sigmoid(z3) - y) / m
    dW3 = dz3.T @ a2
    db3 = dz3.sum(0)
    da2 = dz3 @ W3
    dz2 = da2 * a2 * (1 - a2)
    dW2 = dz2.T @ x
    db2 = dz2.sum(0)
    return {"z3": dz3, "W3": dW3, "b3": db3, "a2": da2, "z2": dz2, "W2": dW2, "b2": db2}
