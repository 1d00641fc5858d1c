"""The random numbers of mixtures, from a stream of their own.

The method's authors draw from the device's unseeded generator. Here the numbers follow from the
picture's seed, but do not touch the generator that draws its bits: these are those of a run without
mixtures. They are drawn on the CPU, so that every device works with the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import torch
from torch import Tensor

from ..ops.bit_sampling import Generators


class Draws(Protocol):
    """Where the random numbers of mixing come from."""

    def __call__(self, scale: int, group: int, rows: range, tokens: int, count: int
                 ) -> tuple[Tensor, Tensor]:
        """Draws for one group of layers.

        Args:
            rows: numbers of the batch rows that are run: conditional ones first, then
                unconditional ones.
            tokens: N of the scale; count: r mixtures.

        Returns:
            Exp(1) draws [R, N] and N(0, 1) draws [R, N, r], float32 on the CPU.
        """
        ...


class SeededDraws:
    """Draws that depend on a picture's seed, the row's kind, scale and group, and nothing else.

    Args:
        generators: of the pictures' bits, of which only the seeds are read: one for each picture,
            one for all in turn, or None = torch's own.
        batch: pictures.
        pinned: draw into memory that a GPU copies from without making the host wait.
    """

    def __init__(self, generators: Generators, batch: int, pinned: bool = False) -> None:
        self.pinned = pinned
        if isinstance(generators, Sequence):
            self.seeds = [(g.initial_seed(), 0) for g in generators]
        else:
            seed = torch.initial_seed() if generators is None else generators.initial_seed()
            self.seeds = [(seed, image) for image in range(batch)]

    def __call__(self, scale: int, group: int, rows: range, tokens: int, count: int
                 ) -> tuple[Tensor, Tensor]:
        """See ``Draws``."""
        exponential, normal = (torch.empty(*size, pin_memory=self.pinned) for size in (
            (len(rows), tokens), (len(rows), tokens, count)))
        for i, row in enumerate(rows):
            kind, image = divmod(row, len(self.seeds))
            name = f"mixtures {self.seeds[image]} {kind} {scale} {group}"
            key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
            generator = torch.Generator().manual_seed(key >> 1)
            exponential[i].exponential_(generator=generator)
            normal[i].normal_(generator=generator)
        return exponential, normal
