"""How a picture is cut for the programs. It follows from shapes alone, so results do on any GPU."""

from __future__ import annotations

from typing import NamedTuple

TO_SUM, TO_APPLY = 2048, 4096
"""Elements of a tile; the first pass takes two at a time."""
CHUNKS = 512
"""Programs of the first pass at most: four on each of an H100's 132 multiprocessors all run at
once, and few partial sums are left."""
LEAST = 4
"""Tiles that a program takes where there are enough, so that few partial sums are left, and scale
and shift are loaded seldom. Even, as every share."""
WARPS = 4


class Tiles(NamedTuple):
    """The cut of one image.

    Attributes:
        block: channels, rounded up to a power of two.
        pixels: of a tile.
        of_chunk: tiles of a program; chunks: programs.
        warps: of a program.
    """

    block: int
    pixels: int
    of_chunk: int
    chunks: int
    warps: int

    @classmethod
    def to_sum(cls, channels: int, pixels: int) -> Tiles:
        return cls._cut(channels, pixels, TO_SUM, CHUNKS)

    @classmethod
    def to_apply(cls, channels: int, pixels: int) -> Tiles:
        return cls._cut(channels, pixels, TO_APPLY, pixels)

    @classmethod
    def _cut(cls, channels: int, pixels: int, elements: int, most: int) -> Tiles:
        block = 1 << (channels - 1).bit_length()
        tile = max(2, elements // block)
        tiles = -(-pixels // tile)
        of_chunk = max(LEAST, -(-tiles // most))
        of_chunk += of_chunk % 2
        return cls(block, tile, of_chunk, -(-tiles // of_chunk), WARPS)


def finish_block(size: int) -> tuple[int, int]:
    """Chunks and channels that a step of the joining kernel takes, of groups of ``size``."""
    block = max(2, 1 << (size - 1).bit_length())
    return min(512, max(2, 4096 // block)), block
