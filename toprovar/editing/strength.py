"""Strength: how much of a picture is drawn anew, from the finest scale towards the coarsest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..arguments import share

APART = 0x5EED
"""Added to a picture's seed for the choice of tokens, whose bits' draws must stay what they are."""


class FirstDrawn(NamedTuple):
    """Where drawing begins.

    Attributes:
        scale: the first scale of which all tokens are drawn.
        part: share of the tokens of the scale before that are drawn, 0 to 1.
    """

    scale: int
    part: float


def first_drawn(strength: float, scales: int) -> FirstDrawn:
    """A strength from 0 (nothing is drawn) to 1 (everything is), as diffusers counts steps: so
    great a share of the scales, the finest first. What is left over is a share of the tokens of
    one more scale.

    Raises:
        ValueError: the strength is not between 0 and 1.
    """
    drawn = share("strength", strength) * scales
    whole = int(drawn + 1e-9)
    part = max(0.0, drawn - whole)
    return FirstDrawn(scales - whole, 0.0 if part < 1e-6 or whole == scales else part)


def drawn_by_strength(strength: float, grids: Sequence[tuple[int, int]], seeds: Sequence[int]
                      ) -> tuple[Tensor, ...]:
    """Tokens of every scale that are drawn at a strength: [B, h w] bool each.

    Args:
        seeds: of the pictures, which choose the tokens of the scale between.
    """
    scale, part = first_drawn(strength, len(grids))
    found = []
    for s, (height, width) in enumerate(grids):
        tokens = height * width
        drawn = torch.full((len(seeds), tokens), s >= scale)
        if s == scale - 1 and part:
            count = round(part * tokens)
            for row, seed in zip(drawn, seeds, strict=True):
                generator = torch.Generator().manual_seed((seed + APART) % 2**63)
                row[torch.randperm(tokens, generator=generator)[:count]] = True
        found.append(drawn)
    return tuple(found)
