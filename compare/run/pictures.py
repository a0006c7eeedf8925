"""Small pictures for TensorBoard, drawn with Pillow: a run may spend a few milliseconds on them, not matplotlib's.

Light means much and dark means little, in colours that stay in order without colour: they are matplotlib's viridis.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
BLUE, ORANGE, INK, GREY, LINE, PAPER = "#0072b2", "#b34700", "#1c1c1c", "#5a5a5a", "#d9d9d9", "#ffffff"
SIDE = 350  # pixels: as wide as TensorBoard shows every picture, and enlarged or reduced it would not be smooth
CELLS = 128  # rows and columns of a heat map: more are pooled, the largest of each block is drawn
DEPTHS = 8  # of colour in a confusion matrix
SHADES = 8  # between two colours
DECADES = 16.0  # of a heat map: from float64's rounding to an error of the gradient's own size


@functools.cache
def font(size: int) -> Any:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def coloured(values: Any) -> Any:
    """Numbers from 0 to 1 in the colours of viridis, as bytes (..., 3)."""
    anchors = np.linspace(0.0, 1.0, len(VIRIDIS))
    return np.stack([np.interp(values, anchors, [c[k] for c in VIRIDIS]) for k in range(3)], -1).astype(np.uint8)


PALETTE = [0, 0, 0, *coloured(np.arange(1, 256) / 255).reshape(-1).tolist()]


def palette(pairs: Iterable[tuple[str, str]]) -> Any:
    """The colours of `(ground, ink)` and those between them, at most 256, for `with_palette`."""
    shades = dict.fromkeys(
        tuple(round(a + (b - a) * k / SHADES) for a, b in zip(*map(ImageColor.getrgb, pair), strict=True))
        for pair in pairs
        for k in range(0, SHADES + 1, SHADES if LINE in pair else 1)  # too near to paper, it would grey it
    )
    image = Image.new("P", (1, 1))
    image.putpalette([part for shade in shades for part in shade])
    return image


def with_palette(image: Any, colours: Any) -> Any:
    """A drawing in the colours of a `palette`: a third of the bytes, written in an eighth of the time."""
    return image.quantize(palette=colours, dither=Image.Dither.NONE)


def heat_map(error: Tensor, expected: Tensor) -> Any:
    """|error| of a matrix entry by entry, as a power of ten of the RMS of what is expected.

    Black: no difference at all. From dark to light: 1e-16, float64's rounding, to 1, as large as the gradient itself.
    """
    matrix = error.detach().abs().double().reshape(len(error), -1)
    if max(matrix.shape) > CELLS:
        shape = tuple(min(n, CELLS) for n in matrix.shape)
        matrix = torch.nn.functional.adaptive_max_pool2d(matrix[None], shape)[0]
    size = float(expected.detach().double().square().mean().sqrt()) or 1.0
    relative = (matrix / size).cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        light = np.nan_to_num(1.0 + np.log10(relative) / DECADES, nan=1.0, posinf=1.0, neginf=0.0)
    image = Image.fromarray(np.where(relative == 0, 0, (255 * light).clip(20, 255)).astype(np.uint8)).convert("P")
    image.putpalette(PALETTE)
    return _enlarged(image)


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Any:
    """How many samples of each class (rows) were taken for which (columns); right answers on the diagonal."""
    n, widest = len(counts), round(max(font(14).getlength(name[:10]) for name in classes))
    margin = max(50, widest + 12)
    least = max(29, widest + 6 if n <= 6 else 0)  # few classes: their names fit over the columns
    cell = max(least, (SIDE - margin - 4) // n)
    side = margin + n * cell + 4
    image = Image.new("RGB", (max(side, SIDE), side), PAPER)
    draw = ImageDraw.Draw(image)
    most = max(max(row) for row in counts) or 1
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            x, y = margin + j * cell, margin + i * cell
            depth = math.ceil(DEPTHS * math.sqrt(count / most))
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=_cell(depth, right=i == j))
            if count:
                draw.text((x + cell // 2 - 1, y + cell // 2 - 1), str(count), fill=INK, font=font(14), anchor="mm")
    for k, name in enumerate(classes):
        middle = margin + k * cell + cell // 2
        draw.text((margin - 6, middle), name[:10], fill=INK, font=font(14), anchor="rm")
        draw.text((middle, margin - 8), name[: 10 if n <= 6 else cell // 8], fill=INK, font=font(14), anchor="ms")
    draw.text((margin, 8), "predicted", fill=GREY, font=font(15))
    draw.text((6, margin - 26), "true", fill=GREY, font=font(15))
    return with_palette(image, _cell_palette())


def _cell(depth: int, *, right: bool) -> str:
    """The colour of a cell: the deeper, the more samples; blue where they are right, red where they are not."""
    if not depth:
        return "#f4f4f4"
    shade = 255 - 150 * depth // DEPTHS
    red, green, blue = (shade, shade, 255) if right else (255, shade, 120 + shade * 135 // 255)
    return f"#{red:02x}{green:02x}{blue:02x}"


@functools.cache
def _cell_palette() -> Any:
    cells = {_cell(depth, right=right) for depth in range(DEPTHS + 1) for right in (True, False)}
    return palette([(cell, INK) for cell in sorted(cells)] + [(PAPER, INK), (PAPER, GREY)])


def samples(images: Tensor, titles: Sequence[str]) -> Any:
    """Images in a row or several, each with its title below: (n, rows, columns), any range."""
    n, columns, size = len(images), min(len(images), 6), 84
    tile, rows = size + 12, math.ceil(n / columns)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + 18)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for k, (values, title) in enumerate(zip(images.double(), titles, strict=True)):
        low, high = float(values.min()), float(values.max())
        grey = (255 - 255 * (values - low) / ((high - low) or 1.0)).to(torch.uint8).numpy()
        x, y = (k % columns) * tile + 6, (k // columns) * (tile + 18) + 4
        sheet.paste(Image.fromarray(grey).resize((size, size), Image.Resampling.NEAREST).convert("RGB"), (x, y))
        draw.rectangle((x - 1, y - 1, x + size, y + size), outline=LINE)
        draw.text((x + size // 2, y + size + 4), title, fill=INK, font=font(15), anchor="mt")
    return sheet


def boundary(answers: Any, x: Any, classes: Any, low: Any, high: Any) -> Any:
    """What the network answers on a grid over its two inputs, and the samples: a disc for class 0, a cross for others.

    `answers` is (rows, columns) from 0 to 1, the first row at the least second input.
    """
    field = coloured(0.25 + 0.6 * answers[::-1])
    image = Image.fromarray(field).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    places = (x - low) / (high - low) * SIDE
    for (left, up), kind in zip(places, classes, strict=True):
        top = SIDE - up
        if kind:
            draw.line((left - 4, top - 4, left + 4, top + 4), fill=INK, width=2)
            draw.line((left - 4, top + 4, left + 4, top - 4), fill=INK, width=2)
        else:
            draw.ellipse((left - 4, top - 4, left + 4, top + 4), fill=PAPER, outline=INK)
    return image


def _enlarged(image: Any) -> Any:
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
