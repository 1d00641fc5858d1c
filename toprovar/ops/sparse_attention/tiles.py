"""How a tile of queries and a block of keys are cut up for the Triton kernel: one table, no tuning
at run time, for the reasons that attention_entropy.tiles has.

Windows are made of 64 queries and 64 keys; a program may take half of either where registers or
shared memory are short. Where a block lies is read within the loop: of the stages one reads the
list, so three hold no more keys than two.
"""

from __future__ import annotations

import torch

from ..attention_entropy.tiles import Tile, small_products


def choose(head_size: int, dtype: torch.dtype, capability: int) -> Tile:
    """The cut for a call.

    Args:
        capability: 80, 89, 90, ....
    """
    wide = head_size > 128
    if dtype == torch.float32:  # no tensor cores
        if head_size <= 64:
            return Tile(64, 32, 8, 1)
        return Tile(32, 16, 4, 1) if wide else Tile(32, 32, 4, 1)
    if small_products(capability):
        return Tile(64, 32, 8, 2) if wide else Tile(64, 32, 4, 2)
    if wide:
        return Tile(64, 32, 4, 2)
    return Tile(64, 64, 4, 3 if capability < 100 else 2)
