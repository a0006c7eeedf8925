"""Figure 1's network with two outputs, columns as in the lecture, and eq. (4) as the lecture prints it: one slip.

manualbp check examples/lecture_eq_4_printed.py
"""

import torch

from compare import binary, real

inputs = {
    "x": real("d", 1),
    "W2": real("h", "d"),
    "b2": real("h", 1),
    "W3": real("h", "h"),  # square, so that the printed product has the right shape
    "b3": real("h", 1),
    "y": binary("h", 1),
}


def forward(x, W2, b2, W3, b3, y):
    """One sample is a column. J is the log-loss, summed over outputs."""
    z2 = W2 @ x + b2
    a2 = torch.sigmoid(z2)
    z3 = W3 @ a2 + b3
    J = (torch.logaddexp(z3, torch.zeros_like(z3)) - y * z3).sum()
    return J, {"z2": z2, "a2": a2, "z3": z3}


def backward(x, W3, y, a2, z3):
    """Step 1 is eq. (3), step 2 eq. (4), step 3 eq. (5)."""
    slope = a2 * (1 - a2)
    delta3 = torch.sigmoid(z3) - y
    delta2 = (W3 * delta3) @ slope
    dW3, db3 = delta3 @ a2.T, delta3
    dW2, db2 = delta2 @ x.T, delta2
    return {"z3": delta3, "z2": delta2, "W3": dW3, "b3": db3, "W2": dW2, "b2": db2}
