"""Numbers of 8 bits, e4m3: a sign, 4 bits of exponent, 3 of fraction; up to 448, no infinities."""

from __future__ import annotations

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
Factor = float | Tensor
"""What stored numbers are multiplied by: one for all heads, or [H] float32 on the device."""
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


def shaped(factor: Factor) -> Factor:
    """``factor`` as it multiplies [R, N, H, D]."""
    return factor[:, None] if isinstance(factor, Tensor) else factor


def check_factors(factors: tuple[Factor, Factor], heads: int, device: torch.device) -> None:
    """ValueError unless those of keys and of values fit. Values are not looked at."""
    by_head = [isinstance(f, Tensor) for f in factors]
    if by_head[0] != by_head[1]:
        raise ValueError("factors of a cache: expected two floats or two tensors, found "
                         f"{type(factors[0]).__name__} and {type(factors[1]).__name__}")
    for f in factors:
        if isinstance(f, Tensor):
            if (tuple(f.shape), f.dtype, f.device) != ((heads,), torch.float32, device) \
                    or not f.is_contiguous():
                raise ValueError(f"factors of a cache: expected [{heads}] float32 on {device}, "
                                 f"contiguous, found {list(f.shape)} {f.dtype} on {f.device}")
        elif not 0 < f < float("inf"):
            raise ValueError(f"factors of a cache: expected finite numbers above 0, got {f}")
