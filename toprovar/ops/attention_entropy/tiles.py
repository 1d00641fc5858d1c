"""Tile sizes of the Triton kernel: one table, no tuning at run time.

A table instead of an autotuner: a call never measures, so the first picture costs what the others
cost, results do not depend on what was measured, and every kernel that can run is compiled ahead
of time by benchmarks.compile_kernels. ``benchmarks.attention_entropy --tune`` measures candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

PARTS = {
    64: (64,), 80: (64, 16), 96: (64, 32), 104: (128,), 112: (128,), 120: (128,), 128: (128,),
    224: (128, 64, 32),
}
"""Head size -> widths of the products it is cut into. Triton's tiles are powers of two: 96 padded
to 128 would waste a quarter of the arithmetic."""

SMALL_SHARED = (86, 87, 89, 120)
"""Compute capabilities with 99 KiB of shared memory a block; 80 has 163, 90 and 100 have 227."""


class Tile(NamedTuple):
    """Queries and keys of a tile, and how it is run."""

    queries: int
    keys: int
    warps: int
    stages: int


def choose(head_size: int, dtype: torch.dtype, capability: int, few: bool, values: bool = True
           ) -> Tile:
    """The tile for a call.

    Args:
        capability: 80, 89, 90, ....
        few: whether large tiles would leave multiprocessors idle.
        values: False for statistics only.
    """
    wide = head_size > 128
    if dtype == torch.float32:  # no tensor cores: exact products live in registers
        return Tile(32, 32, 4, 2) if wide else Tile(64, 32, 8, 2)
    if capability in SMALL_SHARED:
        if wide:
            return Tile(64, 32, 4, 2)
        return Tile(64, 32, 4, 3) if few else Tile(128, 32, 8, 3)
    if capability < 90:
        if wide:
            return Tile(64, 32, 4, 2)
        return Tile(64, 64, 4, 3) if few else Tile(128, 64, 8, 3)
    if wide:
        return Tile(64, 64, 4, 2)
    return Tile(64, 64, 4, 3) if few else Tile(128, 128, 8, 2)
