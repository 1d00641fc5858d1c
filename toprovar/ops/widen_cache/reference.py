"""A cache of 8-bit numbers made wide again."""

from __future__ import annotations

import torch
from torch import Tensor

from ..fp8 import Factor


def widen_cache(k: Tensor, v: Tensor, factors: tuple[Factor, Factor]) -> Tensor:
    """Stored numbers times their factors.

    Args:
        k, v: [R, H, M, D] e4m3.
        factors: of keys and of values, numbers or [H].

    Returns:
        [2, R, H, M, D] float64.
    """
    wide = []
    for stored, factor in zip((k, v), factors, strict=True):
        heads = torch.as_tensor(factor, dtype=torch.float64).expand(stored.shape[1])
        wide.append(stored.double() * heads.view(1, -1, 1, 1))
    return torch.stack(wide)
