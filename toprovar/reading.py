"""Files of others' making: read within bounds, and one kind of error for all that can be wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .printable import one_line

MOST_NESTED = 40
"""Lists and objects inside one another; nothing that this package writes has ten."""
FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""What code raises that takes a file for what it should be: RecursionError is a RuntimeError."""


@contextmanager
def reading(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """Whatever goes wrong in this context becomes a ValueError of one line that names the file,
    the place in it and the remedy.

    Args:
        what: such as "sparsity plan".
        remedy: what to do then, such as "make one with ...".
    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise ValueError(one_line(
            f"{path}: the {what} cannot be read: {error.strerror or error}")) from None
    except (*FAULTS, SafetensorError) as error:
        raise ValueError(one_line(
            f"{path}: not a usable {what}: {_told(error)}; {remedy}")) from None


def read_text(path: str | Path, most_bytes: int) -> str:
    """A UTF-8 file of at most ``most_bytes``; a ValueError or OSError otherwise."""
    with open(path, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes} bytes, which none is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None


def read_json(path: str | Path, most_bytes: int) -> Any:
    """The values of a JSON file, as :func:`parse_json` takes them."""
    return parse_json(read_text(path, most_bytes))


def parse_json(text: str) -> Any:
    """JSON with finite numbers and at most ``MOST_NESTED`` levels; a ValueError otherwise."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"nested more than {MOST_NESTED} levels deep") from None
    level = [("", values)]
    for _ in range(MOST_NESTED + 1):
        level = [inner for place, value in level for inner in _within(place, value)]
    if level:
        raise ValueError(f"nested more than {MOST_NESTED} levels deep")
    return values


def _within(place: str, value: Any) -> list[tuple[str, Any]]:
    """The parts of a value, each with its place; a number must be finite."""
    if isinstance(value, dict):
        return [(f"{place}.{key}", inner) for key, inner in value.items()]
    if isinstance(value, list):
        return [(f"{place}.{n}", inner) for n, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place[1:]}: {value} is not a finite number")
    return []


def _told(error: Exception) -> str:
    """The first fault, with its place."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        return (f"{place}: " if place else "") + first["msg"].removeprefix("Value error, ")
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, (TypeError, AttributeError, LookupError)):
        return f"its parts are not of the expected kind ({error})"
    return str(error)
