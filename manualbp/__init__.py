"""Networks whose every gradient is derived and written out by hand, on torch tensors with autograd off.

net = Sequential([Linear(30, 16), Sigmoid(), Linear(16, 1)])
loss = LogLoss()
params = net.init(torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
z, cache = net.forward(params, x)
J, loss_cache = loss.forward(z, y)
dx, grads = net.backward(params, cache, loss.backward(loss_cache))
l2.add_gradient_(net, grads, params, 1e-3)
sgd_step_(params, grads, lr=0.5)
"""

from manualbp import l2
from manualbp.activation import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from manualbp.batches import Update, batch_rows, batches, visited
from manualbp.init import Initializer, Kaiming, Normal, Xavier, Zeros
from manualbp.layer import EVAL, Cache, Grads, Layer, Mode, Params, Value
from manualbp.linear import Linear
from manualbp.loss import CrossEntropy, LogLoss, Loss, SquaredError
from manualbp.params import at, named
from manualbp.residual import Residual
from manualbp.sequential import Sequential
from manualbp.sgd import sgd_step_

__all__ = [
    "ELU",
    "EVAL",
    "GELU",
    "Cache",
    "CrossEntropy",
    "Grads",
    "Identity",
    "Initializer",
    "Kaiming",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LogLoss",
    "Loss",
    "Mode",
    "Normal",
    "Params",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "SquaredError",
    "Tanh",
    "Update",
    "Value",
    "Xavier",
    "Zeros",
    "at",
    "batch_rows",
    "batches",
    "l2",
    "named",
    "sgd_step_",
    "visited",
]
