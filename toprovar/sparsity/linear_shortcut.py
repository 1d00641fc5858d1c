"""A shortcut's name: from which scale it starts, to which, and past how many layers."""

from __future__ import annotations

from typing import NamedTuple

INPUT = -1
"""In place of a layer's number: what the first layer is given."""


class LinearShortcut(NamedTuple):
    """From the scale before, to a scale, past so many layers."""

    source: int
    scale: int
    length: int

    def __str__(self) -> str:
        return f"{self.source}-{self.scale}-{self.length}"
