"""Activations and their derivatives in place: the lines of manualbp/activation.py without new tensors.

Exploits that a derivative which is a formula of a (sigmoid, tanh, ReLU) needs no z, so that a overwrites it; and that
a itself is free to be overwritten once dJ/dW of the layer above is done.
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


def times_slope_(f: Layer, z: Tensor, a: Tensor, delta: Tensor) -> None:
    """delta = da * f'(z), in place of da; a is lost."""
    if isinstance(f, Sigmoid):
        delta.mul_(a.addcmul_(a, a, value=-1))  # a - a^2
    elif isinstance(f, Tanh):
        delta.mul_(a.mul_(a).neg_().add_(1))  # 1 - a^2
    elif isinstance(f, ReLU):
        delta.mul_(a.gt_(0))  # 1 or 0
    elif isinstance(f, LeakyReLU):
        torch.mul(delta, f.slope, out=a)
        torch.where(z > 0, delta, a, out=delta)
    elif not isinstance(f, Identity):
        delta.copy_(f.backward({}, f.forward({}, z)[1], delta)[0])
