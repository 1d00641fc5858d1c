"""The parts of every class: eyes, wheels, stems, as boxes on its sprite.

Boxes in ``parts.json`` are left, top, right, bottom as shares of the sprite's square, read off the
sprites by eye once, before anything was measured with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.data.catalog import load_classes

PARTS_FILE = Path(__file__).with_name("parts.json")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Part:
    """One part of a class; ``box`` as above."""

    name: str
    box: Box

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
            raise ValueError(f"part {self.name!r}: {self.box} is no box inside the sprite")


@cache
def load_parts(path: Path = PARTS_FILE) -> tuple[tuple[Part, ...], ...]:
    """The parts of every class, in the order of the classes.

    Raises:
        ValueError: a class is missing, unknown or has no parts.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    names = [entry.name for entry in load_classes()]
    if sorted(rows) != sorted(names):
        odd = ", ".join(sorted(set(rows) ^ set(names)))
        raise ValueError(f"{path.name} and classes.json differ in {odd}")
    if empty := [name for name in names if not rows[name]]:
        raise ValueError(f"{path.name}: {', '.join(empty)} has no parts")
    return tuple(
        tuple(Part(part, (box[0], box[1], box[2], box[3])) for part, box in rows[name].items())
        for name in names
    )
