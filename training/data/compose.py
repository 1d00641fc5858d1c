"""Drawing scenes: backgrounds, soft shadows and antialiased sprites, in batches.

Sprites are placed without rotation, so placing one is a resampling along each axis: two small
matrix products per sprite, whose rows are exact area filters. That keeps small objects free of
aliasing at any size without mipmaps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.data.atlas import SpriteAtlas
from training.data.scene_batch import SLOTS, SceneBatch

_SHADOW = 0.30
_PIECE_PIXELS = 128 * 256 * 256


def compose(
    batch: SceneBatch, atlas: SpriteAtlas, size: int = 256, *, as_float: bool = False
) -> Tensor:
    """Draw every scene on the atlas's device.

    Args:
        batch: scenes, on any device.
        atlas: sprites; its device does the work.
        size: side of the pictures in pixels.
        as_float: give float32 in 0–1 (rounded to 1/255 all the same) instead of uint8.

    Returns:
        sRGB pictures [B, 3, size, size].
    """
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, got {size}")
    batch = batch.to(atlas.device)
    out = torch.empty((len(batch), 3, size, size), dtype=torch.uint8, device=atlas.device)
    step = max(1, _PIECE_PIXELS // (size * size))
    if atlas.device.type == "cpu":
        step = min(step, 16)  # keeps the working set in the processor's cache
    for start in range(0, len(batch), step):
        rows = slice(start, start + step)
        out[rows] = _draw(batch[rows], atlas, size)
    return out.float() / 255.0 if as_float else out


def _draw(batch: SceneBatch, atlas: SpriteAtlas, size: int) -> Tensor:
    canvas = _background(batch, size)
    used = [slot for slot in range(SLOTS) if bool(batch.valid[:, slot].any())]
    # Every shadow lies on the ground, so all come before the first object.
    for slot in used:
        canvas = canvas * (1.0 - _shadow(batch, atlas, slot, size))
    for slot in used:
        rows = torch.nonzero(batch.valid[:, slot]).squeeze(1)
        sprite = _placed(batch[rows], atlas, slot, size)
        canvas[rows] = canvas[rows] * (1.0 - sprite[:, 3:]) + sprite[:, :3]
    return (canvas * 255.0).round().clamp(0, 255).to(torch.uint8)


def _background(batch: SceneBatch, size: int) -> Tensor:
    """Plain or graded grounds: float32 [B, 3, size, size], 0–1."""
    place = (torch.arange(size, device=batch.task.device) + 0.5) / size - 0.5
    x, y = place[None, None, :], place[None, :, None]
    across, along = batch.angle.cos()[:, None, None], batch.angle.sin()[:, None, None]
    linear = (across * x + along * y) / (across.abs() + along.abs()) + 0.5
    radial = (x.square() + y.square()).sqrt() / 0.5**0.5
    grade = batch.grade[:, None, None]
    t = torch.where(grade == 1, linear, torch.where(grade == 2, radial, torch.zeros_like(linear)))
    first, second = batch.ends[:, 0, :, None, None], batch.ends[:, 1, :, None, None]
    return first + (second - first) * t[:, None]


def _shadow(batch: SceneBatch, atlas: SpriteAtlas, slot: int, size: int) -> Tensor:
    """A soft ellipse under one slot's objects: how much it darkens, [B, 1, size, size]."""
    place = (torch.arange(size, device=atlas.device) + 0.5) / size
    extent = atlas.extent[batch.cls[:, slot]]
    side = batch.size[:, slot].clamp_min(1e-3)
    bottom = batch.cy[:, slot] + side * extent[:, 1] * 0.47
    wide, flat = side * extent[:, 0] * 0.36, side * 0.05
    x = (place - batch.cx[:, slot, None]) / wide[:, None]
    y = (place - bottom[:, None]) / flat[:, None]
    strength = _SHADOW * batch.valid[:, slot, None]
    soft_x, soft_y = (-x.square()).exp() * strength, (-y.square()).exp()
    return (soft_y[:, :, None] * soft_x[:, None, :])[:, None]


def _placed(batch: SceneBatch, atlas: SpriteAtlas, slot: int, size: int) -> Tensor:
    """One slot's sprites on empty canvases: premultiplied float32 [B, 4, size, size], 0–1."""
    sprite = atlas.level(size)[batch.cls[:, slot], batch.variant[:, slot]].float() / 255.0
    source = sprite.shape[-1]
    side = batch.size[:, slot]
    rows = _filter(batch.cy[:, slot], side, source, size)
    columns = _filter(batch.cx[:, slot], side, source, size)
    return torch.matmul(torch.matmul(rows[:, None], sprite), columns[:, None].transpose(2, 3))


def _filter(centre: Tensor, side: Tensor, source: int, size: int) -> Tensor:
    """Resampling weights along one axis: float32 [B, size, source].

    Each canvas pixel takes the mean, over its own width, of the linear interpolation of the
    sprite. Inside the sprite the weights add up to exactly one at any scale, which sampled
    filters do not (their ripple shows as a mesh); beyond it there is nothing.
    """
    device = centre.device
    scale = source / (side * size)  # source pixels per canvas pixel
    edges = torch.arange(size + 1, device=device)
    edges = (edges - (centre - side / 2)[:, None] * size) * scale[:, None]
    pixel = torch.arange(source, device=device) + 0.5
    away = (edges[:, :, None] - pixel).clamp(-1.0, 1.0)
    # Integral of the interpolating tent, from its start to ``away``.
    reached = 0.5 + away - 0.5 * away * away.abs()
    return reached.diff(dim=1) / scale[:, None, None]
