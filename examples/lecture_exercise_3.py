"""Exercise 3 of the lecture: Figure 1's network under J = (y^ - y)^2 / 2, with y^ = sigma(z[3]). All of it is right.

manualbp check examples/lecture_exercise_3.py
"""

import torch

from compare import real

inputs = {
    "x": real(3, 1),
    "W2": real(3, 3),
    "b2": real(3, 1),
    "W3": real(1, 3),
    "b3": real(1, 1),
    "y": real(1, 1),
}


def forward(x, W2, b2, W3, b3, y):
    """One sample is a column."""
    z2 = W2 @ x + b2
    a2 = torch.sigmoid(z2)
    z3 = W3 @ a2 + b3
    a3 = torch.sigmoid(z3)
    J = 0.5 * ((a3 - y) ** 2).sum()
    return J, {"z2": z2, "a2": a2, "z3": z3, "a3": a3}


def backward(x, W3, y, a2, a3):
    """With this cost the slope of the output's sigmoid stays: delta[3] is not a[3] - y alone."""
    delta3 = (a3 - y) * (a3 * (1 - a3))
    delta2 = (W3.T @ delta3) * (a2 * (1 - a2))
    return {"z3": delta3, "z2": delta2, "W3": delta3 @ a2.T, "b3": delta3, "W2": delta2 @ x.T, "b2": delta2}
