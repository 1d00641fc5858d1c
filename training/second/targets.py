"""What every cell of a composed picture shows: class, colour, place on the sprite."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toprovar.evaluation.second import STRIDE
from training.data.atlas import SpriteAtlas
from training.data.scene_batch import SLOTS, SceneBatch

_SEEN = 128
"""Least alpha of a sprite, of 255, that is the object."""
_ALPHA = 192


@dataclass(frozen=True)
class Cells:
    """Targets, int64 [B, h, w] each; ``place`` and ``colour`` are -1 on the ground."""

    cls: Tensor
    colour: Tensor
    place: Tensor


def cells_of(scenes: SceneBatch, atlas: SpriteAtlas, size: int, ground: int, bins: int) -> Cells:
    """Targets of scenes composed at ``size`` pixels.

    Args:
        ground: the class that means none.
        bins: places along each axis of a sprite.
    """
    scenes = scenes.to(atlas.device)
    count = size // STRIDE
    middle = (torch.arange(count, device=atlas.device) + 0.5) / count
    shape = (len(scenes), count, count)
    cls = torch.full(shape, ground, device=atlas.device)
    colour, place = torch.full_like(cls, -1), torch.full_like(cls, -1)
    sprites = atlas.level(_ALPHA)
    for slot in range(SLOTS):
        side = scenes.size[:, slot].clamp_min(1e-3)[:, None]
        u = (middle - scenes.cx[:, slot, None]) / side + 0.5
        v = (middle - scenes.cy[:, slot, None]) / side + 0.5
        row, column = (torch.where((t >= 0) & (t < 1), t, -1.0) for t in (v, u))
        inside = ((row >= 0)[:, :, None] & (column >= 0)[:, None]
                  & scenes.valid[:, slot, None, None])
        alpha = sprites[scenes.cls[:, slot], 0, 3]
        pixels = alpha.shape[-1]
        down = (row.clamp_min(0) * pixels).long()[:, :, None].expand(shape)
        right = (column.clamp_min(0) * pixels).long()[:, None].expand(shape)
        batch = torch.arange(len(scenes), device=atlas.device)[:, None, None].expand(shape)
        inside &= alpha[batch, down, right] >= _SEEN
        where = (row.clamp_min(0) * bins).long()[:, :, None] * bins
        where = where + (column.clamp_min(0) * bins).long()[:, None]
        cls = torch.where(inside, scenes.cls[:, slot, None, None], cls)
        colour = torch.where(inside, scenes.variant[:, slot, None, None], colour)
        place = torch.where(inside, where, place)
    return Cells(cls, colour, place)


def cropped(
    images: Tensor, cells: Cells, side: int, generator: torch.Generator
) -> tuple[Tensor, Cells]:
    """A square of ``side`` pixels of every picture [B, 3, S, S], on the cells' grid."""
    size = images.shape[-1]
    if size <= side:
        return images, cells
    count, many = side // STRIDE, len(images)
    corner = torch.randint((size - side) // STRIDE + 1, (2, many), generator=generator,
                           device=images.device)
    steps = torch.arange(side, device=images.device)
    down, right = (corner[axis, :, None] * STRIDE + steps for axis in (0, 1))
    row = torch.arange(many, device=images.device)[:, None, None]
    cut = images[row, :, down[:, :, None], right[:, None]].permute(0, 3, 1, 2)
    steps = torch.arange(count, device=images.device)
    down, right = (corner[axis, :, None] + steps for axis in (0, 1))
    planes = (cells.cls, cells.colour, cells.place)
    return cut, Cells(*(plane[row, down[:, :, None], right[:, None]] for plane in planes))
