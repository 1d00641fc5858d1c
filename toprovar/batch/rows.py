"""Rows: what is asked of one picture, or of several of one prompt.

A row that cannot be read is a value too, so that the others are drawn and it is listed with its
reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..arguments import check_prompts, guidance, whole

COLUMNS = ("prompt", "negative", "seed", "size", "cfg", "plan", "name")
"""What is read of a row; other columns are carried into the manifest."""
FORBIDDEN = set('/\\:*?"<>|\0')
LONGEST_NAME = 200
"""Bytes of a file's name without its ending."""
LIKE = 0.8
"""From which likeness on an unknown column is taken for a misspelt one."""


@dataclass(frozen=True)
class Row:
    """A picture, or several of one prompt, that a batch is to draw. None = the batch's settings
    decide.

    Attributes:
        number: the number of the row in its file, from 1.
        prompt: what to draw.
        negative: what to steer away from.
        seed: the seed of the row's first picture.
        size: (width, height) in pixels; the nearest listed size is drawn.
        cfg: the strength of guidance.
        plan: the name of a strategy, "auto", or a plan file.
        name: the name of the picture's file, without its ending.
        columns: the other columns of the file, which are copied into the manifest.
    """

    number: int
    prompt: str
    negative: str | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    cfg: float | None = None
    plan: str | None = None
    name: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read. The batch lists it as failed and draws the others.

    Attributes:
        number: the number of the row in its file, from 1.
        reason: why it cannot be read, in words.
        found: the content of the row, by column.
    """

    number: int
    reason: str
    found: Mapping[str, Any] = field(default_factory=dict)


def row_of(number: int, found: Mapping[str, Any]) -> Row | BadRow:
    """A row out of the values of its columns, as text (CSV) or typed (JSONL, Ray Data). An empty
    text, None and NaN are no value."""
    values = {name: value for name, value in found.items() if not _absent(value)}
    try:
        return Row(
            number, _text("prompt", values.get("prompt")),
            None if "negative" not in values else _text("negative", values["negative"]),
            None if "seed" not in values else seed_of(values["seed"]),
            None if "size" not in values else size_of(values["size"]),
            None if "cfg" not in values else _cfg(values["cfg"]),
            None if "plan" not in values else _text("plan", values["plan"]),
            None if "name" not in values else _name(values["name"]),
            {name: value for name, value in values.items() if name not in COLUMNS},
        )
    except ValueError as error:
        return BadRow(number, str(error), dict(values))


def check_columns(names: list[str]) -> None:
    """ValueError where the column "prompt" is missing, one is there twice, or one looks like a
    misspelt name of one that is read."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the column {name[:80]!r} is there twice")
    for name in names:
        like = get_close_matches(name.lower(), [c for c in COLUMNS if c not in names], 1, LIKE)
        if name not in COLUMNS and like:
            raise ValueError(f"the column {name[:80]!r} is unknown: did you mean {like[0]!r}? The "
                             f"columns are {', '.join(COLUMNS)}; others are copied into the "
                             "manifest")
    if "prompt" not in names:
        raise ValueError(f"no column is called 'prompt', they are {', '.join(names)[:200]}")


def seed_of(value: Any) -> int:
    """A seed, also as text."""
    if isinstance(value, str):
        if not re.fullmatch(r"\s*[+-]?\d{1,20}\s*", value):
            raise ValueError(f"seed must be a whole number, got {value[:80]!r}")
        value = int(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)  # columns with gaps come out of pandas as float64
    return whole("seed", value, -(1 << 63), (1 << 64) - 1)


def size_of(value: Any) -> tuple[int, int]:
    """(width, height) in pixels, from "1024x768" or two numbers; the sampler draws the nearest
    listed size."""
    from ..schedules import schedule_for_size

    match = re.fullmatch(r"\s*(\d{1,6})\s*[xX]\s*(\d{1,6})\s*", value) \
        if isinstance(value, str) else None
    if match:
        width, height = int(match[1]), int(match[2])
    elif not isinstance(value, str) and hasattr(value, "__len__") and len(value) == 2:
        width, height = (whole("size", each, 1) for each in value)
    else:
        raise ValueError(f"size must look like 1024x768 (width x height), got {str(value)[:80]!r}")
    schedule_for_size(height, width)
    return width, height


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) \
        or (isinstance(value, float) and math.isnan(value))


def _text(name: str, value: Any) -> str:
    if value is None:
        raise ValueError(f"the {name} is empty")
    return check_prompts(f"the {name}", [value])[0].strip()


def _cfg(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"cfg must be a number, got {value[:80]!r}") from None
    found = guidance("cfg", value)
    if isinstance(found, tuple):
        raise ValueError(f"cfg must be one number, got {found}")
    return found


def _name(value: Any) -> str:
    name = str(value).strip()
    if FORBIDDEN & set(name) or name.startswith(".") or len(name.encode()) > LONGEST_NAME \
            or not name.isprintable():
        raise ValueError(f"{name[:80]!r} is not a valid file name: leave out slashes, colons and "
                         "the like")
    return name
