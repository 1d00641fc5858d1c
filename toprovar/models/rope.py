"""Two-dimensional rotary positions on the 1M grid (official ``rope2d_normalized_by_hw=2``).

Half of the rotation angles come from y, half from x. Every scale's tokens are spread over the last
grid of the 1M schedule of the same aspect, so that a token keeps its place in the picture from
scale to scale: y = round(i * Hf / h), ties to even, in float32 as in the official code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedules import ScaleSchedule

ROPE_BASE = 10000.0


def positions(length: int, full: int) -> Tensor:
    """Places of ``length`` tokens on an axis of ``full``: [length] int64."""
    return (torch.arange(length) * (full / length)).round().long()


def rotation_table(grid: tuple[int, int], full: tuple[int, int], head_dim: int) -> Tensor:
    """Cosines and sines of one scale.

    Args:
        grid: (h, w) of the scale.
        full: (h, w) of the last 1M scale of the aspect.
        head_dim: channels of one attention head, a multiple of 4.

    Returns:
        [h * w, head_dim / 2, 2] float32, last axis (cos, sin), tokens in row-major order; angle m
        turns the channel pair (2m, 2m + 1).
    """
    half = head_dim // 2
    frequency = 1.0 / (ROPE_BASE ** (torch.arange(0, half, 2).float() / half))
    (h, w), (full_h, full_w) = grid, full
    y = torch.outer(positions(h, full_h).float(), frequency)  # [h, half / 2]
    x = torch.outer(positions(w, full_w).float(), frequency)
    angle = torch.cat([y[:, None].expand(h, w, -1), x[None].expand(h, w, -1)], dim=-1)
    angle = angle.reshape(h * w, half)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def schedule_rotations(
    schedule: ScaleSchedule, head_dim: int, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """``rotation_table`` of every scale of a schedule, on ``device``."""
    return [
        rotation_table(grid, schedule.rope_grid, head_dim).to(device) for grid in schedule.grids
    ]
