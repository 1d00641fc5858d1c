"""The sheet, its plots and its colours."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from toprovar.figures.colours import GLOW, MISSING, WORK, colour_bar, coloured, readable_on
from toprovar.figures.plot import Plot, round_ticks
from toprovar.figures.sheet import Sheet, drawable, png, width_of, wrapped


def colours(image: Image.Image) -> set[object]:
    return {colour for _, colour in image.getcolors(1 << 24) or ()}


@pytest.mark.parametrize("scale", [1.0, 2.0, 2.5])
def test_a_sheet_has_its_size_and_boxes_their_places(scale: float) -> None:
    sheet = Sheet(100, 40, scale)
    sheet.box(10, 10, 20, 20, fill="#ff0000")
    image = sheet.finish()
    assert image.size == (round(100 * scale), round(40 * scale))
    red = image.point(lambda v: 255 - v).getbbox()
    assert red == tuple(round(n * scale) for n in (10, 10, 30, 30))


def test_words_are_where_their_anchor_says() -> None:
    sheet = Sheet(200, 40)
    sheet.text(190, 20, "right", anchor="rm")
    box = sheet.finish().point(lambda v: 255 - v).getbbox()
    assert box and 370 < box[2] <= 381 and 20 < box[1] < box[3] < 60
    assert box[2] - box[0] == pytest.approx(2 * width_of("right"), abs=4)
    sheet = Sheet(40, 200)
    sheet.text(20, 100, "upright", upright=True)
    box = sheet.finish().point(lambda v: 255 - v).getbbox()
    assert box and box[3] - box[1] > 2 * (box[2] - box[0])
    assert (box[1] + box[3]) / 2 == pytest.approx(200, abs=3)


def test_letters_that_the_font_has_not() -> None:
    assert drawable("a \N{MULTIPLICATION SIGN} b") == "a x b"
    assert drawable("\u6f22\u5b57 and words") == "?? and words"


def test_long_words_are_cut() -> None:
    assert wrapped("short", 200) == ["short"]
    lines = wrapped("a dog to the left of a cat and two birds above a tree", 90, lines=2)
    assert len(lines) == 2 and lines[-1].endswith("...")
    assert all(width_of(line) <= 100 for line in lines)


def test_colours_of_values() -> None:
    image = coloured([[0, 1, 2, float("nan")]], GLOW, 0, 2)
    found = [image.getpixel((x, 0)) for x in range(4)]
    assert found[0] == GLOW[0] and found[2] == GLOW[-1] and found[3] == MISSING
    brightness = [sum(coloured([[n / 9]], GLOW).getpixel((0, 0)))  # type: ignore[arg-type]  # RGB
                  for n in range(10)]
    assert brightness == sorted(brightness)
    assert readable_on(1.0, WORK) == "white" and readable_on(0.0, WORK) == "black"


def test_a_colour_bar_goes_up() -> None:
    sheet = Sheet(100, 100)
    colour_bar(sheet, 10, 10, 80, GLOW, "title", [(0.0, "0"), (1.0, "1")])
    image = sheet.finish()
    top, bottom = (sum(image.getpixel((30, y))) for y in (24, 176))  # type: ignore[arg-type]  # RGB
    assert top > 3 * bottom


def test_a_plot_puts_values_in_their_places() -> None:
    sheet = Sheet(200, 100)
    plot = Plot(sheet, (50, 20, 100, 50), (0, 10), (-1, 1))
    assert plot.at(0, -1) == (50, 70) and plot.at(10, 1) == (150, 20) and plot.at(5, 0) == (100, 45)
    plot.axes([(0, "0"), (10, "ten\n10")], [(0, "0")], "x", "y")
    plot.band([0, 5, 10], [-1, -9, float("nan")], [1, 9, 1], "#00ff00ff")
    plot.curve([0, 5, 10], [0, 0, float("nan")], "#0000ff", marks=True)
    plot.point(8, 0.5, "square", "#ff0000", 0.2)
    plot.rule(0.9, "#123456", dash=3)
    plot.legend([("line", "#ff00ff", "magenta"), ("cross", "#00ffff", "cyan")])
    image = sheet.finish()
    assert image.getpixel((160, 60)) == (0, 255, 0)  # the band, between the first two
    assert image.getpixel((160, 50)) == (0, 255, 0)  # which does not leave the area
    assert image.getpixel((160, 34)) == (255, 255, 255)
    assert image.getpixel((2 * 130, 2 * 32)) == (255, 0, 0)
    assert {(0, 0, 255), (255, 0, 255), (0, 255, 255)} <= colours(image)
    inside = image.crop((102, 40, 302, 139))
    assert (255, 0, 255) not in colours(inside)  # the legend is above


@pytest.mark.parametrize(("low", "high", "found"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-0.4, 0.42, [-0.4, -0.2, 0, 0.2, 0.4]),
    (3, 3, [3]), (980, 1030, [980, 990, 1000, 1010, 1020, 1030]),
])
def test_ticks_are_round(low: float, high: float, found: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(found)


def test_files_are_marked_as_this_programs() -> None:
    image = Image.open(io.BytesIO(png(Sheet(20, 10).finish())))
    assert image.format == "PNG" and image.info["toprovar"] == "{}" and image.size == (40, 20)
