"""Smooth random deformations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def field(
    count: int, size: int, grid: int, amplitude: Tensor, generator: torch.Generator
) -> Tensor:
    """Smooth displacements [B, 2, size, size] (x, y) in shares of the side.

    Args:
        grid: how many independent values a side; fewer is smoother.
        amplitude: [B], standard deviation of those values.
    """
    device = amplitude.device
    coarse = torch.randn((count, 2, grid, grid), generator=generator, device=device)
    coarse = coarse * amplitude[:, None, None, None]
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)


def warped(images: Tensor, moves: Tensor, padding: str = "border") -> Tensor:
    """Pictures [B, C, S, S] read at each pixel's place plus ``moves`` [B, 2, S, S]."""
    size = images.shape[-1]
    place = (torch.arange(size, device=images.device) + 0.5) / size
    x, y = place[None, None, :] + moves[:, 0], place[None, :, None] + moves[:, 1]
    grid = torch.stack([x, y], dim=-1) * 2 - 1
    return F.grid_sample(images, grid, "bilinear", padding, align_corners=False)


def moved(points: Tensor, moves: Tensor) -> Tensor:
    """Where points [B, N, 2] (shares of the side) lie after ``warped``, to first order."""
    grid = points[:, None] * 2 - 1
    there = F.grid_sample(moves, grid, "bilinear", "border", align_corners=False)
    return points - there[:, :, 0].transpose(1, 2)
