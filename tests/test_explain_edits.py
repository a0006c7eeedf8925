"""Explanations of mistakes as derivations of others have them: one case for each kind of edit."""

from __future__ import annotations

import torch

from compare import constant, real
from tests.told import explained


def first(forward, backward, inputs, seconds=60.0):
    """The explained row nearest to J, and the report."""
    report = explained(forward, backward, inputs, checking=1.0, seconds=seconds)
    return next(row for row in report.rows if row.cause), report


def test_one_over_m_left_out_of_a_delta_is_mended_once():
    def forward(x, W1, W2, b2, y):
        h = torch.tanh(x @ W1)
        z = h @ W2 + b2
        return 0.5 * ((z - y) ** 2).sum() / len(x), {"h": h, "z": z}

    def backward(x, W2, y, h, z):
        d = z - y
        dh = d @ W2.T
        return {"W2": h.T @ d, "b2": d.sum(0), "W1": x.T @ (dh * (1 - h**2))}

    inputs = {"x": real("m", "d"), "W1": real("d", "n"), "W2": real("n", "k"), "b2": real("k"), "y": real("m", "k")}
    row, report = first(forward, backward, inputs)
    assert row.cause == "missing_mean"
    assert row.repair.partition("  ->  ")[2] == "d = (z - y) / len(x)"
    others = [other for other in report.rows if not other.ok and other.name != row.name]
    assert len(others) == 2
    assert all(other.explanation == f"the same mistake as in {row.name}" and not other.repair for other in others)


def test_a_margin_left_out_of_two_deltas_that_are_level():
    def forward(s, t, margin):
        good, bad = s.square().sum(1), t.square().sum(1)
        return (margin + bad - good).clamp(min=0).sum(), {"good": good, "bad": bad}

    def backward(s, t, margin, good, bad):
        on = (bad - good > 0).to(s.dtype)
        return {"good": -on, "bad": on, "s": -2 * s * on[:, None], "t": 2 * t * on[:, None]}

    inputs = {"s": real("m", "d"), "t": real("m", "d"), "margin": constant(2.0)}
    row, _ = first(forward, backward, inputs)
    assert row.cause == "wrong_mask"
    assert "margin" in row.repair.partition("  ->  ")[2]


def test_a_gain_that_is_multiplied_behind_the_mean():
    def forward(x, g, c):
        r = (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5
        n = x * r
        return (n * g * c).sum(), {"n": n}

    def backward(x, g, c, n):
        r = (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5
        dx = r * (c - n * (c * n).mean(1, keepdim=True)) * g
        return {"n": c * g, "g": (c * n).sum(0), "x": dx}

    row, _ = first(forward, backward, {"x": real("m", "d"), "g": real("d"), "c": real("m", "d")})
    assert (row.name, row.cause) == ("x", "order_of_operations")
    assert "c * g" in row.repair.partition("  ->  ")[2]


def test_a_mean_over_images_and_places_is_counted():
    def forward(x, c):
        centred = x - x.mean((0, 2, 3), keepdim=True)
        return (centred * c).sum(), {"centred": centred}

    def backward(x, c):
        total = c.sum((0, 2, 3), keepdim=True)
        return {"centred": c, "x": c - total / len(x)}

    inputs = {"x": real("n", "k", "h", "w"), "c": real("n", "k", "h", "w")}
    row, _ = first(forward, backward, inputs)
    assert row.cause in ("wrong_count", "missing_mean")
    assert "numel() // " in row.repair


def test_a_conjugate_that_is_forgotten():
    def forward(x, k, c):
        y = torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(k), n=len(x))
        return (y * c).sum(), {"y": y}

    def backward(x, k, c):
        spectrum = torch.fft.rfft(c)
        dk = torch.fft.irfft(spectrum * torch.fft.rfft(x), n=len(x))
        return {"y": c, "x": torch.fft.irfft(spectrum * torch.fft.rfft(k).conj(), n=len(x)), "k": dk}

    row, _ = first(forward, backward, {"x": real("n"), "k": real("n"), "c": real("n")})
    assert row.name == "k"
    assert row.repair.endswith("dk = torch.fft.irfft(spectrum * torch.fft.rfft(x).conj(), n=len(x))")


def test_padding_that_is_cut_off_at_one_end_only():
    def forward(x, c):
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
        return (padded * c[:, None, None]).square().sum(), {"padded": padded}

    def backward(x, c, padded):
        dp = 2 * padded * c[:, None, None] ** 2
        return {"padded": dp, "x": dp[:, 2:, 2:]}

    row, _ = first(forward, backward, {"x": real("n", "h", "w"), "c": real("n")})
    assert (row.name, row.cause) == ("x", "wrong_index")
    assert row.repair.endswith("dp[:, 1:-1, 1:-1]")


def test_a_slope_left_out_on_the_way_back_through_time():
    def forward(x, U, b, c):
        h = torch.zeros(U.shape[0], dtype=x.dtype)
        J = torch.zeros((), dtype=x.dtype)
        for step in range(len(x)):
            h = torch.tanh(U @ h + x[step] + b)
            J = J + (h * c[step]).sum()
        return J, {}

    def backward(x, U, b, c):
        h, seen = torch.zeros(U.shape[0], dtype=x.dtype), []
        for step in range(len(x)):
            h = torch.tanh(U @ h + x[step] + b)
            seen.append(h)
        after, db = torch.zeros_like(h), torch.zeros_like(h)
        for step in reversed(range(len(x))):
            dh = c[step] + after
            db += dh * (1 - seen[step] ** 2)
            after = U.T @ dh
        return {"b": db}

    inputs = {"x": real("t", "n"), "U": real("n", "n"), "b": real("n"), "c": real("t", "n")}
    row, _ = first(forward, backward, inputs)
    assert row.cause == "missing_activation_derivative"
    assert "1 - seen[step] ** 2" in row.repair


def test_an_entry_that_replaces_a_right_one_is_mended_not_left_out():
    def forward(x, v, c):
        s = torch.exp(0.5 * v)
        return (s * c).sum() + (v * x).sum(), {"s": s}

    def right(x, v, c, s):
        return {"s": c, "x": v, "v": 0.5 * c * s + x}

    def backward(x, v, c, s):
        g = right(x, v, c, s)
        g["v"] = g["s"] * s + x
        return g

    row, _ = first(forward, backward, {"x": real("n"), "v": real("n"), "c": real("n")})
    assert row.cause == "wrong_factor"
    assert "(left out)" not in row.repair
