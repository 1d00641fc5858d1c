"""The arithmetic of mixtures: tokens become a few random mixtures of all of them, and come back.

With x_i the N tokens of a row, e_i ~ Exp(1) and g_ij ~ N(0, 1):

    places = the r tokens with the largest |x_i|^2 / e_i, in falling order
    mixture_j = sum_i g_ij x_i / sqrt(r)
    restored_i = mixture_j after the layers where i is the j-th place, else the residual that the
                 scale before had there after the same layers, resized

The places are so drawn without replacement with probability proportional to |x_i|^2 (the race of
exponentials behind ``torch.multinomial``). Mixtures have nothing to do with the places that they
are written to. Source: arXiv 2512.16483 and its authors' code, read and described in words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.resize_tokens import resize_tokens

Grid = tuple[int, int]


def draw_places(x: Tensor, exponential: Tensor, count: int) -> Tensor:
    """Draw the tokens whose places the mixtures will take.

    Args:
        x: [R, N, C] residual of any float dtype.
        exponential: [R, N] float32 Exp(1) draws.
        count: how many, 1 to N.

    Returns:
        [R, count] int64 in the order of drawing.
    """
    energy = x.float().square().sum(-1)
    return (energy / exponential).topk(count, dim=1).indices


def mix(x: Tensor, normal: Tensor) -> Tensor:
    """Mix all tokens, in float32.

    Args:
        x: [R, N, C] residual of any float dtype.
        normal: [R, N, r] float32 N(0, 1) draws.

    Returns:
        [R, r, C] of x's dtype, contiguous.
    """
    weights = normal.transpose(1, 2) * normal.shape[2] ** -0.5
    return torch.bmm(weights, x.float()).to(x.dtype)


def restore(known: Tensor, grid: Grid, new_grid: Grid, places: Tensor, mixtures: Tensor) -> Tensor:
    """The residual of all tokens after a group of layers.

    Args:
        known: [R, h w, C] residual that an earlier scale of ``grid`` had there.
        new_grid: (h2, w2) of this scale.
        places: [R, r] int64, see ``draw_places``.
        mixtures: [R, r, C] after the layers; row j goes to place j.

    Returns:
        [R, h2 w2, C] of the mixtures' dtype, in memory of its own.
    """
    resized = resize_tokens(known, grid, new_grid, "area").to(mixtures.dtype)
    return resized.scatter(1, places[..., None].expand_as(mixtures), mixtures)
