"""A white sheet to draw on, in units of about a screen's pixel, whatever size the picture gets."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

INK, SOFT, RULE = "#26282c", "#6b7078", "#d9dce1"
"""Text, lesser text, thin lines."""
BLUE, ORANGE, RED, PALE = "#2f6db5", "#d9822b", "#c1272d", "#e4e7ec"
SIZE = 11.0
"""Of plain text."""

_OVER = 2
"""Drawn so many times larger, then brought down: lines and markers get smooth edges."""
_UNKNOWN = "\uffff"
_PLAINER = {"\N{MULTIPLICATION SIGN}": "x", "\N{EN DASH}": "-", "\N{EM DASH}": "-",
            "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{LEFT DOUBLE QUOTATION MARK}": '"',
            "\N{RIGHT DOUBLE QUOTATION MARK}": '"'}

Point = tuple[float, float]


class Sheet:
    """Args:
        width, height: in units.
        scale: pixels of a unit.
    """

    def __init__(self, width: float, height: float, scale: float = 2.0) -> None:
        self.width, self.height = width, height
        self._pixels = (max(1, round(width * scale)), max(1, round(height * scale)))
        self._unit = scale * _OVER
        self._image = Image.new("RGB", (self._pixels[0] * _OVER, self._pixels[1] * _OVER), "white")
        self._pen = ImageDraw.Draw(self._image, "RGBA")

    def finish(self) -> Image.Image:
        """The picture."""
        return self._image.resize(self._pixels, Image.Resampling.BOX)

    def text(self, x: float, y: float, words: str, *, size: float = SIZE, colour: str = INK,
             anchor: str = "la", bold: bool = False, upright: bool = False) -> None:
        """Words whose ``anchor`` (Pillow's: l, m, r and a, m, s, d) is at (x, y); ``upright`` from
        the bottom to the top, about their middle."""
        font, stroke = _font(size * self._unit), (self._unit * size / 34 if bold else 0)
        words = drawable(words)
        if not upright:
            self._pen.text(self._at(x, y), words, fill=colour, font=font, anchor=anchor,
                           stroke_width=stroke)
            return
        left, top, right, bottom = font.getbbox(words)
        mask = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
        ImageDraw.Draw(mask).text((2 - left, 2 - top), words, fill=255, font=font)
        mask = mask.transpose(Image.Transpose.ROTATE_90)
        place = self._at(x, y)
        self._image.paste(colour, (round(place[0] - mask.width / 2),
                                   round(place[1] - mask.height / 2)), mask)

    def box(self, x: float, y: float, width: float, height: float, fill: str | None = None,
            outline: str | None = None, line: float = 1.0) -> None:
        ends = (*self._at(x, y), *self._at(x + width, y + height))
        self._pen.rectangle([round(ends[0]), round(ends[1]), round(ends[2]) - 1,
                             round(ends[3]) - 1], fill=fill, outline=outline,
                            width=max(1, round(line * self._unit)))

    def line(self, points: Sequence[Point], colour: str = INK, width: float = 1.0,
             dash: float = 0.0) -> None:
        """Through the points; in dashes of a length, if one is given."""
        thick = max(1, round(width * self._unit))
        for start, end in itertools.pairwise(points):
            for one, other in _dashes(start, end, dash):
                self._pen.line([self._at(*one), self._at(*other)], fill=colour, width=thick)
        if not dash and thick > 2:  # round joints
            for x, y in points[1:-1]:
                self.disc(x, y, width / 2, colour)

    def area(self, points: Sequence[Point], fill: str) -> None:
        """A filled outline; ``fill`` may end in an opacity, as in "#2f6db540"."""
        self._pen.polygon([self._at(x, y) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: str) -> None:
        self._pen.ellipse([*self._at(x - radius, y - radius), *self._at(x + radius, y + radius)],
                          fill=fill)

    def picture(self, image: Image.Image, x: float, y: float, width: float, height: float,
                smooth: bool = False) -> None:
        """A picture scaled into a box; cells stay sharp unless ``smooth``."""
        left, top = (round(v) for v in self._at(x, y))
        right, bottom = (round(v) for v in self._at(x + width, y + height))
        how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
        size = (max(1, right - left), max(1, bottom - top))
        self._image.paste(image.convert("RGB").resize(size, how), (left, top))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x * self._unit, y * self._unit


def drawable(words: str) -> str:
    """Words with letters that the font has not replaced: by plain ones, or by a question mark."""
    return "".join(_letter(_PLAINER.get(c, c)) for c in words)


def wrapped(words: str, width: float, size: float = SIZE, lines: int = 3) -> list[str]:
    """At most ``lines`` lines that fit a width; what is cut off shows as an ellipsis."""
    letters = max(4, int(width / width_of("n", size)))
    found = textwrap.wrap(drawable(words), letters)
    while letters > 4 and any(width_of(line, size) > width for line in found):
        letters -= 1
        found = textwrap.wrap(drawable(words), letters)
    if len(found) > lines:
        found = [*found[: lines - 1], found[lines - 1][: letters - 1].rstrip() + "..."]
    return found


def width_of(words: str, size: float = SIZE) -> float:
    """Of a line, in units."""
    return _font(100.0).getlength(drawable(words)) * size / 100.0


def png(picture: Image.Image) -> bytes:
    """A PNG file's content, marked as this program's."""
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("toprovar", "{}")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=about, optimize=True)
    return buffer.getvalue()


@lru_cache(maxsize=32)
def _font(size: float) -> Any:
    return ImageFont.load_default(size)


@lru_cache(maxsize=2048)
def _letter(letter: str) -> str:
    font = _font(24.0)
    if letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(_UNKNOWN)):
        return letter
    return "?"


def _dashes(start: Point, end: Point, dash: float) -> list[tuple[Point, Point]]:
    if not dash:
        return [(start, end)]
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    count = max(1, round(length / (2 * dash)))

    def between(share: float) -> Point:
        return (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))

    return [(between(i / count), between((i + 0.55) / count)) for i in range(count)]
