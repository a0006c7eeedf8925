"""The lecture's Figure 2 for any run, drawn with Pillow: both losses over the epochs, and where overfitting begins."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from compare.run.pictures import BLUE, GREY, INK, LINE, ORANGE, PAPER, SIDE, font, palette, with_palette

WIDTH, HEIGHT = SIDE, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 46, 40
SCALE = 2  # drawn larger and reduced, which smooths the lines
TINT = "#fbeadf"  # from the epoch of overfitting on


def losses(
    epochs: Sequence[int],
    training: Sequence[float],
    validation: Sequence[float],
    best: int | None,
    overfitting: int | None,
) -> Any:
    """Training and validation loss; a line at the best epoch, and a tint from the epoch of overfitting on."""
    finite = [v for v in (*training, *validation) if math.isfinite(v)] or [0.0]
    ticks = _ticks(min(finite), max(finite))
    low, high = min(ticks[0], *finite), max(ticks[-1], *finite)
    last = max(epochs[-1], 1)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
    draw = ImageDraw.Draw(image)

    def x(epoch: float) -> float:
        return SCALE * (LEFT + epoch / last * (WIDTH - LEFT - RIGHT))

    def y(loss: float) -> float:
        return SCALE * (HEIGHT - BOTTOM - (loss - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM))

    words: list[tuple[float, float, str, str, str]] = []

    def text(place: tuple[float, float], written: str, anchor: str, fill: str = INK) -> None:
        words.append((place[0] / SCALE, place[1] / SCALE, written, anchor, fill))

    if overfitting is not None:
        draw.rectangle((x(overfitting), y(high), x(last), y(low)), fill=TINT)
    for tick in ticks:
        draw.line((x(0), y(tick), x(last), y(tick)), fill=LINE, width=SCALE)
        text((x(0) - 6 * SCALE, y(tick)), f"{tick:g}", "rm")
    for epoch in range(0, last + 1, max(1, round(_step(last)))):
        text((x(epoch), y(low) + 6 * SCALE), str(epoch), "mt")
    text((x(last / 2), y(low) + 23 * SCALE), "epoch", "mt", GREY)
    if best is not None:
        draw.line((x(best), y(high), x(best), y(low)), fill=GREY, width=SCALE)
    for curve, colour, dashed in ((training, BLUE, False), (validation, ORANGE, True)):
        places = [(x(e), y(v)) for e, v in zip(epochs, curve, strict=True) if math.isfinite(v)]
        _line(draw, places, colour, dashed=dashed)
    keys = ((0, "training loss", BLUE, False), (142, "validation loss", ORANGE, True))
    for shift, name, colour, dashed in keys:
        left, height = SCALE * (LEFT + shift), SCALE * 12
        _line(draw, [(left, height), (left + 24 * SCALE, height)], colour, dashed=dashed)
        text((left + 29 * SCALE, height), name, "lm")
    said = "no overfitting seen" if overfitting is None else f"overfitting since {overfitting}"
    text((SCALE * LEFT, SCALE * 32), said if best is None else f"best epoch {best}, {said}", "lm", GREY)
    small = image.reduce(SCALE)
    draw = ImageDraw.Draw(small)
    for across, down, written, anchor, fill in words:  # letters are smooth at their own size
        draw.text((across, down), written, fill=fill, font=font(14), anchor=anchor)
    return with_palette(small, _colours())


@functools.cache
def _colours() -> Any:
    return palette((ground, ink) for ground in (PAPER, TINT) for ink in (INK, GREY, LINE, BLUE, ORANGE))


def _line(draw: Any, places: Sequence[tuple[float, float]], colour: str, *, dashed: bool) -> None:
    if not dashed:
        draw.line(places, fill=colour, width=2 * SCALE, joint="curve")
        return
    dash, gap, drawn = 9.0 * SCALE, 6.0 * SCALE, 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        length, at = math.hypot(x1 - x0, y1 - y0), 0.0
        while at < length:
            phase = drawn % (dash + gap)
            step = min(length - at, (dash if phase < dash else dash + gap) - phase + 1e-6)
            if phase < dash:
                part = (at / length, (at + step) / length)
                ends = [(x0 + t * (x1 - x0), y0 + t * (y1 - y0)) for t in part]
                draw.line(ends, fill=colour, width=2 * SCALE)
            at, drawn = at + step, drawn + step


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that reach around low and high."""
    step = _step((high - low) or abs(high) or 1.0)
    first = math.floor(low / step)
    return [round(k * step, 12) for k in range(first, math.ceil(high / step) + 1)]


def _step(span: float) -> float:
    """A round number that parts a span in about five."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= span / 5)
