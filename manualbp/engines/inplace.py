"""Activations and their derivatives in place: the lines of manualbp/activation.py without new tensors.

Exploits that a derivative which is a formula of a (sigmoid, tanh, ReLU) needs no z, so that a overwrites it; and that
delta may overwrite a once dJ/dW of the layer above is done.
"""

from __future__ import annotations

import torch
from torch import Tensor

from manualbp.activation import Identity, LeakyReLU, ReLU, Sigmoid, Tanh
from manualbp.layer import Layer

OVERWRITES = (Identity, Sigmoid, Tanh, ReLU)  # their a may take the place of z


def activate(f: Layer, z: Tensor, a: Tensor) -> None:
    """a = f(z); a is z itself for those in OVERWRITES."""
    if isinstance(f, Sigmoid):
        torch.sigmoid(z, out=a)
    elif isinstance(f, Tanh):
        torch.tanh(z, out=a)
    elif isinstance(f, ReLU):
        torch.clamp(z, min=0, out=a)
    elif isinstance(f, LeakyReLU):
        torch.mul(z, f.slope, out=a)
        torch.where(z > 0, z, a, out=a)
    elif not isinstance(f, Identity):
        a.copy_(f.forward({}, z)[0])


def times_slope_(f: Layer, z: Tensor, a: Tensor, da: Tensor) -> None:
    """delta = da * f'(z), in place of a; da stays."""
    if isinstance(f, Sigmoid):
        a.addcmul_(a, a, value=-1).mul_(da)  # a - a^2
    elif isinstance(f, Tanh):
        a.mul_(a).neg_().add_(1).mul_(da)  # 1 - a^2
    elif isinstance(f, ReLU):
        a.gt_(0).mul_(da)  # 1 or 0
    elif isinstance(f, LeakyReLU):
        torch.mul(da, f.slope, out=a)
        torch.where(z > 0, da, a, out=a)
    elif isinstance(f, Identity):
        a.copy_(da)
    else:
        a.copy_(f.backward({}, f.forward({}, z)[1], da)[0])
