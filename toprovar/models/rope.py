"""Two-dimensional rotary positions on the 1M grid (official ``rope2d_normalized_by_hw=2``).

Half of the rotation angles come from y, half from x. Every scale's tokens are spread over the last
grid of the 1M schedule of the same aspect, so that a token keeps its place in the picture from
scale to scale: y = round(i * Hf / h), ties to even, in float32 as in the official code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedules import ScaleSchedule, get_schedule, pixel_budgets, templates

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
    half, frequency = head_dim // 2, _frequencies(head_dim)
    (h, w), (full_h, full_w) = grid, full
    y = torch.outer(positions(h, full_h).float(), frequency)  # [h, half / 2]
    x = torch.outer(positions(w, full_w).float(), frequency)
    angle = torch.cat([y[:, None].expand(h, w, -1), x[None].expand(h, w, -1)], dim=-1)
    angle = angle.reshape(h * w, half)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def rotations_at(places: Tensor, head_dim: int) -> Tensor:
    """Cosines and sines of tokens anywhere.

    Args:
        places: [N, 2] (y, x), whole numbers.
        head_dim: channels of one attention head, a multiple of 4.

    Returns:
        [N, head_dim / 2, 2] float32, as of ``rotation_table``.
    """
    angle = (places.float()[:, :, None] * _frequencies(head_dim)).flatten(1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _frequencies(head_dim: int) -> Tensor:
    """Of one axis: [head_dim / 4] float32."""
    half = head_dim // 2
    return 1.0 / (ROPE_BASE ** (torch.arange(0, half, 2).float() / half))


def grid_places(grid: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Where a scale's tokens lie on the grid ``full``: [h * w, 2] int64 (y, x), row-major."""
    y, x = positions(grid[0], full[0]), positions(grid[1], full[1])
    return torch.cartesian_prod(y, x).reshape(-1, 2)


def editing_places(schedule: ScaleSchedule) -> list[Tensor]:
    """Where tokens lie when a source picture is edited (VAREdit), the source's first.

    The official code makes one table of places for each aspect, from its 1M schedule: the source
    on a grid of its own beyond the picture's corner, then the scales in their places. But it reads
    the table by the running number of a token in the schedule *at hand*. Of a smaller schedule
    even the last scale then lies in the source's part of the table, row after row, and not where it
    is in the picture. The released 512-pixel models were trained with these places, so they are
    part of the model.

    Returns:
        [N, 2] int64 (y, x) of the source, whose grid is that of the last scale, and of each scale.

    Raises:
        ValueError: the schedule has more tokens than the table has places.
    """
    height, width = schedule.rope_grid
    full = schedule.grids
    if schedule.template in templates():
        full = get_schedule(schedule.template, pixel_budgets()[-1]).grids
    number = torch.arange(height * width)
    source = torch.stack([height + number // width, width + number % width], dim=-1)
    table = torch.cat([source, *(grid_places(grid, schedule.rope_grid) for grid in full)])
    counts = [schedule.tokens[-1], *schedule.tokens]
    if sum(counts) > len(table):
        raise ValueError(f"a source picture and {len(schedule)} scales are {sum(counts)} tokens, "
                         f"the table of places of aspect {schedule.template} has {len(table)}: use "
                         "a listed size")
    return list(table[: sum(counts)].split(counts))


def editing_rotations(
    schedule: ScaleSchedule, head_dim: int, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """``rotations_at`` of ``editing_places``, on ``device``: the source's first."""
    return [rotations_at(p, head_dim).to(device) for p in editing_places(schedule)]


def schedule_rotations(
    schedule: ScaleSchedule, head_dim: int, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """``rotation_table`` of every scale of a schedule, on ``device``."""
    return [
        rotation_table(grid, schedule.rope_grid, head_dim).to(device) for grid in schedule.grids
    ]
