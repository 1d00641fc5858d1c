"""Sizes by name: the aspect ratios and pixel budgets that Infinity knows."""

from __future__ import annotations

from math import gcd
from typing import Any

from ...toprovar.schedules import (
    ScaleSchedule,
    get_schedule,
    pixel_budgets,
    templates,
)

AUTO = "auto"


def aspects() -> dict[str, str]:
    """Width to height ("3:2") -> template, square first, then wider and wider, then taller."""
    def ratio(template: str) -> float:
        return float(template)

    square = [t for t in templates() if ratio(t) == 1]
    wide = sorted((t for t in templates() if ratio(t) < 1), key=ratio, reverse=True)
    tall = sorted((t for t in templates() if ratio(t) > 1), key=ratio)
    return {_label(t): t for t in (*square, *wide, *tall)}


def _label(template: str) -> str:
    h, w = get_schedule(template, pixel_budgets()[-1]).grids[-1]
    return f"{w // gcd(h, w)}:{h // gcd(h, w)}"


def budgets() -> list[str]:
    return list(pixel_budgets())


def schedule_named(aspect: str, pixels: str) -> ScaleSchedule:
    """The schedule of a width-to-height label and a pixel budget."""
    return get_schedule(aspects()[aspect], pixels)


def choose_schedule(size: ScaleSchedule | None, aspect: str, pixels: str, default_pn: str,
                    planned: ScaleSchedule | None = None) -> ScaleSchedule:
    """What is connected, else what the widgets name, else the plan's size, else the model's."""
    if size is not None:
        return size
    if pixels != AUTO:
        return schedule_named(aspect, pixels)
    if planned is not None:
        return planned
    return schedule_named(aspect, default_pn)


def size_error(aspect: Any, pixels: Any, auto: bool = True) -> str | None:
    """What is wrong with the two widgets' values, in words; None if nothing is."""
    if isinstance(aspect, str) and aspect not in aspects():
        return (f"aspect {aspect!r} is not one that Infinity was trained on: choose one of "
                f"{', '.join(aspects())} (width to height)")
    allowed = [AUTO, *budgets()] if auto else budgets()
    if isinstance(pixels, str) and pixels not in allowed:
        return f"pixels must be one of {', '.join(allowed)}, got {pixels!r}"
    return None
