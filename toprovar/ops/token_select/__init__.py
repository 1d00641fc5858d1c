"""Which tokens a block works on: the best by score, with a minimum per region of the map.

Shapes depend on the arguments alone, nothing waits for the device, and equal scores are decided by
index: the same scores give the same tokens on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Op, register


def tokens_required(grid: tuple[int, int], region: int, min_per_region: int) -> int:
    """Tokens that the minimum of every region takes up together.

    Args:
        grid: (h, w) of the map.
        region: side of a region; the last ones of a row or column may be smaller.
        min_per_region: tokens of each region; a region that has fewer gives all it has.
    """
    if region < 1 or min_per_region < 1:
        return 0
    heights, widths = (
        [min(region, length - start) for start in range(0, length, region)] for length in grid
    )
    return sum(min(min_per_region, h * w) for h in heights for w in widths)


def feasible_minimum(grid: tuple[int, int], count: int, region: int) -> int:
    """Largest ``min_per_region`` (at most region * region) that ``count`` tokens can satisfy."""
    best = 0
    while best < region * region and tokens_required(grid, region, best + 1) <= count:
        best += 1
    return best


def check_selection(
    tokens: int, grid: tuple[int, int], count: int, region: int, min_per_region: int
) -> None:
    """ValueError if ``select_tokens`` cannot serve such a call. Host numbers only: for plans."""
    h, w = grid
    if tokens != h * w:
        raise ValueError(f"select_tokens: {tokens} scores given for a grid of {h} x {w}")
    if not 0 <= count <= tokens:
        raise ValueError(f"select_tokens: count is {count}, expected 0 to {tokens}")
    if region < 0 or min_per_region < 0 or (min_per_region and not region):
        raise ValueError(
            f"select_tokens: region is {region} and min_per_region {min_per_region}, expected "
            "both >= 0, and a region >= 1 where there is a minimum"
        )
    required = tokens_required(grid, region, min_per_region)
    if required > count:
        raise ValueError(
            f"select_tokens: {min_per_region} tokens of every {region} x {region} region of a "
            f"{h} x {w} map are {required}, but only {count} are kept: set min_per_region to at "
            f"most {feasible_minimum(grid, count, region)}, or take larger regions"
        )


def select_tokens(
    scores: Tensor, grid: tuple[int, int], count: int, *, region: int = 0,
    min_per_region: int = 0, backend: str = "auto",
) -> Tensor:
    """The ``count`` tokens of highest score (see reference.py).

    Args:
        scores: [N] or [R, N], N = h * w tokens in row-major order; each row is chosen from by
            itself. Any float dtype; NaN counts as -inf.
        grid: (h, w) of the map.
        count: tokens to keep, 0 to N.
        region: side in tokens of the square regions, 0 for none.
        min_per_region: tokens that every region keeps at least (all, if it has fewer).

    Returns:
        [count] or [R, count] int64, rising.

    Raises:
        ValueError: the arguments do not fit; ``check_selection`` says so before a run.
    """
    check_selection(scores.shape[-1], grid, count, region, min_per_region)
    if count == scores.shape[-1]:
        every = torch.arange(count, device=scores.device)
        return every.expand(*scores.shape[:-1], count).contiguous()
    features = ()
    if scores.stride(-1) != 1:
        features = ("strided scores",)
    call = Call(scores.device, scores.dtype, _tile_size(grid, region if min_per_region else 0),
                features)
    return SELECT.choose(call, backend).function(scores, grid, count, region, min_per_region)


def _tile_size(grid: tuple[int, int], region: int) -> int:
    """Places in the tile that a kernel lays the map out in, powers of two on both sides."""
    regions = -(-grid[0] // region) * -(-grid[1] // region) if region else 1
    places = region * region if region else grid[0] * grid[1]
    return (1 << (regions - 1).bit_length()) * (1 << (places - 1).bit_length())


def _by_sorting(
    scores: Tensor, grid: tuple[int, int], count: int, region: int, min_per_region: int
) -> Tensor:
    """Portable path: one stable sort gives every token a rank, the rest is about ranks."""
    scores = scores.masked_fill(scores.isnan(), -torch.inf)
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    required = tokens_required(grid, region, min_per_region)
    if not required:
        return order[..., :count].sort(dim=-1).values
    total = scores.shape[-1]
    ranks = torch.empty_like(order)
    ranks.scatter_(-1, order, torch.arange(total, device=order.device).expand_as(order))
    # Best ranks of every region; places beyond the map's edge have the rank N.
    h, w = grid
    tiled = F.pad(ranks.unflatten(-1, (h, w)), (0, -w % region, 0, -h % region), value=total)
    tiled = tiled.unflatten(-1, (-1, region)).unflatten(-3, (-1, region)).transpose(-3, -2)
    best = tiled.flatten(-2).topk(min(min_per_region, region * region), largest=False).values
    due = torch.zeros(*scores.shape[:-1], total + 1, dtype=torch.bool, device=scores.device)
    due = due.scatter_(-1, best.flatten(-3), True)[..., :total]  # by rank
    free = ~due
    kept = due | (free.cumsum(-1) <= count - required)
    return torch.where(kept, order, total).sort(dim=-1).values[..., :count]


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).select


SELECT = register(Op(
    "select_tokens", "The best tokens by score with a minimum per region of the map.",
    backends=(
        Backend("triton", _triton, Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=1 << 14,
            lacks=frozenset({"strided scores"}),
        )),
        Backend("torch", lambda: _by_sorting),
    ),
    size_name="tile size",
    kernels=lambda capability: import_module(".triton", __name__).kernels(),
))
