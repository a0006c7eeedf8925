"""A network with two hidden layers, columns as in the lecture, and eq. (4) as it must read. All of it is right.

manualbp check examples/lecture_eq_4.py
"""

import torch

from compare import binary, real

inputs = {
    "x": real("n1", 1),
    "W2": real("n2", "n1"),
    "b2": real("n2", 1),
    "W3": real("n3", "n2"),
    "b3": real("n3", 1),
    "W4": real("n4", "n3"),
    "b4": real("n4", 1),
    "y": binary("n4", 1),
}


def forward(x, W2, b2, W3, b3, W4, b4, y):
    """One sample is a column. J is the log-loss, summed over outputs."""
    z2 = W2 @ x + b2
    a2 = torch.sigmoid(z2)
    z3 = W3 @ a2 + b3
    a3 = torch.sigmoid(z3)
    z4 = W4 @ a3 + b4
    J = (torch.logaddexp(z4, torch.zeros_like(z4)) - y * z4).sum()
    return J, {"z2": z2, "a2": a2, "z3": z3, "a3": a3, "z4": z4}


def backward(x, W3, W4, y, a2, a3, z4):
    """Step 1 is eq. (3); step 2, for l = 3 and l = 2, eq. (4); step 3 eq. (5)."""
    delta4 = torch.sigmoid(z4) - y
    delta3 = (W4.T @ delta4) * (a3 * (1 - a3))
    delta2 = (W3.T @ delta3) * (a2 * (1 - a2))
    return {
        "z4": delta4,
        "z3": delta3,
        "z2": delta2,
        "W4": delta4 @ a3.T,
        "b4": delta4,
        "W3": delta3 @ a2.T,
        "b3": delta3,
        "W2": delta2 @ x.T,
        "b2": delta2,
    }
