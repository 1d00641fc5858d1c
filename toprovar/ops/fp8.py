"""Numbers of 8 bits, e4m3: a sign, 4 bits of exponent, 3 of fraction; up to 448, no infinities."""

from __future__ import annotations

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
LEAST_PEAK = 1e-20
"""What the largest value of a row counts as at least, so that rows of zeros have a scale."""


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Every row of channels as e4m3 and one float32 factor, in plain torch.

    Args:
        x: [..., C], any float dtype.

    Returns:
        [..., C] e4m3 and [..., 1] float32, whose product is about ``x``.
    """
    x = x.float()
    peak = x.abs().amax(-1, keepdim=True).clamp_min_(LEAST_PEAK)
    return (x * (LARGEST / peak)).to(E4M3), peak / LARGEST
