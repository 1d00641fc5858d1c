"""A picture placed on a larger canvas, whose empty parts are to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import whole
from ..schedules import (
    TOKEN_PIXELS,
    ScaleSchedule,
    picture_notes,
    schedule_for_picture,
)
from .paste import Box
from .source import read_pictures, resize_pictures

MOST_ADDED = 1 << 14


@dataclass(frozen=True)
class Placed:
    """A canvas.

    Attributes:
        schedule: its size.
        canvas: [1 or B, 3, H, W] in [0, 1]: the picture, and around it colours to begin with.
        mask: [1, 1, H, W]: 1 where the picture is not.
        box: where the picture is, in whole tokens.
        notes: what is other than asked.
    """

    schedule: ScaleSchedule
    canvas: Tensor
    mask: Tensor
    box: Box
    notes: tuple[str, ...]


def place(image: Any, added: tuple[int, int, int, int], height: int | None, width: int | None,
          schedule: ScaleSchedule | None, most_pn: str) -> Placed:
    """Put a picture on a canvas of a listed size.

    Args:
        added: pixels of the picture's own to the left, right, top and bottom.
        height, width: the canvas in pixels instead, with the picture, as it is, in the middle.
        schedule: the size to draw, whatever the canvas comes to; None = the nearest one, of no
            more than ``most_pn`` pixels.

    Raises:
        ValueError: nothing is added, or both ways are given.
    """
    pictures = read_pictures(image)
    h, w = pictures.shape[-2:]
    left, right, top, bottom = (whole(name, n, 0, MOST_ADDED) for name, n in
                                zip(("left", "right", "top", "bottom"), added, strict=True))
    if (height is None) != (width is None):
        raise ValueError("give height and width of the canvas together")
    if height is not None and width is not None:
        if any(added):
            raise ValueError("give either left, right, top and bottom, or height and width")
        tall, wide = whole("height", height, h, MOST_ADDED), whole("width", width, w, MOST_ADDED)
        top, left = (tall - h) // 2, (wide - w) // 2
        bottom, right = tall - h - top, wide - w - left
    if not left + right + top + bottom:
        raise ValueError("nothing is added: give left, right, top or bottom in pixels, or height "
                         "and width of the canvas")
    tall, wide = h + top + bottom, w + left + right
    named = schedule is not None
    schedule = schedule or schedule_for_picture(tall, wide, most_pn)
    size = schedule.image_size
    box = _whole_tokens(Box(top, left, h, w), (tall, wide), size)
    inner = resize_pictures(pictures, (box.height, box.width))
    canvas = _continued(inner, box, size)
    mask = torch.ones(1, 1, *size)
    box.cut(mask).zero_()
    if not mask.any():
        raise ValueError(f"the added border is less than a token of {TOKEN_PIXELS} pixels at "
                         f"{size[1]}x{size[0]}: add more")
    notes = picture_notes(schedule, tall, wide, None if named else most_pn, "canvas")
    return Placed(schedule, canvas, mask, box, notes)


def _whole_tokens(box: Box, canvas: tuple[int, int], size: tuple[int, int]) -> Box:
    """The picture's place at the size that is drawn, its edges between tokens."""
    found = []
    for start, length, total, drawn in ((box.top, box.height, canvas[0], size[0]),
                                        (box.left, box.width, canvas[1], size[1])):
        tokens = drawn // TOKEN_PIXELS
        first = round(start / total * tokens)
        last = max(first + 1, round((start + length) / total * tokens))
        first = min(first, last - 1)
        found.append((first * TOKEN_PIXELS, (min(last, tokens) - first) * TOKEN_PIXELS))
    (top, tall), (left, wide) = found
    return Box(top, left, tall, wide)


def _continued(inner: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """A canvas around a picture: its edge goes on, softer and softer. Coarse tokens that lie across
    the edge are encoded from it."""
    around = (box.left, size[1] - box.left - box.width, box.top,
              size[0] - box.top - box.height)
    canvas = F.pad(inner, around, mode="replicate")
    soft = canvas
    for radius in (8, 16, 32):
        padded = F.pad(soft, (radius,) * 4, mode="replicate")
        soft = F.avg_pool2d(padded, 2 * radius + 1, 1)
    box.cut(soft).copy_(inner)
    return soft
