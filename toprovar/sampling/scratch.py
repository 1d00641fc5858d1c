"""How much memory the intermediate results of a scale take."""

from __future__ import annotations

import torch

from ..models.config import TransformerConfig

BLOCK = 22
"""Bytes that a block holds at once of each token and channel: the residual in float32, and nine
activations of two bytes (``FusedRunner``: the normalised input, queries, keys and values, turned
queries, the attention's result twice, and what attention needs itself; or two inputs, the hidden
layer, which is four wide, and two updates)."""
HEAD = 8
"""And the head: the residual and its norm, both in float32."""

LIBRARIES = 64 << 20
"""Bytes of a recording that cuBLAS takes as its workspace."""
PIECES = 1.36
"""How much more than a scale's intermediate results hold at once a recording must have. They are of
unequal sizes and share one piece of memory: room for the largest, which is a hidden layer, is not
always left in one. Measured for Infinity-2B at 1024 px, one and four images."""


def scale_bytes(shape: TransformerConfig, dtype: torch.dtype, rows: int, tokens: int,
                widened_keys: int = 0) -> int:
    """Most bytes of a scale's intermediate results at once.

    Args:
        dtype: of the blocks.
        rows: batch rows; tokens: of the scale.
        widened_keys: keys of a row that are kept in 8 bits and made wide for attention; 0 = none.
    """
    block = BLOCK if dtype.itemsize == 2 else 2 * BLOCK
    logits = 4 * 4 * 2 * shape.bits_per_token  # as they are, scaled, guided and as chances
    token = max(block * shape.width, HEAD * shape.width + logits)
    return rows * (tokens * token + widened_keys * 2 * shape.width * dtype.itemsize)


def recorded_bytes(scale: int) -> int:
    """What the recordings of a run take as scratch, given the bytes of its largest scale."""
    return LIBRARIES + int(PIECES * scale)
