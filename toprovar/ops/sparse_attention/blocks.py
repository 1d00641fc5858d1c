"""The windows as lists: of key blocks for the kernel, of tokens for gathering.

A window's keys are numbered row by row and cut into blocks of 64, whatever its width, so that only
the last one has room to spare. Keys that follow each other in memory (whole scales, also one after
the other, and windows as wide as their grid) are one run.
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

from ..windows import TILE, Grids, Region, Window, regions, tile_queries, visible_keys

BLOCK = 64
"""Most keys of a block."""
SHIFT = 16
WIDEST = 128
"""Columns of a window that are numbered together: n // columns is n * inverse >> SHIFT for every n
below columns + BLOCK as long as columns * (columns + BLOCK) <= 2^SHIFT."""


class Block(NamedTuple):
    """Key i of it is first + i + gap * ((offset + i) // columns), for i below ``keys``.

    Attributes:
        gap: keys from the end of a window's row to the start of the next one.
        offset: place of the first key in its row.
        inverse: 2^SHIFT / columns, rounded up, or to the next number if that is whole.
    """

    first: int
    keys: int
    gap: int
    offset: int
    inverse: int


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
        table: [tiles, most, 5] int32, the key blocks of each tile, numbers as in Block.
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
    def mask(self) -> Tensor:
        """[N, M] bool, which keys each query sees, for the torch path; made at the first use."""
        seen = visible_keys(self.grids, self.window)
        mask = np.empty((self.queries, self.keys), dtype=bool)
        for queries, keys in zip(tile_queries(self.grids[-1]), seen, strict=True):
            mask[queries] = keys
        return torch.from_numpy(mask).to(self.table.device)

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
    return blocks * BLOCK * TILE * TILE / (h * w * sum(h * w for h, w in grids))


@lru_cache(maxsize=64)
def _table(grids: Grids, window: Window) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    lists = key_blocks(grids, window)
    counts = np.array([len(blocks) for blocks in lists], dtype=np.int32)
    table = np.zeros((len(lists), counts.max(), len(Block._fields)), dtype=np.int32)
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
                yield from _cut_run(*run)
                run = (first, first)
            run = (run[0], run[1] + (bottom - top) * (right - left))
        else:
            yield from _cut_window(part)
    yield from _cut_run(*run)


def _cut_run(first: int, last: int) -> Iterator[Block]:
    for start in range(first, last, BLOCK):
        yield Block(start, min(BLOCK, last - start), 0, 0, 0)


def _cut_window(part: Region) -> Iterator[Block]:
    (top, bottom), (left, right) = part.rows, part.columns
    for start in range(left, right, WIDEST):
        columns = min(WIDEST, right - start)
        keys = (bottom - top) * columns
        for n in range(0, keys, BLOCK):
            row, offset = divmod(n, columns)
            yield Block(part.start + (top + row) * part.width + start + offset,
                        min(BLOCK, keys - n), part.width - columns, offset,
                        (1 << SHIFT) // columns + 1)
