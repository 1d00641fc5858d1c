"""The colour words and what they look like.

An object colour is a ramp of three sRGB colours, for the shadow, the middle and the light of a
shaded surface. A background colour is a pair of sRGB colours between which a graded background
runs; a plain one lies between them.
"""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class ObjectColour:
    """How a recoloured surface is shaded, in sRGB 0–255."""

    name: str
    shadow: Rgb
    middle: Rgb
    light: Rgb

    def __post_init__(self) -> None:
        _check(self.name, self.shadow, self.middle, self.light)


@dataclass(frozen=True)
class BackgroundColour:
    """The two ends of a background, in sRGB 0–255, and the object colours it would swallow."""

    name: str
    first: Rgb
    second: Rgb
    hides: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self.name, self.first, self.second)
        for colour in self.hides:
            if colour not in NATURAL_NAMES:
                raise ValueError(f"background {self.name!r} hides the unknown colour {colour!r}")


def _check(name: str, *colours: Rgb) -> None:
    if not name.isalpha() or not name.islower():
        raise ValueError(f"colour name {name!r} must be one lower-case word")
    for colour in colours:
        if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
            raise ValueError(f"colour {name!r}: {colour!r} must be three values of 0-255")


# Far apart on purpose: pink is light and cool, orange keeps clear of red and yellow, purple is
# dark and bluish, so that no two are taken for each other on a small shaded object.
OBJECT_COLOURS: tuple[ObjectColour, ...] = (
    ObjectColour("red", (128, 8, 20), (224, 26, 36), (255, 120, 112)),
    ObjectColour("orange", (186, 68, 0), (255, 128, 8), (255, 190, 100)),
    ObjectColour("yellow", (196, 140, 0), (255, 214, 20), (255, 244, 140)),
    ObjectColour("green", (8, 84, 30), (38, 166, 58), (138, 224, 120)),
    ObjectColour("blue", (8, 36, 140), (30, 100, 236), (126, 190, 255)),
    ObjectColour("purple", (58, 14, 120), (128, 48, 206), (196, 140, 250)),
    ObjectColour("pink", (206, 70, 140), (255, 138, 196), (255, 204, 228)),
    ObjectColour("brown", (58, 30, 14), (122, 70, 36), (186, 132, 90)),
    ObjectColour("black", (8, 8, 10), (38, 38, 42), (120, 120, 128)),
    ObjectColour("white", (170, 172, 182), (236, 237, 242), (255, 255, 255)),
)
COLOUR_NAMES: tuple[str, ...] = tuple(colour.name for colour in OBJECT_COLOURS)
# Gray is never painted, since a gray object cannot be told from a shaded white one for sure, but
# some objects are drawn gray.
NATURAL_NAMES: tuple[str, ...] = (*COLOUR_NAMES, "gray")

BACKGROUND_COLOURS: tuple[BackgroundColour, ...] = (
    BackgroundColour("white", (255, 255, 255), (238, 239, 243), ("white",)),
    BackgroundColour("gray", (176, 178, 184), (132, 134, 142), ("gray", "white")),
    BackgroundColour("black", (44, 44, 50), (10, 10, 12), ("black", "brown")),
    BackgroundColour("red", (232, 66, 66), (186, 26, 36), ("red", "orange", "brown", "pink")),
    BackgroundColour("orange", (255, 172, 84), (244, 128, 24), ("orange", "yellow", "red")),
    BackgroundColour("yellow", (255, 238, 140), (250, 212, 56), ("yellow", "orange", "white")),
    BackgroundColour("green", (138, 206, 128), (64, 160, 82), ("green",)),
    BackgroundColour("blue", (126, 186, 250), (52, 116, 224), ("blue", "purple")),
    BackgroundColour("purple", (176, 128, 232), (120, 66, 196), ("purple", "blue")),
    BackgroundColour("pink", (255, 200, 222), (250, 150, 194), ("pink", "white", "red")),
)
BACKGROUND_NAMES: tuple[str, ...] = tuple(colour.name for colour in BACKGROUND_COLOURS)
