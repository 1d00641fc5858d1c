"""What JPEG does to a picture: DCT of 8 x 8 blocks, rounded by the standard's tables."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Annex K of the standard.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *([99] * 32),
)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """RGB pictures [B, 3, S, S] in 0-1 after JPEG of ``quality`` [B] in 1-100, 4:2:0.

    S must be a multiple of 16.
    """
    if images.shape[-1] % 16 or images.shape[-2] % 16:
        raise ValueError(f"sides must be multiples of 16, got {list(images.shape[-2:])}")
    red, green, blue = (images * 255.0).unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = F.avg_pool2d(torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], 1), 2)
    scale = torch.where(quality < 50, 5000.0 / quality, 200.0 - 2 * quality) / 100.0
    luma = _coded((luma - 128.0)[:, None], _LUMA, scale)[:, 0] + 128.0
    chroma = F.interpolate(_coded(chroma, _CHROMA, scale), scale_factor=2.0, mode="bilinear")
    cb, cr = chroma.unbind(1)
    red, blue = luma + 1.402 * cr, luma + 1.772 * cb
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return (torch.stack([red, green, blue], 1) / 255.0).clamp(0, 1)


def _coded(planes: Tensor, table: tuple[int, ...], scale: Tensor) -> Tensor:
    """Planes [B, C, H, W] through rounded coefficients."""
    dct = _dct().to(planes.device)
    steps = torch.tensor(table, device=planes.device, dtype=torch.float32).reshape(8, 8)
    steps = (steps * scale[:, None, None]).round().clamp(1, 255)[:, None, None, None]
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    coefficients = dct @ blocks @ dct.T
    blocks = dct.T @ ((coefficients / steps).round() * steps) @ dct
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)


@lru_cache(maxsize=1)
def _dct() -> Tensor:
    k = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * k[None, :] + 1) * k[:, None] / 16) * 0.5
    matrix[0] *= math.sqrt(0.5)
    return matrix.float()
