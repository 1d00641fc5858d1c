"""Colours of values, and the bar that tells what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .sheet import INK, Sheet

Stops = Sequence[tuple[int, int, int]]

GLOW: Stops = ((9, 6, 38), (58, 15, 98), (120, 28, 109), (180, 50, 91), (229, 92, 48),
               (251, 155, 28), (250, 220, 110), (252, 253, 200))
"""Dark to light, even in brightness: as the node's panel shows entropy."""
WORK: Stops = ((251, 227, 200), (242, 166, 90), (181, 83, 122), (75, 47, 115), (22, 19, 53))
"""Light to dark: what works is dark."""
MISSING = (168, 172, 180)
"""What was not measured."""


def coloured(values: Any, stops: Stops, low: float = 0.0, high: float = 1.0) -> Image.Image:
    """A picture of [h, w] numbers, a pixel each; NaN is grey."""
    array = np.asarray(values, dtype=np.float64)
    share = np.clip((array - low) / max(high - low, 1e-12), 0, 1)
    places = np.linspace(0, 1, len(stops))
    parts = [np.interp(share, places, [s[i] for s in stops]) for i in range(3)]
    image = np.stack(parts, -1)
    image[np.isnan(array)] = MISSING
    return Image.fromarray(image.round().astype(np.uint8))


def readable_on(value: float, stops: Stops) -> str:
    """White or black, whichever is easier to read on a value's colour."""
    red, green, blue = coloured([[value]], stops).getpixel((0, 0))  # type: ignore[misc]  # RGB
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 140 else "black"


def colour_bar(sheet: Sheet, x: float, y: float, height: float, stops: Stops, title: str,
               ticks: Sequence[tuple[float, str]]) -> None:
    """A bar from bottom to top with words at shares of its height, and a title beside it."""
    width = 11.0
    ramp = coloured(np.linspace(1, 0, 128)[:, None], stops)
    sheet.picture(ramp, x, y, width, height, smooth=True)
    sheet.box(x, y, width, height, outline="#00000022", line=0.5)
    for share, words in ticks:
        at = y + height * (1 - share)
        sheet.line([(x + width, at), (x + width + 3, at)], INK, 0.7)
        sheet.text(x + width + 6, at, words, size=9, anchor="lm")
    sheet.text(x + width + 46, y + height / 2, title, size=10, upright=True)
