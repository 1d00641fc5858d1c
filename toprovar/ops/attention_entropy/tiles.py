"""Tile sizes of the Triton kernel: one table, no tuning at run time.

A table instead of an autotuner: a call never measures, so the first picture costs what the others
cost, results do not depend on what was measured, and every kernel that can run is compiled ahead
of time by benchmarks.compile_kernels. The entries are the largest tiles that do not spill
registers in the loop; shared memory allows more (99 KiB a block on 8.6, 8.9 and 12.0, 163 on 8.0,
227 on 9.0 and 10.0). ``benchmarks.attention_entropy --tune`` measures candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tile(NamedTuple):
    """Queries and keys of a tile, and how it is run.

    Attributes:
        walk: whether addresses move on with the loop instead of being worked out in every turn.
            Which of the two fits the registers is a matter of trying.
    """

    queries: int
    keys: int
    warps: int
    stages: int
    walk: bool = False


def small_products(capability: int) -> bool:
    """Whether matrix products take their operands from registers (all but Hopper and the large
    Blackwell)."""
    return capability < 90 or capability >= 120


def parts(head_size: int, dtype: torch.dtype, capability: int) -> tuple[int, int, int]:
    """The widths of the products that a head is cut into; 0 = none.

    Triton's tiles are powers of two. On tensor cores no piece is below 64, although 64 and 32 would
    waste less on a head of 96: Triton 3.6 miscompiles such products (on an H200, 64 with 32 read
    foreign memory and 64 with 16 gave wrong values). Where tensor cores take operands from
    registers, two halves need fewer than one whole.
    """
    if dtype == torch.float32:  # no tensor cores
        if head_size > 128:
            return 128, 64, 32
        return (64, head_size - 64, 0) if head_size <= 96 else (128, 0, 0)
    if head_size == 64:
        return 64, 0, 0
    if head_size > 128:
        return 128, 128, 0
    return (64, 64, 0) if head_size <= 96 or small_products(capability) else (128, 0, 0)


def choose(head_size: int, dtype: torch.dtype, capability: int, few: bool, dense: bool) -> Tile:
    """The tile for a call.

    Args:
        capability: 80, 89, 90, ....
        few: whether large tiles would leave multiprocessors idle.
        dense: whether keys follow each other without gaps; addresses then need few registers.
    """
    wide = head_size > 128
    if dtype == torch.float32:  # no tensor cores
        return Tile(32, 16, 4, 1) if wide else Tile(64, 32, 8, 1)
    if small_products(capability):
        if wide:
            return Tile(32, 32, 8, 2)
        return Tile(64, 32, 4, 2) if few and dense else Tile(128, 32, 8, 3)
    if wide:
        return Tile(128, 64, 8, 2) if dense and capability < 100 else Tile(64, 32, 4, 2)
    if few:
        return Tile(64, 64, 4, 3)
    if dense and capability < 100:
        return Tile(128, 128, 8, 3, walk=head_size > 96)
    return Tile(128, 64, 8, 3)
