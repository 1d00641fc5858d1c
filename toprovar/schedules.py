"""Scale schedules: how many tokens each scale has, for every aspect ratio and pixel budget.

A schedule is a list of (h, w) token grids, coarse to fine. The table is data
(``data/schedules.json``): per aspect template h/w the 13 grids of the 1M budget, of which the
smaller budgets are the first 7 (0.06M), 10 (0.25M) or 12 (0.60M).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .arguments import whole
from .files import DATA

TOKEN_PIXELS = 16
"""Image pixels a side that one token stands for, in every released model."""
MOST_PIXELS = 8192
"""Of a side that may be asked for; the listed sizes end far below."""
FARTHEST = 1.5
"""Times that an aspect may differ from the nearest one in the table."""


@dataclass(frozen=True)
class ScaleSchedule:
    """The token grids of a run, from the coarsest scale to the finest.

    Attributes:
        template: the aspect, height divided by width, as it is written in the table ("1.0",
            "1.333").
        pn: the pixel budget: "0.06M", "0.25M", "0.60M" or "1M".
        grids: the rows and columns of tokens (h, w) of each scale.
        rope_grid: the grid (h, w) on which rotary positions are laid, whatever the pixel budget:
            the last grid of the aspect at 1M.

    Raises:
        ValueError: there is no scale, or a grid is not a pair of positive numbers.
    """

    template: str
    pn: str
    grids: tuple[tuple[int, int], ...]
    rope_grid: tuple[int, int]

    def __post_init__(self) -> None:
        if not self.grids:
            raise ValueError("a scale schedule needs at least one scale")
        for grid in (*self.grids, self.rope_grid):
            if len(grid) != 2 or min(grid) < 1:
                raise ValueError(f"scale grids must be pairs of positive integers, got {grid}")

    def __len__(self) -> int:
        """The number of scales."""
        return len(self.grids)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The number of tokens of each scale."""
        return tuple(h * w for h, w in self.grids)

    @property
    def image_size(self) -> tuple[int, int]:
        """The (height, width) of the finished picture in pixels."""
        h, w = self.grids[-1]
        return h * TOKEN_PIXELS, w * TOKEN_PIXELS

    def to_json(self) -> dict[str, Any]:
        """Aspect, pixel budget and grids as values that ``json`` can write."""
        return {"template": self.template, "pn": self.pn, "grids": [list(g) for g in self.grids]}


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = (DATA / "schedules.json").read_text(encoding="utf-8")
    return json.loads(text)


def templates() -> tuple[str, ...]:
    """Every aspect template (h/w) of the table."""
    return tuple(_table()["templates"])


def pixel_budgets() -> tuple[str, ...]:
    """Every pixel budget of the table, smallest first."""
    return tuple(_table()["lengths"])


def aspect_names() -> dict[str, str]:
    """Width to height ("3:2") -> template, square first, then wider and wider, then taller."""
    def name(template: str) -> str:
        height, width = get_schedule(template, pixel_budgets()[-1]).grids[-1]
        common = math.gcd(height, width)
        return f"{width // common}:{height // common}"

    wide = [t for t in templates() if float(t) < 1]
    others = [t for t in templates() if float(t) >= 1]
    ordered = [t for t in others if float(t) == 1] + sorted(wide, key=float, reverse=True) \
        + sorted((t for t in others if float(t) > 1), key=float)
    return {name(template): template for template in ordered}


def nearest_template(h_div_w: float) -> str:
    """The template whose aspect is closest to ``h_div_w`` (compared as ratios, so 2 and 0.5 are
    equally far from 1); a ValueError if it is ``FARTHEST`` times off."""
    if not 0 < h_div_w < math.inf:
        raise ValueError(f"aspect h/w must be a positive number, got {h_div_w}")

    def distance(template: str) -> float:
        return max(float(template) / h_div_w, h_div_w / float(template))

    nearest = min(templates(), key=distance)
    if distance(nearest) > FARTHEST:
        narrow, wide = min(map(float, templates())), max(map(float, templates()))
        raise ValueError(f"aspect {h_div_w:.4g} (height over width) is far from all that are "
                         f"listed, {narrow:g} to {wide:g}: choose one of these")
    return nearest


def get_schedule(template: str | float, pn: str) -> ScaleSchedule:
    """The schedule of an aspect and a pixel budget.

    Args:
        template: the aspect, height divided by width. A text must name a listed one ("1.0"). A
            number takes the nearest listed one.
        pn: the pixel budget: "0.06M", "0.25M", "0.60M" or "1M".

    Raises:
        ValueError: the aspect or the budget is not listed, or the number is more than 1.5 times off
            every listed aspect.
    """
    table = _table()
    if not isinstance(template, str):
        template = nearest_template(float(template))
    if template not in table["templates"]:
        raise ValueError(
            f"unknown aspect template {template!r}; expected one of {', '.join(templates())} "
            "(height over width)"
        )
    if pn not in table["lengths"]:
        raise ValueError(
            f"unknown pixel budget {pn!r}; expected one of {', '.join(pixel_budgets())}"
        )
    grids = [tuple(g) for g in table["templates"][template]]
    return ScaleSchedule(template, pn, tuple(grids[: table["lengths"][pn]]), grids[-1])


def find_schedule(grids: Sequence[Sequence[int]]) -> ScaleSchedule:
    """The listed schedule that has exactly these grids ([h, w] or [1, h, w] each)."""
    wanted = tuple((int(g[-2]), int(g[-1])) for g in grids)
    for template in templates():
        for pn in pixel_budgets():
            schedule = get_schedule(template, pn)
            if schedule.grids == wanted:
                return schedule
    raise ValueError(
        f"no listed schedule has these {len(wanted)} scales ending in {wanted[-1:]}; "
        "use get_schedule(template, pn)"
    )


def parse_aspect(text: str) -> float:
    """Reads "3:2" or "3x2" (width to height) into h/w."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[:x/]\s*(\d+(?:\.\d+)?)\s*", text)
    if not match or not float(match[1]) or not float(match[2]):
        raise ValueError(f"aspect must look like 3:2 (width to height), got {text!r}")
    return float(match[2]) / float(match[1])


def schedule_for_size(height: int, width: int) -> ScaleSchedule:
    """The schedule of the listed size nearest to a size in pixels: first the nearest aspect, then
    the nearest number of pixels.

    Args:
        height, width: in pixels, 1 to 8192.

    Raises:
        ValueError: a side is out of range, or the aspect is more than 1.5 times off every listed
            one.
    """
    height, width = (whole(name, side, 1, MOST_PIXELS)
                     for name, side in (("height", height), ("width", width)))
    return _nearest(height, width, pixel_budgets())


def schedule_for_picture(height: int, width: int, most_pn: str,
                         planned: ScaleSchedule | None = None, part: bool = False
                         ) -> ScaleSchedule:
    """The size that a given picture is drawn at where none is named: that of the plan if it has the
    picture's aspect, else the listed size nearest to the picture.

    Args:
        height, width: of the picture, in pixels.
        most_pn: the model's own pixel budget, which is not exceeded.
        planned: the size that a plan was made for.
        part: True = only a part of the picture is drawn, at the full size of ``most_pn``.

    Raises:
        ValueError: the aspect is more than 1.5 times off every listed one.
    """
    if planned is not None and planned.template == nearest_template(height / width):
        return planned
    budgets = pixel_budgets()
    if part:
        return get_schedule(height / width, most_pn)
    return _nearest(height, width, budgets[: budgets.index(most_pn) + 1])


def _nearest(height: int, width: int, budgets: Sequence[str]) -> ScaleSchedule:
    """First the nearest aspect, then the nearest number of pixels among some budgets."""
    template, area = nearest_template(height / width), height * width

    def distance(pn: str) -> float:
        h, w = get_schedule(template, pn).image_size
        return max(h * w / area, area / (h * w))

    return get_schedule(template, min(budgets, key=distance))


def size_notes(schedule: ScaleSchedule, height: int, width: int) -> tuple[str, ...]:
    """A note where a schedule is of another size than was asked for."""
    tall, wide = schedule.image_size
    if (tall, wide) == (height, width):
        return ()
    return (f"asked for {width}x{height} pixels, drawn at {wide}x{tall}, the nearest listed size",)


def picture_notes(schedule: ScaleSchedule, height: int, width: int, most_pn: str | None = None,
                  what: str = "picture") -> tuple[str, ...]:
    """A note where a given picture is drawn at another size than its own.

    Args:
        height, width: of the picture, in pixels.
        most_pn: the model's own pixel budget, where it may have decided; None = the size was named.
        what: how the note calls it.
    """
    tall, wide = schedule.image_size
    if (tall, wide) == (height, width):
        return ()
    note = f"the {what} of {width}x{height} pixels was drawn at {wide}x{tall}"
    nearest = _nearest(height, width, pixel_budgets())
    if schedule == nearest:
        return (f"{note}, the nearest listed size",)
    if schedule.pn == most_pn and sum(schedule.tokens) < sum(nearest.tokens):
        return (f"{note}, because the model's own size is {most_pn}: name a size for more pixels",)
    return (note,)


def aspect_notes(schedule: ScaleSchedule, aspect: str) -> tuple[str, ...]:
    """A note where a schedule is of another aspect than was asked for ("3:2")."""
    tall, wide = schedule.image_size
    if abs(parse_aspect(aspect) * wide / tall - 1) < 0.005:
        return ()
    common = math.gcd(tall, wide)
    return (f"asked for aspect {aspect}, drawn at {wide // common}:{tall // common} ({wide}x{tall} "
            "pixels), the nearest listed one",)
