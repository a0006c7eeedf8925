"""Softmax fused with cross-entropy and sigmoid with log-loss, in the forms met in practice."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from compare.check.inputs import index, one_hot, positive, probability, real
from tests.derivations import control
from tests.derivations.controls_nets import CLASSES, LOGISTIC, NET, classes, logistic


def below(dz3, x, a2, W2, W3):
    """What lies below the loss in `classes`."""
    dz2 = (dz3 @ W3) * (1 - a2**2)
    return {"z3": dz3, "W3": dz3.T @ a2, "b3": dz3.sum(0), "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0)}


@control(classes, CLASSES)
def logsumexp_probabilities(x, y, a2, W2, W3, z3):
    p = torch.exp(z3 - torch.logsumexp(z3, 1, keepdim=True))
    return below((p - y) / len(x), x, a2, W2, W3)


@control(classes, CLASSES)
def divided_first(x, y, a2, W2, W3, z3):
    return below(torch.softmax(z3, 1) / len(x) - y / len(x), x, a2, W2, W3)


@control(classes, CLASSES)
def shifted_by_hand(x, y, a2, W2, W3, z3):
    e = torch.exp(z3 - z3.amax(1, keepdim=True))
    return below((e / e.sum(1, keepdim=True) - y).div_(len(x)), x, a2, W2, W3)


@control(classes, CLASSES)
def jacobian_of_log_softmax(x, y, a2, W2, W3, z3):
    p = torch.softmax(z3, 1)
    jacobian = torch.eye(p.shape[1], dtype=p.dtype) - p[:, None, :].expand(-1, p.shape[1], -1)
    dz3 = torch.einsum("mi,mij->mj", -y / len(x), jacobian)
    return below(dz3, x, a2, W2, W3)


@control(classes, CLASSES)
def vector_jacobian_of_log_softmax(x, y, a2, W2, W3, z3):
    g = -y / len(x)
    return below(g - torch.softmax(z3, 1) * g.sum(1, keepdim=True), x, a2, W2, W3)


@control(classes, CLASSES)
def subtract_one_at_the_label(x, y, a2, W2, W3, z3):
    dz3 = torch.softmax(z3, 1)
    dz3[torch.arange(len(x)), y.argmax(1)] -= 1
    dz3 /= len(x)
    return below(dz3, x, a2, W2, W3)


@control(classes, CLASSES)
def scatter_minus_one(x, y, a2, W2, W3, z3):
    label = y.argmax(1, keepdim=True)
    minus = torch.full_like(label, -1, dtype=z3.dtype)
    return below(torch.softmax(z3, 1).scatter_add(1, label, minus) / len(x), x, a2, W2, W3)


@control(classes, CLASSES)
def numpy_scores(x, y, a2, W3, z3):
    scores, labels = z3.numpy().copy(), y.numpy().argmax(1)
    scores -= scores.max(axis=1, keepdims=True)
    p = np.exp(scores)
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(p)), labels] -= 1
    p /= len(p)
    return {"z3": p, "W3": p.T @ a2.numpy(), "b3": p.sum(0), "a2": p @ W3.numpy()}


@control(classes, CLASSES)
def reciprocal_of_differences(x, y, a2, W2, W3, z3):
    p = 1 / torch.exp(z3[:, :, None] - z3[:, None, :]).sum(1)
    return below((p - y) / len(x), x, a2, W2, W3)


@control(classes, CLASSES)
def sample_by_sample(x, y, a2, W2, W3, z3):
    rows = [(torch.softmax(z, 0) - t) / len(x) for z, t in zip(z3, y, strict=True)]
    return below(torch.stack(rows), x, a2, W2, W3)


@control(classes, CLASSES)
def class_by_class(x, y, a2, W2, W3, z3):
    log_total = torch.logsumexp(z3, 1)
    columns = [(torch.exp(z3[:, k] - log_total) - y[:, k]) / len(x) for k in range(z3.shape[1])]
    return below(torch.stack(columns, 1), x, a2, W2, W3)


@control(classes, {**CLASSES, "y": one_hot("m", 2), "W3": real(2, "h"), "b3": real(2)})
def two_classes_by_a_sigmoid(x, y, a2, W2, W3, z3):
    p = torch.sigmoid(z3[:, 1] - z3[:, 0])
    d = (p - y[:, 1]) / len(x)
    return below(torch.stack([-d, d], 1), x, a2, W2, W3)


def soft_targets(x, y, W, b):
    z = x @ W.T + b
    log_p = torch.log_softmax(z, 1)
    return -(y * log_p).sum(1).mean(), {"z": z, "log_p": log_p}


@control(soft_targets, {"x": real("m", "d"), "y": probability("m", "k"), "W": real("k", "d"), "b": real("k")})
def soft_targets_use_their_sum(x, y, W, log_p):
    dz = (log_p.exp() - y) / len(x)
    return {"log_p": -y / len(x), "z": dz, "W": dz.T @ x, "b": dz.sum(0), "y": -log_p / len(x)}


@control(soft_targets, {"x": real("m", "d"), "y": real("m", "k"), "W": real("k", "d"), "b": real("k")})
def targets_that_do_not_sum_to_one(x, y, log_p):
    dz = (log_p.exp() * y.sum(1, keepdim=True) - y) / len(x)
    return {"z": dz, "W": dz.T @ x, "b": dz.sum(0)}


def labels(x, y, W, b):
    z = x @ W.T + b
    return F.cross_entropy(z, y), {"z": z}


LABELS = {"x": real("m", "d"), "y": index("m", classes="k"), "W": real("k", "d"), "b": real("k")}


@control(labels, LABELS)
def labels_to_one_hot(x, y, z):
    dz = (torch.softmax(z, 1) - F.one_hot(y, z.shape[1])) / len(y)
    return {"z": dz, "W": dz.T @ x, "b": dz.sum(0)}


@control(labels, LABELS)
def labels_by_index_put(x, y, z):
    dz = torch.softmax(z, 1).index_put((torch.arange(len(y)), y), z.new_tensor(-1.0), accumulate=True) / len(y)
    return {"z": dz, "W": (x.T @ dz).T, "b": dz.sum(0)}


@control(labels, LABELS)
def labels_by_an_identity_matrix(x, y, z):
    dz = (np.exp(torch.log_softmax(z, 1).numpy()) - np.eye(z.shape[1])[y.numpy()]) / y.numel()
    return {"z": dz, "W": dz.T @ x.numpy(), "b": dz.sum(axis=0)}


@control(labels, LABELS)
def class_sums_for_the_targets(x, y, W, z):
    """dW without the delta: expected features minus observed features of each class."""
    p = torch.softmax(z, 1)
    observed = torch.zeros_like(W).index_add_(0, y, x)
    counts = torch.bincount(y, minlength=len(W)).to(p.dtype)
    return {"W": (p.T @ x - observed) / len(x), "b": (p.sum(0) - counts) / len(x)}


def weighted_labels(x, y, w, W):
    z = x @ W.T
    return F.cross_entropy(z, y, weight=w), {"z": z}


@control(
    weighted_labels,
    {"x": real("m", "d"), "y": index("m", classes="k"), "w": positive("k"), "W": real("k", "d")},
)
def class_weights_divide_by_their_sum(x, y, w, W, z):
    of_sample = w[y] / w[y].sum()
    dz = of_sample[:, None] * (torch.softmax(z, 1) - F.one_hot(y, len(W)))
    return {"z": dz, "W": dz.T @ x, "x": dz @ W}


def smoothed(x, y, W):
    z = x @ W.T
    return F.cross_entropy(z, y, label_smoothing=0.1), {"z": z}


@control(smoothed, {"x": real("m", "d"), "y": index("m", classes="k"), "W": real("k", "d")})
def label_smoothing(x, y, z):
    target = torch.full_like(z, 0.1 / z.shape[1])
    target[range(len(y)), y] += 0.9
    dz = (torch.softmax(z, 1) - target) / len(y)
    return {"z": dz, "W": dz.T @ x}


LOGISTIC_DELTAS = {
    "by_tanh": lambda z, y: (1 + torch.tanh(z / 2)) / 2 - y,
    "by_cases": lambda z, y: (
        torch.where(z >= 0, 1 / (1 + torch.exp(-z.abs())), torch.exp(-z.abs()) / (1 + torch.exp(-z.abs()))) - y
    ),
    "by_softplus": lambda z, y: torch.exp(-F.softplus(-z)) - y,
    "by_sign": lambda z, y: (1 - 2 * y) * torch.sigmoid((1 - 2 * y) * z),
    "by_both_terms": lambda z, y: (1 - y) * torch.sigmoid(z) - y * torch.sigmoid(-z),
    "by_logaddexp": lambda z, y: torch.from_numpy(np.exp(-np.logaddexp(0, -z.numpy()))) - y,
    "by_a_softmax_with_zero": lambda z, y: torch.softmax(torch.stack([z, torch.zeros_like(z)]), 0)[0] - y,
    "by_where_on_labels": lambda z, y: torch.where(y > 0.5, -torch.sigmoid(-z), torch.sigmoid(z)),
}


def logistic_by(delta):
    def backward(x, y, a2, W3, z3):
        dz3 = delta(z3, y) / len(x)
        da2 = dz3 @ W3
        dz2 = da2 * a2 * (1 - a2)
        return {"z3": dz3, "a2": da2, "W3": dz3.T @ a2, "b3": dz3.sum(0), "z2": dz2, "W2": dz2.T @ x}

    return backward


for _name, _delta in LOGISTIC_DELTAS.items():
    control(logistic, LOGISTIC, name=f"log_loss_{_name}")(logistic_by(_delta))


def weighted_log_loss(x, y, w, W2, b2, W3, b3):
    a2 = torch.relu(x @ W2.T + b2)
    z3 = a2 @ W3.T + b3
    J = F.binary_cross_entropy_with_logits(z3, y, weight=w[:, None], pos_weight=torch.full_like(b3, 3.0))
    return J, {"a2": a2, "z3": z3}


@control(weighted_log_loss, {**NET, "y": LOGISTIC["y"], "w": positive("m")})
def weights_of_samples_and_positives(x, y, w, a2, W3, z3):
    scale = w[:, None] / y.numel()
    dz3 = scale * ((1 - y) * torch.sigmoid(z3) - 3 * y * torch.sigmoid(-z3))
    dz2 = (dz3 @ W3) * (a2 > 0)
    return {"z3": dz3, "W3": dz3.T @ a2, "W2": dz2.T @ x, "b2": dz2.sum(0), "a2": dz3 @ W3}


def entropy(z):
    """The mean entropy of softmax(z)."""
    log_p = torch.log_softmax(z, 1)
    p = log_p.exp()
    return -(p * log_p).sum(1).mean(), {"p": p}


@control(entropy, {"z": real("m", "k")})
def entropy_centred(z):
    log_p = torch.log_softmax(z, 1)
    p = log_p.exp()
    return {"z": -p * (log_p - (p * log_p).sum(1, keepdim=True)) / len(z)}
