"""Many pictures on one sheet, each with a line below it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from .compare import FAINT, GAP, MARGIN, PAPER, resized, sheet_font, sheet_lines

WIDEST = 16_000
"""Pixels along a side of a sheet, a little less than WebP can hold (16,383)."""


def picture_grid(images: Sequence[Image.Image], captions: Sequence[str], side: int = 256
                 ) -> Image.Image:
    """Lay pictures of any sizes out on one sheet, which is nearly square.

    Args:
        images: the pictures.
        captions: one for each picture; what is too long for a line is cut.
        side: pixels along the longer side of a picture; fewer where so many would not fit on a
            sheet of ``WIDEST`` pixels a side.

    Raises:
        ValueError: there are no pictures, or not as many captions.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"expected as many captions as pictures, and at least one, got "
                         f"{len(captions)} and {len(images)}")
    side = min(side, max(8, int(WIDEST / (1.4 * math.ceil(math.sqrt(len(images)))))))
    sizes = [_within(image.size, side) for image in images]
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    columns = math.ceil(math.sqrt(len(images) * height / width))
    columns = min(max(columns, 1), len(images))
    rows = -(-len(images) // columns)
    font = sheet_font(max(side // 18, 11))
    line = max(side // 18, 11) * 2
    sheet = Image.new("RGB", (2 * MARGIN + columns * (width + GAP) - GAP,
                              2 * MARGIN + rows * (height + line + GAP) - GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption, size) in enumerate(zip(images, captions, sizes, strict=True)):
        x = MARGIN + (i % columns) * (width + GAP)
        y = MARGIN + (i // columns) * (height + line + GAP)
        sheet.paste(resized(image, size), (x + (width - size[0]) // 2, y + height - size[1]))
        for text in sheet_lines(caption, width, font, 1):
            draw.text((x, y + height + line // 4), text, FAINT, font)
    return sheet


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    factor = side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
