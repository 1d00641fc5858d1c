"""A plot on a sheet: axes with ticks, curves, bands, points with intervals, a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .sheet import INK, RULE, SIZE, SOFT, Point, Sheet, width_of

Range = tuple[float, float]
Entry = tuple[str, str, str]
"""Of a legend: marker, colour, words."""
MARK = 3.2


class Plot:
    """Args:
        box: left, top, width and height of the area on the sheet.
        x, y: first and last value of the axes.
    """

    def __init__(self, sheet: Sheet, box: tuple[float, float, float, float], x: Range, y: Range
                 ) -> None:
        self.sheet, self.box = sheet, box
        self._x, self._y = x, y

    def at(self, x: float, y: float) -> Point:
        """Where a pair of values is on the sheet."""
        left, top, width, height = self.box
        return (left + width * (x - self._x[0]) / (self._x[1] - self._x[0]),
                top + height * (1 - (y - self._y[0]) / (self._y[1] - self._y[0])))

    def axes(self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]],
             x_title: str = "", y_title: str = "", grid: bool = True) -> None:
        """Rules at the ticks, the axes, their words; a line break in a tick's words is kept."""
        left, top, width, height = self.box
        bottom = top + height
        for value, words in y_ticks:
            y = self.at(self._x[0], value)[1]
            if grid:
                self.sheet.line([(left, y), (left + width, y)], RULE, 0.7)
            self.sheet.text(left - 6, y, words, size=9.5, anchor="rm")
        for value, words in x_ticks:
            x = self.at(value, self._y[0])[0]
            self.sheet.line([(x, bottom), (x, bottom + 3.5)], SOFT, 0.8)
            for number, line in enumerate(words.split("\n")):
                self.sheet.text(x, bottom + 6 + 12 * number, line, size=9.5, anchor="ma",
                                colour=SOFT if number else INK)
        self.sheet.line([(left, top), (left, bottom), (left + width, bottom)], SOFT, 0.9)
        below = 12 * max((words.count("\n") for _, words in x_ticks), default=0)
        if x_title:
            self.sheet.text(left + width / 2, bottom + 22 + below, x_title, anchor="ma")
        if y_title:
            self.sheet.text(left - 44, top + height / 2, y_title, upright=True)

    def curve(self, xs: Sequence[float], ys: Sequence[float], colour: str, width: float = 1.6,
              marks: bool = False) -> None:
        """Through the points that are numbers."""
        points = [self.at(x, y) for x, y in zip(xs, ys, strict=True) if not math.isnan(y)]
        if len(points) > 1:
            self.sheet.line(points, colour, width)
        for x, y in points if marks or len(points) == 1 else ():
            self.sheet.disc(x, y, MARK * 0.9, colour)

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], fill: str
             ) -> None:
        known = [(x, low, high) for x, low, high in zip(xs, lows, highs, strict=True)
                 if not (math.isnan(low) or math.isnan(high))]
        if len(known) > 1:
            edge = [self.at(x, high) for x, _, high in known]
            edge += [self.at(x, low) for x, low, _ in reversed(known)]
            self.sheet.area([self._inside(p) for p in edge], fill)

    def point(self, x: float, y: float, marker: str, colour: str, spread: float = 0.0) -> None:
        """A disc, a square or a cross, with an interval of ``spread`` to either side."""
        if spread:
            ends = [self._inside(self.at(x, y + s)) for s in (-spread, spread)]
            self.sheet.line(ends, colour + "88", 0.8)
        _mark(self.sheet, *self.at(x, y), marker, colour)

    def rule(self, value: float, colour: str, across: bool = True, dash: float = 0.0,
             width: float = 1.0) -> None:
        """A straight line at a value of y, or of x."""
        ends = ([self.at(self._x[0], value), self.at(self._x[1], value)] if across
                else [self.at(value, self._y[0]), self.at(value, self._y[1])])
        self.sheet.line(ends, colour, width, dash)

    def legend(self, entries: Sequence[Entry]) -> None:
        """In one line above the area, from its right end."""
        left, top, width, _ = self.box
        x = left + width
        for marker, colour, words in reversed(entries):
            x -= width_of(words, SIZE - 1)
            self.sheet.text(x, top - 14, words, size=SIZE - 1, anchor="lm")
            x -= 24
            _sample(self.sheet, x, top - 14, marker, colour)
            x -= 16

    def _inside(self, point: Point) -> Point:
        left, top, width, height = self.box
        return (min(max(point[0], left), left + width), min(max(point[1], top), top + height))


def _sample(sheet: Sheet, x: float, y: float, marker: str, colour: str) -> None:
    """What a legend's words are about, 18 units wide."""
    if marker in ("line", "dash"):
        sheet.line([(x, y), (x + 18, y)], colour, 1.8, 3 if marker == "dash" else 0)
    elif marker == "band":
        sheet.box(x, y - 4, 18, 8, fill=colour)
    else:
        _mark(sheet, x + 11, y, marker, colour)


def _mark(sheet: Sheet, x: float, y: float, marker: str, colour: str) -> None:
    if marker == "disc":
        sheet.disc(x, y, MARK, colour)
    elif marker == "square":
        sheet.box(x - MARK + 0.3, y - MARK + 0.3, 2 * MARK - 0.6, 2 * MARK - 0.6, fill=colour)
    else:
        for slope in (-1, 1):
            sheet.line([(x - MARK, y - slope * MARK), (x + MARK, y + slope * MARK)], colour, 1.8)


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most so many."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]
