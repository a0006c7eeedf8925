"""The autograd side: stock torch.nn, what it lacks, and a training step by autograd."""

from torch_ref.modules import HalfSquaredError, LogSumExpLoss, Residual, ThroughForward
from torch_ref.step import backward, cost, sgd_step_

__all__ = ["HalfSquaredError", "LogSumExpLoss", "Residual", "ThroughForward", "backward", "cost", "sgd_step_"]
