"""Every loss and layer of torch may stand in a forward: with its own derivative as the backward, the check passes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compare import check_derivation
from compare.check import backward as backward_module

pytestmark = pytest.mark.slow


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


T = normal(5, 3, seed=1)
P, SIGNS, BITS, CLASSES = torch.softmax(T, 1), T.sign(), (T > 0).double(), torch.tensor([0, 2, 1, 1, 0])
WEIGHT = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
K1, K2 = normal(2, 3, 3, seed=2), normal(2, 1, 2, 2, seed=3)


def module(make: Callable[[], nn.Module]) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(0)
    return make().double()


LSTM, GRU = module(lambda: nn.LSTM(3, 2, batch_first=True)), module(lambda: nn.GRU(3, 2, batch_first=True))
ATTENTION = module(lambda: nn.MultiheadAttention(3, 1, batch_first=True))
ENCODER = module(lambda: nn.TransformerEncoderLayer(3, 1, 8, dropout=0.0, batch_first=True))

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": lambda z: F.mse_loss(z, T),
    "l1": lambda z: F.l1_loss(z, T),
    "smooth_l1": lambda z: F.smooth_l1_loss(z, T),
    "huber": lambda z: F.huber_loss(z, T, delta=0.5),
    "cross_entropy": lambda z: F.cross_entropy(z, CLASSES),
    "cross_entropy smoothed": lambda z: F.cross_entropy(z, CLASSES, label_smoothing=0.1),
    "cross_entropy weighted": lambda z: F.cross_entropy(z, CLASSES, weight=WEIGHT),
    "cross_entropy of probabilities": lambda z: F.cross_entropy(z, P),
    "cross_entropy with a class left out": lambda z: F.cross_entropy(z, CLASSES, ignore_index=1),
    "nll": lambda z: F.nll_loss(F.log_softmax(z, 1), CLASSES),
    "log-loss": lambda z: F.binary_cross_entropy(torch.sigmoid(z), BITS),
    "log-loss of z": lambda z: F.binary_cross_entropy_with_logits(z, BITS, pos_weight=WEIGHT),
    "kl": lambda z: F.kl_div(F.log_softmax(z, 1), P, reduction="batchmean"),
    "poisson": lambda z: F.poisson_nll_loss(z, P),
    "gaussian": lambda z: F.gaussian_nll_loss(z, T, torch.full_like(z, 0.5)),
    "hinge embedding": lambda z: F.hinge_embedding_loss(z, SIGNS),
    "multi margin": lambda z: F.multi_margin_loss(z, CLASSES),
    "multilabel margin": lambda z: F.multilabel_margin_loss(z, torch.tensor([[0, 2, -1]] * 5)),
    "multilabel soft margin": lambda z: F.multilabel_soft_margin_loss(z, BITS),
    "soft margin": lambda z: F.soft_margin_loss(z, SIGNS),
    "ranking": lambda z: F.margin_ranking_loss(z[:, 0], z[:, 1], SIGNS[:, 0]),
    "cosine embedding": lambda z: F.cosine_embedding_loss(z, T, SIGNS[:, 0]),
    "triplet": lambda z: F.triplet_margin_loss(z, T, T.flip(0)),
    "ctc": lambda z: F.ctc_loss(
        F.log_softmax(z.reshape(5, 1, 3), -1), torch.tensor([[1, 2]]), torch.tensor([5]), torch.tensor([2])
    ),
}
LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        name: getattr(F, name)
        for name in "gelu silu mish elu selu celu softplus softsign hardswish hardsigmoid".split()
    },
    **{
        name: getattr(F, name)
        for name in "hardtanh hardshrink softshrink tanhshrink relu6 leaky_relu logsigmoid".split()
    },
    "layer_norm": lambda z: F.layer_norm(z, (3,)),
    "rms_norm": lambda z: F.rms_norm(z, (3,)),
    "group_norm": lambda z: F.group_norm(z.reshape(1, 3, 5), 3),
    "instance_norm": lambda z: F.instance_norm(z.reshape(1, 3, 5)),
    "batch_norm": lambda z: F.batch_norm(z, None, None, training=True),
    "local_response_norm": lambda z: F.local_response_norm(z.reshape(1, 3, 5), 2),
    "conv1d": lambda z: F.conv1d(z.reshape(1, 3, 5), K1),
    "conv2d": lambda z: F.conv2d(z.reshape(1, 1, 5, 3), K2, padding=1, stride=2),
    "conv_transpose1d": lambda z: F.conv_transpose1d(z.reshape(1, 3, 5), K1.transpose(0, 1)),
    "max_pool1d": lambda z: F.max_pool1d(z.reshape(1, 3, 5), 2),
    "avg_pool2d": lambda z: F.avg_pool2d(z.reshape(1, 1, 5, 3), 2),
    "adaptive_avg_pool1d": lambda z: F.adaptive_avg_pool1d(z.reshape(1, 3, 5), 2),
    "interpolate": lambda z: F.interpolate(z.reshape(1, 3, 5), size=7, mode="linear"),
    "grid_sample": lambda z: F.grid_sample(
        T[:4].reshape(1, 1, 4, 3), z[:4, :2].tanh().reshape(1, 2, 2, 2), align_corners=True
    ),
    "embedding": lambda z: F.embedding(torch.tensor([0, 4, 4]), z),
    "embedding_bag": lambda z: F.embedding_bag(torch.tensor([[0, 4], [4, 1]]), z),
    "attention": lambda z: F.scaled_dot_product_attention(z[None], z[None], T[None], is_causal=True),
    "bilinear": lambda z: F.bilinear(z, z, normal(2, 3, 3, seed=4)),
    "lstm": lambda z: LSTM(z[None])[0],
    "gru": lambda z: GRU(z[None])[0],
    "multihead attention": lambda z: ATTENTION(z[None], z[None], z[None])[0],
    "transformer": lambda z: ENCODER(z[None]),
    "logsumexp": lambda z: torch.logsumexp(z, 1),
    "logcumsumexp": lambda z: z.logcumsumexp(0),
    "cumprod": lambda z: z.cumprod(0),
    "sort": lambda z: z.sort(0).values,
    "std": lambda z: z.std(0),
    "cdist": lambda z: torch.cdist(z, T),
    "inverse": lambda z: torch.inverse(z[:3]),
    "cholesky": lambda z: torch.linalg.cholesky(z.T @ z),
    "singular values": torch.linalg.svdvals,
    "matrix_exp": lambda z: torch.matrix_exp(z[:3]),
    "fft": lambda z: torch.fft.rfft(z, dim=0).abs(),
    "index_add": lambda z: torch.zeros(2, 3, dtype=z.dtype).index_add(0, torch.tensor([0, 1, 0, 1, 1]), z),
}
FORWARDS = LOSSES | {name: lambda z, layer=layer: layer(z).square().sum() for name, layer in LAYERS.items()}


@pytest.mark.parametrize("name", FORWARDS)
def test_in_a_forward(name, monkeypatch):
    monkeypatch.setattr(backward_module, "_without_autograd", contextlib.nullcontext)
    cost = FORWARDS[name]

    def forward(x):
        h = 1.5 * x
        return cost(h), {"h": h}

    def backward(x, h):
        with torch.enable_grad():
            leaf = h.detach().clone().requires_grad_()
            (dh,) = torch.autograd.grad(cost(leaf), leaf)
        return {"h": dh, "x": 1.5 * dh}

    report = check_derivation(forward, backward, {"x": normal(5, 3, seed=0)}, seconds=2)
    assert report.ok, str(report)
    assert report.conditions[0].status == "ok"
