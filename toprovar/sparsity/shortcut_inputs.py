"""What a linear shortcut predicts from: a token's surroundings, here and at the scale before.

Attention brings to a token what lies around it, so a map of one token's own numbers misses much. A
shortcut of ``n`` layers sees, all on the scale's grid,

    the scale's input and the input of the scale before, 3 x 3 tokens;
    the residual after n layers of the scale before: whole at the token itself, its first C / 5
    directions in 3 x 3 tokens, its first C / 20 in 7 x 7.

Directions of residuals are principal ones of dense runs. A scale's input is an affine function of
few numbers, its codes, so those stand for it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.config import TransformerConfig

NEAR, FAR = 3, 7
"""Sides of the windows, in tokens of the scale."""
FAR_SHARE = 4
"""Of the directions that are seen nearby, one in so many is seen far away."""

Grid = tuple[int, int]


class Sizes(NamedTuple):
    """How large a model's maps are.

    Attributes:
        width: of the residual; codes: numbers that a scale's input is made of; directions: of the
            residual, seen nearby; rank: of the maps.
    """

    width: int
    codes: int
    directions: int
    rank: int

    @staticmethod
    def of(shape: TransformerConfig) -> Sizes:
        width = shape.width
        return Sizes(width, min(shape.bits_per_token, width), max(1, round(width / 5)),
                     max(1, round(width * 3 / 10)))

    @property
    def far(self) -> int:
        """Directions that are seen far away."""
        return max(1, self.directions // FAR_SHARE)

    @property
    def inputs(self) -> int:
        """Numbers that a map predicts from."""
        return (2 * self.codes + self.directions) * NEAR**2 + self.far * FAR**2 + self.width

    @property
    def flops(self) -> int:
        """Of a token's prediction, a multiply-add counted as two."""
        looked_at = self.width * (2 * self.codes + self.directions)
        return 2 * (looked_at + self.rank * (self.inputs + self.width))


def shortcut_inputs(x: Tensor, before_input: Tensor, before: Tensor, grid: Grid,
                    codes: Tensor, directions: Tensor) -> Tensor:
    """All that the maps see.

    Args:
        x: [R, N, C] input of the scale, with the level embedding; before_input, before: [R, N, C]
            input, and residual after the layers left out, of the scale before, on ``grid``.
        codes: [C, d] from a scale's input to its codes, up to a constant; directions: [C, k] of the
            residual.

    Returns:
        [R, ``Sizes.inputs``, N] of x's dtype: tokens last, as windows come.
    """
    seen = before @ directions
    far = max(1, directions.shape[1] // FAR_SHARE)
    return torch.cat([
        surroundings(x @ codes, grid, NEAR), surroundings(before_input @ codes, grid, NEAR),
        before.transpose(1, 2), surroundings(seen, grid, NEAR),
        surroundings(seen[..., :far], grid, FAR),
    ], 1)


def surroundings(x: Tensor, grid: Grid, side: int) -> Tensor:
    """The tokens around each one, [R, N, k] -> [R, k side², N]; outside lie copies of the edge."""
    image = x.transpose(1, 2).unflatten(2, grid)
    return F.unfold(F.pad(image, (side // 2,) * 4, mode="replicate"), side)
