"""The same mathematics made fast: engines train in place and equal `reference` up to rounding.

engine = build("fused", net, loss, device=x.device, dtype=x.dtype)
losses = engine.train(params, x, y, torch.randperm(len(x)), 32, lr=0.1, l2=1e-4)
"""

from manualbp.engines.auto import Choice, EngineName, auto, build
from manualbp.engines.engine import Engine
from manualbp.engines.plan import stages
from manualbp.engines.products import Matmul

__all__ = ["Choice", "Engine", "EngineName", "Matmul", "auto", "build", "stages"]
