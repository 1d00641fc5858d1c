"""A mask over the picture, as tokens of every scale and cells of the latent.

A mask is white (1) where something is drawn anew and black (0) where the picture stays. Cells of
the finest grid, 16 x 16 pixels each, that hold any white are *inside*. A token of a coarser scale
stands for several cells: it is drawn where enough of them are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..sparsity.restricted import rounded_up

LEAST = 0.02
"""What counts as white: a feathered mask is drawn anew as far as it reaches."""
COVERED = 0.25
"""Share of a coarse token's cells that must be inside for it to be drawn."""
ROUNDING = 1e-4
"""Of shares, which are sums of few numbers: what is less is none."""
TONE = 4
"""Tokens of scales that set the tone of the whole picture, such as its background's colour: they
are drawn only where all of the picture is."""
MARGIN = 1
"""Tokens around the region that late scales compute, too."""


def read_mask(mask: Any, size: tuple[int, int]) -> Tensor:
    """A mask picture as numbers, brought to a size.

    Args:
        mask: a PIL image (its brightness counts), or an array or tensor of numbers from 0 to 1:
            [h, w], [B, h, w] or [B, 1, h, w]; or a list of these.
        size: (height, width) in pixels.

    Returns:
        [B, 1, height, width] float32 in [0, 1].

    Raises:
        ValueError: it is no mask, or has no white at all.
    """
    parts = [_one_mask(m) for m in mask] if isinstance(mask, (list, tuple)) else [_one_mask(mask)]
    if not parts:
        raise ValueError("mask_image is an empty list: give a mask, or leave it out")
    found = torch.cat([_resized(part, size) for part in parts])
    for i, one in enumerate(found):
        if one.max() <= LEAST:
            which = f" {i + 1} of {len(found)}" if len(found) > 1 else ""
            raise ValueError(f"mask_image{which} is black everywhere, so nothing would be drawn: "
                             "paint white what is to be drawn anew")
    return found


def _one_mask(mask: Any) -> Tensor:
    from PIL import Image

    if isinstance(mask, Image.Image):
        values = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255)
    elif isinstance(mask, (np.ndarray, Tensor)):
        values = torch.as_tensor(mask).detach().to("cpu", torch.float32)
    else:
        raise ValueError("mask_image must be a PIL image, or numbers from 0 to 1 as an array or "
                         f"tensor, got {type(mask).__name__}")
    if values.ndim == 2:
        values = values[None, None]
    elif values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or values.shape[1] != 1 or 0 in values.shape:
        raise ValueError("mask_image must be [h, w], [B, h, w] or [B, 1, h, w], got "
                         f"{list(values.shape)}: give one number a pixel")
    if not torch.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError("mask_image must hold numbers from 0 (stays) to 1 (drawn anew), got "
                         f"{float(values.min()):g} to {float(values.max()):g}")
    return values


def _resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    if mask.shape[-2:] == torch.Size(size):
        return mask
    smaller = mask.shape[-2] >= size[0] and mask.shape[-1] >= size[1]
    if smaller:  # no white may get lost between samples
        return F.adaptive_max_pool2d(mask, size)
    return F.interpolate(mask, size, mode="bilinear", align_corners=False)


def inside_cells(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cells of the finest ``grid`` that hold any white: [B, 1, H, W] -> [B, 1, h, w] bool."""
    return F.adaptive_max_pool2d(mask, grid) > LEAST


def drawn_tokens(inside: Tensor, grids: Sequence[tuple[int, int]], covered: float = COVERED
                 ) -> tuple[Tensor, ...]:
    """Tokens of every scale that are drawn: [B, h w] bool each. Scales of up to ``TONE`` tokens are
    the source's unless everything is inside, or what is drawn would not go with what is kept.

    Args:
        inside: [B, 1, h, w] bool of the last grid.
        covered: least share of a token's area that is inside; 0 = any of it.
    """
    cells = inside.float()
    found = []
    for grid in grids:
        share = cells if cells.shape[-2:] == torch.Size(grid) else _shares(cells, grid)
        if grid[0] * grid[1] <= TONE:
            whole = inside.flatten(1).all(1, keepdim=True)
            found.append(whole.expand(-1, grid[0] * grid[1]).clone())
            continue
        least = 0.0 if tuple(grid) == tuple(grids[-1]) else covered
        found.append((share >= max(least, ROUNDING) - ROUNDING / 2).flatten(1))
    return tuple(found)


def _shares(cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Exact share of each token's area that is inside, also where cells lie across its edge."""
    height, width = (_overlaps(n, m) for n, m in zip(cells.shape[-2:], grid, strict=True))
    return height @ cells @ width.T


def _overlaps(cells: int, tokens: int) -> Tensor:
    """[tokens, cells] share of each token's length that each cell covers."""
    edges = torch.arange(tokens + 1) * (cells / tokens)
    low = torch.maximum(edges[:-1, None], torch.arange(cells)[None].float())
    high = torch.minimum(edges[1:, None], torch.arange(1, cells + 1)[None].float())
    return (high - low).clamp_min(0) * (tokens / cells)


def near_region(inside: Tensor, grids: Sequence[tuple[int, int]], margin: int = MARGIN,
                whole_until: int | None = None) -> tuple[dict[int, Tensor], dict[int, int]]:
    """Where late scales need to work.

    Args:
        inside: [B, 1, h, w] bool of the last grid.
        margin: tokens around the region that are computed, too.
        whole_until: tokens of the shorter side up to which scales compute everything; None = half
            of the finest scale's.

    Returns:
        by scale, [B, h w] float32 distances in tokens from what must be computed, 0 there; and how
        many tokens that is, the most of any picture, rounded up on a ladder of counts. Scales of
        which nearly everything must be computed are absent.
    """
    if whole_until is None:
        whole_until = min(grids[-1]) // 2
    distances: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for scale, grid in enumerate(grids):
        if min(grid) <= whole_until:
            continue
        touched = _shares(inside.float(), grid) > ROUNDING / 2
        distance = (_distances(touched) - margin).clamp_min(0).flatten(1)
        count = rounded_up(int((distance == 0).sum(1).max()), grid[0] * grid[1])
        if count < grid[0] * grid[1]:
            distances[scale], counts[scale] = distance, count
    return distances, counts


def _distances(touched: Tensor) -> Tensor:
    """Steps of a king on a chessboard to the nearest touched token: [B, 1, h, w] float32."""
    known, found = touched.float(), torch.zeros(touched.shape)
    for _ in range(max(touched.shape[-2:])):
        found += 1 - known
        known = F.max_pool2d(known, 3, 1, 1)
    return found
