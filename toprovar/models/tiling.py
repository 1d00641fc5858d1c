"""Decode a large latent in overlapping tiles.

Group norm is what makes tiles differ from the whole picture: its statistics span the picture, so
tiles normalised on their own differ in tone. Here a first pass only pools the statistics of all
tiles, norm by norm, and a second decodes with them; seams are then blended linearly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Normalise = Callable[[nn.GroupNorm, Tensor], Tensor]


class PooledNorm:
    """Group norm with statistics pooled over tiles: first collect, then apply."""

    def __init__(self) -> None:
        self._sums: dict[nn.GroupNorm, tuple[Tensor, Tensor, int]] = {}

    def collect(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """The plain group norm, remembering the tile's sums."""
        grouped = x.float().unflatten(1, (norm.num_groups, -1)).flatten(2)
        first, second, count = grouped.sum(-1), grouped.square().sum(-1), grouped.shape[-1]
        if norm in self._sums:
            a, b, n = self._sums[norm]
            first, second, count = first + a, second + b, count + n
        self._sums[norm] = (first, second, count)
        return norm(x)

    def apply(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """Group norm with the pooled statistics."""
        first, second, count = self._sums[norm]
        mean = first / count
        gain = torch.rsqrt((second / count - mean.square()).clamp_min(0) + norm.eps)
        per_group = x.shape[1] // norm.num_groups
        scale = gain.repeat_interleave(per_group, 1) * norm.weight.float()
        shift = norm.bias.float() - mean.repeat_interleave(per_group, 1) * scale
        return torch.addcmul(
            shift.to(x.dtype)[..., None, None], x, scale.to(x.dtype)[..., None, None]
        )


def decode_tiled(
    decode: Callable[[Tensor, Normalise], Tensor], codes: Tensor, tile: int, stride: int
) -> Tensor:
    """Decode tile by tile; neighbours overlap by a quarter.

    Args:
        decode: ([B, d, h, w], norm) -> [B, 3, stride h, stride w].
        codes: [B, d, h, w].
        tile: latent pixels a side, at least 4.
        stride: image pixels per latent pixel.
    """
    if tile < 4:
        raise ValueError(f"tile must be at least 4 latent pixels, got {tile}")
    batch, _, height, width = codes.shape
    if height <= tile and width <= tile:
        return decode(codes, lambda norm, x: norm(x))
    overlap = tile // 4
    corners = [
        (top, left)
        for top in tile_starts(height, tile, overlap)
        for left in tile_starts(width, tile, overlap)
    ]
    pooled = PooledNorm()
    for top, left in corners:
        decode(codes[:, :, top : top + tile, left : left + tile], pooled.collect)
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
        image[:, :, rows, columns] += decode(part, pooled.apply) * ramp
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
