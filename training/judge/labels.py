"""What a composed picture holds, for teaching the judge."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
from torch import Tensor

from training.data.catalog import ObjectClass, load_classes
from training.data.colours import COLOUR_NAMES
from training.data.holdout import tables
from training.data.scene_batch import SceneBatch

ABSENT, IGNORED, PRESENT = 0, 1, 2
"""A slot's state: nothing to find, too damaged to say, to be found."""


@dataclass(frozen=True)
class Labels:
    """Objects of B pictures, all tensors on one device.

    Attributes:
        cls: int64 [B, slots].
        state: int64 [B, slots], ABSENT, IGNORED or PRESENT.
        centre, size: float32 [B, slots, 2], x and y as shares of the picture's side.
        colour: float32 [B, slots, colours], 1 where the colour's name is true of the object.
        known: float32 [B, slots, colours], 1 where that can be said at all.
    """

    cls: Tensor
    state: Tensor
    centre: Tensor
    size: Tensor
    colour: Tensor
    known: Tensor

    def __len__(self) -> int:
        return self.cls.shape[0]

    def changed(self, **values: Tensor) -> Labels:
        """The same with other values for some attributes."""
        return replace(self, **values)

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))


def labels_of(scenes: SceneBatch, extent: Tensor) -> Labels:
    """Labels of scenes as drawn, on the device of ``extent`` (``SpriteAtlas.extent``).

    A class index past the catalogue stands for a spoilt sprite, which is nothing to find.
    """
    scenes = scenes.to(extent.device)
    count = len(load_classes())
    real = scenes.cls < count
    cls = torch.where(real, scenes.cls, torch.zeros_like(scenes.cls))
    colour, known = (table.to(extent.device) for table in colour_tables())
    return Labels(
        cls=cls,
        state=torch.where(scenes.valid & real, PRESENT, ABSENT),
        centre=torch.stack([scenes.cx, scenes.cy], dim=-1),
        size=scenes.size[..., None] * extent[cls],
        colour=colour[cls, scenes.variant],
        known=known[cls, scenes.variant],
    )


@lru_cache(maxsize=1)
def colour_tables() -> tuple[Tensor, Tensor]:
    """Whether a colour's name is true of (class, variant), and whether that is known: two
    float32 [classes, variants, colours]."""
    classes = load_classes()
    true = torch.zeros(len(classes), 1 + len(COLOUR_NAMES), len(COLOUR_NAMES))
    known = torch.ones_like(true)
    for index, entry in enumerate(classes):
        for place, name in enumerate(COLOUR_NAMES):
            true[index, 0, place] = float(name in entry.natural)
            known[index, 0, place] = float(name in entry.natural or not _doubtful(entry, name))
        for variant, _ in enumerate(COLOUR_NAMES, start=1):
            if tables().sayable[index, variant]:
                true[index, variant, variant - 1] = 1.0
            else:
                true[index, variant], known[index, variant] = true[index, 0], known[index, 0]
    return true, known


def _doubtful(entry: ObjectClass, colour: str) -> bool:
    """Whether an object without that natural colour may be called so by some all the same.

    The catalogue says it where it keeps the object off a background of that colour.
    """
    if entry.natural and entry.natural != ("gray",):
        return False
    gray = "gray" in (*entry.natural, *entry.avoid)
    return colour in (*entry.avoid, *entry.avoid_always) or (gray and colour in ("white", "black"))
