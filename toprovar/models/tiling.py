"""Decode a large latent in overlapping tiles, whose seams are blended linearly.

Group norm spans the whole picture, so a tile's tone is not quite that of the whole; tiles of 24
latent pixels and more are close. Pooling the norms' statistics over all tiles in a first pass was
tried and is worse: statistics of tiles that were normalised on their own mislead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def decode_tiled(
    decode: Callable[[Tensor], Tensor], codes: Tensor, tile: int, stride: int
) -> Tensor:
    """Decode tile by tile; neighbours overlap by a quarter.

    Args:
        decode: [B, d, h, w] -> [B, 3, stride h, stride w].
        codes: [B, d, h, w].
        tile: latent pixels a side, at least 4.
        stride: image pixels per latent pixel.
    """
    if tile < 4:
        raise ValueError(f"tile must be at least 4 latent pixels, got {tile}")
    batch, _, height, width = codes.shape
    if height <= tile and width <= tile:
        return decode(codes)
    overlap = tile // 4
    corners = [
        (top, left)
        for top in tile_starts(height, tile, overlap)
        for left in tile_starts(width, tile, overlap)
    ]
    image = torch.zeros(batch, 3, height * stride, width * stride, device=codes.device)
    weight = torch.zeros(1, 1, height * stride, width * stride, device=codes.device)
    for top, left in corners:
        part = codes[:, :, top : top + tile, left : left + tile]
        h, w = part.shape[2], part.shape[3]
        ramp = (
            _ramp(h, overlap, top > 0, top + tile < height, stride)[:, None]
            * _ramp(w, overlap, left > 0, left + tile < width, stride)
        ).to(codes.device)
        rows = slice(top * stride, (top + h) * stride)
        columns = slice(left * stride, (left + w) * stride)
        image[:, :, rows, columns] += decode(part) * ramp
        weight[:, :, rows, columns] += ramp
    return image / weight


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First positions of the tiles along an axis; the last tile ends with the axis."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _ramp(size: int, overlap: int, fade_in: bool, fade_out: bool, stride: int) -> Tensor:
    """Blend weights along one axis: rises over the overlap where a neighbour lies, else 1."""
    weight = torch.ones(size * stride)
    edge = overlap * stride
    rise = (torch.arange(edge) + 0.5) / edge
    if fade_in:
        weight[:edge] = rise
    if fade_out:
        weight[-edge:] = torch.minimum(weight[-edge:], rise.flip(0))
    return weight
