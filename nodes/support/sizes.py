"""Sizes by name: the aspect ratios and pixel budgets that Infinity knows."""

from __future__ import annotations

from typing import Any

from ...toprovar.schedules import (
    ScaleSchedule,
    aspect_names,
    get_schedule,
    pixel_budgets,
)

AUTO = "auto"
SAME = "the drafts' own"


def aspects() -> dict[str, str]:
    """Width to height ("3:2") -> template."""
    return aspect_names()


def budgets() -> list[str]:
    return list(pixel_budgets())


def schedule_named(aspect: str, pixels: str) -> ScaleSchedule:
    """The schedule of a width-to-height label and a pixel budget."""
    return get_schedule(aspects()[aspect], pixels)


def choose_schedule(size: ScaleSchedule | None, aspect: str, pixels: str, default_pn: str,
                    planned: ScaleSchedule | None = None) -> ScaleSchedule:
    """What is connected, else what the widgets name, else the plan's size, else the model's.

    Raises:
        ValueError: a name that came over a link is none that Infinity knows.
    """
    if size is not None:
        return size
    if wrong := size_error(aspect, pixels):
        raise ValueError(wrong)
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
