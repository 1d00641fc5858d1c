"""Upsampling by two and a 3 x 3 convolution, as one 2 x 2 convolution of the small picture.

Along an axis the doubled picture holds every pixel twice, so of the three taps (a, b, c) around an
even place 2y two meet the same pixel: a x[y-1] + (b+c) x[y]; around the odd place 2y + 1 it is
(a+b) x[y] + c x[y+1]. Both are a window of two pixels, the second one further on. A 2 x 2
convolution that gives all four combinations as channels, with a border of one zero pixel, has them
at (h + 1) x (w + 1) windows: 4/9 of the operations, and no doubled picture is written.
"""

from __future__ import annotations

import torch
from torch import Tensor


def phase_weight(weight: Tensor) -> Tensor:
    """[F, C, 3, 3] -> [4 F, C, 2, 2] float32, rows even and odd, in them columns even and odd.

    ``conv2d(x, phase_weight(w), padding=1)`` followed by ``join_phases`` is
    ``conv2d(nearest 2 x of x, w, padding=1)``.
    """
    if weight.ndim != 4 or weight.shape[2:] != (3, 3):
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected [F, C, 3, 3]")
    first, middle, last = weight.float().unbind(2)
    rows = (torch.stack([first, middle + last], 2), torch.stack([first + middle, last], 2))
    found = []
    for row in rows:  # [F, C, 2, 3]
        a, b, c = row.unbind(3)
        found += [torch.stack([a, b + c], 3), torch.stack([a + b, c], 3)]
    return torch.cat(found)


def join_phases(x: Tensor) -> Tensor:
    """[B, 4 C, h + 1, w + 1] -> [B, C, 2 h, 2 w], channels last."""
    channels, height, width = x.shape[1] // 4, x.shape[2] - 1, x.shape[3] - 1
    out = torch.empty(x.shape[0], channels, 2 * height, 2 * width, dtype=x.dtype, device=x.device,
                      memory_format=torch.channels_last)
    for number, phase in enumerate(x.split(channels, 1)):
        row, column = divmod(number, 2)
        out[:, :, row::2, column::2] = \
            phase[:, :, row : row + height, column : column + width]
    return out
