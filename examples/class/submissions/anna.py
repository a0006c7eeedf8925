import torch


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
