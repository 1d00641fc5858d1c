"""What a linear shortcut predicts from: a token's surroundings, here and at the scale before.

Attention brings to a token what lies around it, so a map of one token's own numbers misses much. A
shortcut of ``n`` layers sees, all on the scale's grid,

    the scale's input and the input of the scale before, 3 x 3 tokens;
    the residual after n layers of the scale before: whole at the token itself, its first C / 5
    directions in 3 x 3 tokens, its first C / 20 in 7 x 7.

Directions of residuals are principal ones of dense runs. A scale's input is an affine function of
few numbers, its codes, so those stand for it. Maps grow with the square of the width, what there is
to predict does not: of wide models' residuals fewer directions are seen (``NEAR_MOST``), at the
token itself too (``OWN_MOST``), and the maps' rank ends at ``RANK_MOST``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.config import TransformerConfig

NEAR, FAR = 3, 7
"""Sides of the windows, in tokens of the scale."""
NEAR_SHARE, NEAR_MOST = 1 / 5, 128
"""Directions of the residual that are seen nearby: a share of the width, and at most so many."""
FAR_SHARE = 4
"""Of the directions that are seen nearby, one in so many is seen far away."""
OWN_MOST = 512
"""Directions of the residual that are seen at the token itself where the width is more; where it is
not, the residual is seen as it is."""
RANK_SHARE, RANK_MOST = 3 / 10, 256
"""Rank of the maps: a share of the width, and at most so much."""

Grid = tuple[int, int]


class Sizes(NamedTuple):
    """How large a model's maps are.

    Attributes:
        width: of the residual, C; codes: numbers that a scale's input is made of; near: directions
            of the residual that are seen nearby; rank: of the maps; own: numbers of the residual
            that are seen at the token itself: C = the residual as it is, fewer = so many of its
            first directions.
    """

    width: int
    codes: int
    near: int
    rank: int
    own: int

    @staticmethod
    def of(shape: TransformerConfig) -> Sizes:
        """Of maps that are fitted to a model."""
        width = shape.width
        return Sizes(width, min(shape.bits_per_token, width), _near(width),
                     min(max(1, round(width * RANK_SHARE)), RANK_MOST), min(width, OWN_MOST))

    @staticmethod
    def seen(width: int, codes: int, directions: int, rank: int) -> Sizes:
        """Of maps that there are, by how many ``directions`` of the residual are kept for them:
        ``OWN_MOST`` of a wider residual are all that is seen of it, any other number is what is
        seen of it nearby."""
        if directions == OWN_MOST < width:
            return Sizes(width, codes, _near(width), rank, OWN_MOST)
        return Sizes(width, codes, directions, rank, width)

    @property
    def directions(self) -> int:
        """Of the residual, that are kept: windows see the first of them."""
        return max(self.own, self.near) if self.own < self.width else self.near

    @property
    def far(self) -> int:
        """Directions that are seen far away."""
        return max(1, self.near // FAR_SHARE)

    @property
    def inputs(self) -> int:
        """Numbers that a map predicts from."""
        return (2 * self.codes + self.near) * NEAR**2 + self.far * FAR**2 + self.own

    @property
    def flops(self) -> int:
        """Of a token's prediction, a multiply-add counted as two."""
        looked_at = self.width * (2 * self.codes + self.directions)
        return 2 * (looked_at + self.rank * (self.inputs + self.width))


def _near(width: int) -> int:
    return min(max(1, round(width * NEAR_SHARE)), NEAR_MOST)


def shortcut_inputs(x: Tensor, before_input: Tensor, before: Tensor, grid: Grid,
                    codes: Tensor, directions: Tensor) -> Tensor:
    """All that the maps see.

    Args:
        x: [R, N, C] input of the scale, with the level embedding; before_input, before: [R, N, C]
            input, and residual after the layers left out, of the scale before, on ``grid``.
        codes: [C, d] from a scale's input to its codes, up to a constant; directions: [C, k] of the
            residual, as many as ``Sizes.directions``.

    Returns:
        [R, ``Sizes.inputs``, N] of x's dtype: tokens last, as windows come.
    """
    sizes = Sizes.seen(before.shape[-1], codes.shape[1], directions.shape[1], rank=1)
    seen = before @ directions
    own = before if sizes.own == sizes.width else seen[..., : sizes.own]
    return torch.cat([
        surroundings(x @ codes, grid, NEAR), surroundings(before_input @ codes, grid, NEAR),
        own.transpose(1, 2), surroundings(seen[..., : sizes.near], grid, NEAR),
        surroundings(seen[..., : sizes.far], grid, FAR),
    ], 1)


def surroundings(x: Tensor, grid: Grid, side: int) -> Tensor:
    """The tokens around each one, [R, N, k] -> [R, k side², N]; outside lie copies of the edge."""
    image = x.transpose(1, 2).unflatten(2, grid)
    return F.unfold(F.pad(image, (side // 2,) * 4, mode="replicate"), side)
