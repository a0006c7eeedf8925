"""Blocks gone wrong: residual, tied weights, softmax, norms, attention, embedding, dropout.

The causes are listed in mlp_mistakes.
"""

from __future__ import annotations

import torch

from tests.derivations import wrong
from tests.derivations.blocks import (
    BATCH_NORM,
    DROPOUT,
    LAYER_NORM,
    RESIDUAL,
    RMS_NORM,
    SCALE_SHIFT,
    SOFTMAX,
    TIED,
    batch_norm_forward,
    dropout_forward,
    layer_norm_forward,
    residual_forward,
    rms_norm_forward,
    scale_shift_forward,
    softmax_forward,
    tied_forward,
)
from tests.derivations.mlp_costs import POWER, power_forward

WHOLE = {"whole_batch": True}  # statistics of a single sample are degenerate


@wrong(residual_forward, RESIDUAL, steps=("x",), cause="missing_path")
def skip_path_forgotten(x, W2, W3, y, a2, h, z3):
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    dz2 = dh * (1 - a2**2)
    dx = dz2 @ W2
    return {"z3": dz3, "W3": dz3.T @ h, "h": dh, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0), "x": dx}


@wrong(residual_forward, RESIDUAL, steps=("x",), cause="missing_path")
def only_the_skip_path(x, W3, y, a2, h, z3):
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    dz2 = dh * (1 - a2**2)
    return {"z3": dz3, "W3": dz3.T @ h, "h": dh, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0), "x": dh}


@wrong(residual_forward, RESIDUAL, steps=("x",), cause="path_twice")
def skip_path_counted_twice(x, W2, W3, y, a2, h, z3):
    dz3 = (z3 - y) / len(x)
    dx = dh = dz3 @ W3
    dx = dx + dh
    dz2 = dh * (1 - a2**2)
    dx = dx + dz2 @ W2
    return {"z3": dz3, "W3": dz3.T @ h, "h": dh, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0), "x": dx}


@wrong(residual_forward, RESIDUAL, steps=("z2",), cause="modified_in_place")
def skip_path_added_too_early(x, W2, W3, y, a2, h, z3):
    """dx and dh are one array: += into dx changes dh before the branch has used it."""
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    kept = dh.clone()
    dx = dh
    dx += (dh * (1 - a2**2)) @ W2
    dz2 = dh * (1 - a2**2)
    dx = kept + dz2 @ W2
    return {"z3": dz3, "W3": dz3.T @ h, "h": kept, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0), "x": dx}


@wrong(residual_forward, RESIDUAL, steps=("W3",), cause="wrong_operand")
def branch_without_the_skip_in_dW(x, W2, W3, y, a2, z3):
    dz3 = (z3 - y) / len(x)
    dh = dz3 @ W3
    dz2 = dh * (1 - a2**2)
    return {"z3": dz3, "W3": dz3.T @ a2, "h": dh, "z2": dz2, "W2": dz2.T @ x, "x": dh + dz2 @ W2}


@wrong(tied_forward, TIED, steps=("W2",), cause="missing_path")
def decoder_path_forgotten(x, W2, a2, z3):
    dz3 = (z3 - x) / len(x)
    da2 = dz3 @ W2.T
    dz2 = da2 * a2 * (1 - a2)
    return {"z3": dz3, "b3": dz3.sum(0), "a2": da2, "z2": dz2, "W2": dz2.T @ x, "b2": dz2.sum(0)}


@wrong(tied_forward, TIED, steps=("W2",), cause="overwritten")
def encoder_path_overwritten(x, W2, a2, z3):
    grads = {}
    dz3 = (z3 - x) / len(x)
    dz2 = (dz3 @ W2.T) * a2 * (1 - a2)
    grads["W2"] = dz2.T @ x
    grads["W2"] = a2.T @ dz3
    grads |= {"z3": dz3, "b3": dz3.sum(0), "z2": dz2, "b2": dz2.sum(0)}
    return grads


@wrong(tied_forward, TIED, steps=("x",), cause="missing_path")
def input_as_target_forgotten(x, W2, a2, z3):
    """x is also the target of the reconstruction."""
    dz3 = (z3 - x) / len(x)
    dz2 = (dz3 @ W2.T) * a2 * (1 - a2)
    dW2 = dz2.T @ x + a2.T @ dz3
    return {"z3": dz3, "z2": dz2, "W2": dW2, "b2": dz2.sum(0), "x": dz2 @ W2}


@wrong(softmax_forward, SOFTMAX, steps=("x",), cause="diagonal_jacobian")
def softmax_like_a_sigmoid(dout, p):
    return {"p": dout, "x": dout * p * (1 - p)}


@wrong(softmax_forward, SOFTMAX, steps=("x",), cause="wrong_axis")
def softmax_sum_over_samples(dout, p):
    return {"p": dout, "x": p * (dout - (p * dout).sum(0, keepdim=True))}


@wrong(softmax_forward, SOFTMAX, steps=("x",), cause="missing_factor")
def softmax_sum_without_p(dout, p):
    return {"p": dout, "x": p * (dout - dout.sum(1, keepdim=True))}


@wrong(softmax_forward, SOFTMAX, steps=("x",), cause="sign")
def softmax_jacobian_with_plus(x, dout, p):
    dx = torch.zeros_like(x)
    for i, row in enumerate(p):
        dx[i] = (torch.diag(row) + torch.outer(row, row)) @ dout[i]
    return {"p": dout, "x": dx}


@wrong(softmax_forward, SOFTMAX, steps=("x",), cause="order_of_operations")
def softmax_bracket(dout, p):
    return {"p": dout, "x": p * dout - (p * dout).sum(1, keepdim=True)}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="missing_path")
def mean_path_forgotten(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - xhat * (dxhat * xhat).mean(-1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="missing_path")
def variance_path_forgotten(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.mean(-1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="missing_path")
def statistics_taken_as_constants(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dxhat * rstd}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="missing_mean")
def sums_for_means_in_layer_norm(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.sum(-1, keepdim=True) - xhat * (dxhat * xhat).sum(-1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="wrong_axis")
def layer_norm_with_batch_axis(gamma, dout, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.mean(0) - xhat * (dxhat * xhat).mean(0))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="missing_factor")
def gamma_forgotten(dout, rstd, xhat):
    dx = rstd * (dout - dout.mean(-1, keepdim=True) - xhat * (dout * xhat).mean(-1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("gamma",), cause="wrong_operand")
def gamma_from_the_centred_input(gamma, dout, xc, rstd, xhat):
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
    return {"gamma": (dout * xc).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="wrong_epsilon")
def epsilon_outside_the_root(gamma, dout, xc, var, xhat):
    """rstd recomputed as 1 / (sqrt(var) + eps): a difference of about 1e-5, relative."""
    rstd = 1 / (torch.sqrt(var) + 1e-5)
    dxhat = dout * gamma
    dx = rstd * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("x",), cause="wrong_count")
def layer_norm_unbiased(gamma, dout, xc, rstd, xhat):
    d = xc.shape[1]
    dxhat = dout * gamma
    dvar = (dxhat * xc).sum(1, keepdim=True) * -0.5 * rstd**3
    dx = dxhat * rstd - dxhat.sum(1, keepdim=True) * rstd / d + 2 * xc * dvar / (d - 1)
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(layer_norm_forward, LAYER_NORM, steps=("var",), cause="wrong_activation_derivative")
def power_of_the_variance(gamma, dout, xc, var, rstd, xhat):
    """-1/2 (var + eps)^(-1/2) for -1/2 (var + eps)^(-3/2)."""
    d = xc.shape[1]
    dxhat = dout * gamma
    drstd = (dxhat * xc).sum(1, keepdim=True)
    dvar = drstd * -0.5 * (var + 1e-5) ** -0.5
    dxc = dxhat * rstd + dvar * 2 * xc / d
    dmu = -dxc.sum(1, keepdim=True)
    return {"xhat": dxhat, "rstd": drstd, "var": dvar, "xc": dxc, "mu": dmu, "x": dxc + dmu / d}


@wrong(layer_norm_forward, LAYER_NORM, steps=("xc",), cause="missing_path")
def centred_input_by_one_path(gamma, dout, xc, var, rstd, xhat):
    d = xc.shape[1]
    dxhat = dout * gamma
    drstd = (dxhat * xc).sum(1, keepdim=True)
    dvar = drstd * -0.5 * (var + 1e-5) ** -1.5
    dxc = dxhat * rstd
    dmu = -dxc.sum(1, keepdim=True)
    return {"xhat": dxhat, "rstd": drstd, "var": dvar, "xc": dxc, "mu": dmu, "x": dxc + dmu / d}


@wrong(batch_norm_forward, BATCH_NORM, steps=("x",), cause="missing_path", options=WHOLE)
def batch_mean_path_forgotten(gamma, dout, std, xhat):
    m = len(dout)
    dgamma = (dout * xhat).sum(0)
    dx = gamma / std * (dout - xhat * dgamma / m)
    return {"gamma": dgamma, "beta": dout.sum(0), "x": dx}


@wrong(batch_norm_forward, BATCH_NORM, steps=("x",), cause="missing_path", options=WHOLE)
def as_in_evaluation_mode(gamma, dout, std, xhat):
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "x": dout * gamma / std}


@wrong(batch_norm_forward, BATCH_NORM, steps=("x",), cause="wrong_count", options=WHOLE)
def batch_variance_over_n_minus_one(gamma, dout, xmu, std, xhat):
    m = len(dout)
    dxhat = dout * gamma
    dvar = (dxhat * xmu).sum(0) * -0.5 * std**-3
    dx = dxhat / std + dvar * 2 * xmu / (m - 1) - (dxhat / std).sum(0) / m
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "var": dvar, "x": dx}


@wrong(batch_norm_forward, BATCH_NORM, steps=("gamma",), cause="wrong_operand", options=WHOLE)
def gamma_from_the_input(x, gamma, dout, std, xhat):
    m = len(dout)
    dx = gamma / std / m * (m * dout - dout.sum(0) - xhat * (dout * xhat).sum(0))
    return {"gamma": (dout * x).sum(0), "beta": dout.sum(0), "x": dx}


@wrong(batch_norm_forward, BATCH_NORM, steps=("gamma", "beta"), cause="bias_not_reduced", options=WHOLE)
def gamma_and_beta_per_sample(gamma, dout, std, xhat):
    m = len(dout)
    dx = gamma / std / m * (m * dout - dout.sum(0) - xhat * (dout * xhat).sum(0))
    return {"gamma": dout * xhat, "beta": dout, "x": dx}


@wrong(batch_norm_forward, BATCH_NORM, steps=("x",), cause="wrong_axis", options=WHOLE)
def batch_norm_over_features(gamma, dout, std, xhat):
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True)) / std
    return {"gamma": (dout * xhat).sum(0), "beta": dout.sum(0), "xhat": dxhat, "x": dx}


@wrong(rms_norm_forward, RMS_NORM, steps=("x",), cause="path_twice")
def mean_subtracted_as_in_layer_norm(gamma, dout, r, xhat):
    dxhat = dout * gamma
    dx = r * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
    return {"gamma": (dout * xhat).sum(0), "xhat": dxhat, "x": dx}


@wrong(rms_norm_forward, RMS_NORM, steps=("x",), cause="missing_factor")
def power_of_r_lost(x, gamma, dout, r, xhat):
    dxhat = dout * gamma
    dr = (dxhat * x).sum(1, keepdim=True)
    dx = dxhat * r - dr * r * x / x.shape[1]
    return {"gamma": (dout * xhat).sum(0), "xhat": dxhat, "r": dr, "x": dx}


@wrong(dropout_forward, DROPOUT, steps=("a2",), cause="wrong_factor")
def mask_not_rescaled(x, W3, mask, y, z2, h2, z3):
    d3 = (z3 - y) / len(x)
    dh2 = d3 @ W3
    da2 = dh2 * mask
    d2 = da2 * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ h2, "h2": dh2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(dropout_forward, DROPOUT, steps=("a2",), cause="wrong_mask")
def mask_not_applied(x, W3, keep, y, z2, h2, z3):
    d3 = (z3 - y) / len(x)
    dh2 = d3 @ W3
    da2 = dh2 / keep
    d2 = da2 * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ h2, "h2": dh2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(dropout_forward, DROPOUT, steps=("W3",), cause="wrong_operand")
def activation_before_dropout_in_dW(x, W3, mask, keep, y, z2, a2, z3):
    d3 = (z3 - y) / len(x)
    dh2 = d3 @ W3
    da2 = dh2 * mask / keep
    d2 = da2 * (z2 > 0)
    return {"z3": d3, "W3": d3.T @ a2, "h2": dh2, "a2": da2, "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


@wrong(scale_shift_forward, SCALE_SHIFT, steps=("scale",), cause="sign")
def quotient_rule_without_minus(x, scale, y, u, r):
    dr = (1 - y / r) / len(x)
    return {"r": dr, "u": dr, "shift": dr.sum(0), "scale": (dr * u).sum(0) / scale, "x": dr / scale}


@wrong(scale_shift_forward, SCALE_SHIFT, steps=("scale",), cause="wrong_factor")
def quotient_rule_square_lost(x, scale, y, u, r):
    """-x / s for -x / s^2."""
    dr = (1 - y / r) / len(x)
    return {"r": dr, "u": dr, "shift": dr.sum(0), "scale": -(dr * x / scale).sum(0), "x": dr / scale}


@wrong(power_forward, POWER, steps=("x",), cause="wrong_activation_derivative")
def exponent_not_lowered(x, p, y, a):
    da = 2 * (a - y) / len(x)
    return {"a": da, "x": da * p * x**p, "p": (da * a * torch.log(x)).sum(0)}


@wrong(power_forward, POWER, steps=("p",), cause="missing_factor")
def logarithm_forgotten(x, p, y, a):
    da = 2 * (a - y) / len(x)
    return {"a": da, "x": da * p * x ** (p - 1), "p": (da * a).sum(0)}
