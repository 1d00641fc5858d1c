"""The windows as lists: of key blocks for the kernel, of tokens for gathering.

A block is up to 8 x 8 keys: key i is base + (i // 8) * stride + i % 8, there if i // 8 < rows and
i % 8 < columns. Keys that follow each other in memory (whole scales, also one after the other, and
windows as wide as their grid) are cut into flat blocks of 64, other windows into squares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .windows import Grids, Region, Window, regions, tile_queries, visible_keys

SIDE = 8
"""Keys a side of a block."""
FULL = SIDE * SIDE
SHAPES = {rows * columns: (rows, columns)
          for rows in range(1, SIDE + 1) for columns in range(1, SIDE + 1)}
"""A block's rows and columns for each number of keys that one block can have."""


class Block(NamedTuple):
    base: int
    stride: int
    rows: int
    columns: int


class Group(NamedTuple):
    """Tiles with as many queries and as many keys.

    Attributes:
        queries: [tiles, n] int64; keys: [tiles, m] int64.
    """

    queries: Tensor
    keys: Tensor


@dataclass(frozen=True, eq=False)
class WindowBlocks:
    """What an implementation needs to know of a window, on one device; see window_blocks.

    Attributes:
        table: [tiles, most, 4] int32, the key blocks of each tile: base, stride, rows, columns.
        counts: [tiles] int32, how many of them there are.
    """

    grids: Grids
    window: Window
    table: Tensor
    counts: Tensor

    @property
    def queries(self) -> int:
        return self.grids[-1][0] * self.grids[-1][1]

    @cached_property
    def keys(self) -> int:
        return sum(h * w for h, w in self.grids)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All tiles, for the torch path; made at the first use."""
        alike: dict[tuple[int, int], list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
        seen = visible_keys(self.grids, self.window)
        for queries, mask in zip(tile_queries(self.grids[-1]), seen, strict=True):
            keys = mask.nonzero()[0].astype(np.int64)
            alike.setdefault((len(queries), len(keys)), []).append((queries, keys))
        return tuple(
            Group(*(torch.from_numpy(np.stack(lists)).to(self.table.device)
                    for lists in zip(*tiles, strict=True)))
            for tiles in alike.values())


def window_blocks(grids: Grids, window: Window, device: torch.device | str) -> WindowBlocks:
    """The window's tensors on ``device``; keep them, a call reads them only.

    Args:
        grids: (h, w) of each scale of the keys, the last one that of the queries too.

    Raises:
        ValueError: there is no grid, or one is not a pair of positive numbers.
    """
    table, counts = _table(grids, window)
    return WindowBlocks(grids, window, torch.from_numpy(table.copy()).to(device),
                        torch.from_numpy(counts.copy()).to(device))


@lru_cache(maxsize=64)
def key_blocks(grids: Grids, window: Window) -> tuple[tuple[Block, ...], ...]:
    """The key blocks of each tile: every key that it sees is in one of them, once."""
    return tuple(tuple(_blocks_of(parts)) for parts in regions(grids, window))


def padded_share(grids: Grids, window: Window) -> float:
    """Like seen_share, with blocks and tiles counted as full: the kernel's share of the work."""
    blocks = sum(map(len, key_blocks(grids, window)))
    h, w = grids[-1]
    return blocks * FULL * FULL / (h * w * sum(h * w for h, w in grids))


@lru_cache(maxsize=64)
def _table(grids: Grids, window: Window) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    lists = key_blocks(grids, window)
    counts = np.array([len(blocks) for blocks in lists], dtype=np.int32)
    table = np.zeros((len(lists), counts.max(), 4), dtype=np.int32)
    for row, blocks in zip(table, lists, strict=True):
        row[: len(blocks)] = blocks
    return table, counts


def _blocks_of(parts: tuple[Region, ...]) -> Iterator[Block]:
    run = (0, 0)  # keys in a row that are not cut yet
    for part in parts:
        (top, bottom), (left, right) = part.rows, part.columns
        first = part.start + top * part.width + left
        if right - left == part.width or bottom - top == 1:
            if first != run[1]:
                yield from _flat(*run)
                run = (first, first)
            run = (run[0], run[1] + (bottom - top) * (right - left))
        else:
            yield from _squares(part)
    yield from _flat(*run)


def _flat(first: int, last: int) -> Iterator[Block]:
    """Keys that follow each other: full blocks, and one or two for the rest."""
    while last - first >= FULL:
        yield Block(first, SIDE, SIDE, SIDE)
        first += FULL
    rest = last - first
    if rest in SHAPES:
        rows, columns = SHAPES[rest]
        yield Block(first, columns, rows, columns)
    elif rest:
        rows, columns = divmod(rest, SIDE)
        yield Block(first, SIDE, rows, SIDE)
        yield Block(first + rows * SIDE, SIDE, 1, columns)


def _squares(part: Region) -> Iterator[Block]:
    (top, bottom), (left, right) = part.rows, part.columns
    for y in range(top, bottom, SIDE):
        for x in range(left, right, SIDE):
            yield Block(part.start + y * part.width + x, part.width,
                        min(SIDE, bottom - y), min(SIDE, right - x))
