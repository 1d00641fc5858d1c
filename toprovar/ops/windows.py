"""Which keys a tile of queries sees: the geometry, on host numbers.

Queries are taken in square tiles of their grid. A tile sees the first scales whole and of every
later one, its own included, the tokens around the same place in the picture, so that all queries
of a tile see the same keys. sparse_attention/README.md has a worked example. Nothing here needs
torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TILE = 8
"""Tokens a side of a tile of queries; tiles at the right and the lower edge may be smaller."""

Grids = tuple[tuple[int, int], ...]
"""(h, w) of each scale whose keys there are, coarse to fine; the last one is the queries'."""
Span = tuple[int, int]
"""First row or column, and the one after the last."""


@dataclass(frozen=True)
class Window:
    """What is seen of the keys.

    Attributes:
        sinks: scales at the start that are seen whole.
        radius: tokens that a window reaches beyond the tile's own place, counted at the scale that
            is looked at.
    """

    sinks: int
    radius: int

    def __post_init__(self) -> None:
        if self.sinks < 0 or self.radius < 0:
            raise ValueError(f"a window needs sinks and radius of at least 0, got {self}")


class Region(NamedTuple):
    """Part of a scale that a tile sees.

    Attributes:
        start: the scale's first key among all keys.
        width: tokens in a row of the scale.
        rows, columns: seen of it.
    """

    start: int
    width: int
    rows: Span
    columns: Span


def tile_spans(length: int) -> tuple[Span, ...]:
    """The tiles along one side of ``length`` tokens."""
    return tuple((first, min(first + TILE, length)) for first in range(0, length, TILE))


def seen_span(tile: Span, queries: int, length: int, radius: int) -> Span:
    """What a tile sees along one side.

    Args:
        tile: its span among ``queries`` tokens of the queries' grid.
        length: tokens of the scale that is looked at.
    """
    first, last = tile
    return (max(0, first * length // queries - radius),
            min(length, -(-last * length // queries) + radius))


@lru_cache(maxsize=256)
def seen_spans(grids: Grids, window: Window, axis: int) -> tuple[tuple[Span, ...], ...]:
    """[scale][tile along the axis]: rows seen (``axis`` 0) or columns (1).

    Raises:
        ValueError: there is no grid, or one is not a pair of positive numbers.
    """
    if not grids or any(len(grid) != 2 or min(grid) < 1 for grid in grids):
        raise ValueError(f"grids must be (h, w) pairs of at least 1, at least one; got {grids}")
    queries = grids[-1][axis]
    tiles = tile_spans(queries)
    return tuple(
        tuple((0, grid[axis]) if scale < window.sinks
              else seen_span(tile, queries, grid[axis], window.radius) for tile in tiles)
        for scale, grid in enumerate(grids)
    )


def regions(grids: Grids, window: Window) -> Iterator[tuple[Region, ...]]:
    """What each tile sees, scale by scale; tiles in raster order."""
    rows, columns = (seen_spans(grids, window, axis) for axis in (0, 1))
    starts = np.cumsum([0, *(h * w for h, w in grids)]).tolist()
    for y in range(len(rows[0])):
        for x in range(len(columns[0])):
            yield tuple(Region(starts[s], w, rows[s][y], columns[s][x])
                        for s, (_, w) in enumerate(grids))


def visible_keys(grids: Grids, window: Window) -> NDArray[np.bool_]:
    """The definition: which keys each tile sees.

    Returns:
        [tiles, M] bool, tiles in raster order, M = sum h w.

    Raises:
        ValueError: see seen_spans.
    """
    keys = sum(h * w for h, w in grids)
    seen = [np.zeros(keys, dtype=bool) for _ in regions(grids, window)]
    for mask, parts in zip(seen, regions(grids, window), strict=True):
        for part, (h, w) in zip(parts, grids, strict=True):
            scale = mask[part.start : part.start + h * w].reshape(h, w)
            scale[slice(*part.rows), slice(*part.columns)] = True
    return np.stack(seen)


def tile_queries(grid: tuple[int, int]) -> list[NDArray[np.int64]]:
    """The tokens of each tile of a grid: one array a tile, raster order."""
    tokens = np.arange(grid[0] * grid[1], dtype=np.int64).reshape(grid)
    return [tokens[slice(*rows), slice(*columns)].ravel()
            for rows in tile_spans(grid[0]) for columns in tile_spans(grid[1])]


@lru_cache(maxsize=256)
def seen_share(grids: Grids, window: Window) -> float:
    """Keys that a query sees in the mean, over all keys: the share of dense attention's products.

    Rows and columns of a window do not depend on each other, so sums over tiles are products of
    sums over rows and columns of tiles.

    Raises:
        ValueError: see seen_spans.
    """
    by_axis = []
    for axis in (0, 1):
        spans = seen_spans(grids, window, axis)
        sizes = [last - first for first, last in tile_spans(grids[-1][axis])]
        by_axis.append([sum(size * (last - first)
                            for size, (first, last) in zip(sizes, scale, strict=True))
                        for scale in spans])
    pairs = sum(rows * columns for rows, columns in zip(*by_axis, strict=True))
    return pairs / (grids[-1][0] * grids[-1][1] * sum(h * w for h, w in grids))
