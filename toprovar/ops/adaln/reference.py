"""Adaptive layer norm and gated residual, as written in the papers."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-6


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm(x) * (1 + scale) + shift in float32.

    Args:
        x: [R, N, C] tokens of R rows.
        scale, shift: [R, C] of each row.
    """
    x = x.float()
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + EPS)
    return y * (1 + scale[:, None]) + shift[:, None]


def gated_add(x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:
    """x + gate * update, gate [R, C] or None for 1."""
    return x + (update if gate is None else gate[:, None] * update)
