"""Resampling between scales as small matrix products.

The engine's operations (`toprovar.models.latents.resize_codes`, area averages) spend more time on
a GPU than the rest of the quantiser, at a batch of training; these give the same up to rounding.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=256)
def _matrix(before: int, after: int, mode: str, device: torch.device) -> Tensor:
    """[after, before]: what the operation does to one axis."""
    unit = torch.eye(before)[None]
    if mode == "area":
        made = F.interpolate(unit, after, mode="area")
    else:
        made = F.interpolate(unit, after, mode="linear", align_corners=False)
    return made[0].T.contiguous().to(device)


def _resampled(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if x.shape[-2:] == torch.Size(size):
        return x
    rows = _matrix(x.shape[-2], size[0], mode, x.device)
    columns = _matrix(x.shape[-1], size[1], mode, x.device)
    return rows @ x.contiguous() @ columns.T


def averaged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Area averages: float32 [B, d, h, w] -> [B, d, *size]."""
    return _resampled(x, size, "area")


def stretched(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, up or down: float32 [B, d, h, w] -> [B, d, *size]."""
    return _resampled(x, size, "linear")
