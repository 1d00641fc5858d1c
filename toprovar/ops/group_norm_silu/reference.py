"""GroupNorm and SiLU as they are defined, in float64."""

from __future__ import annotations

from torch import Tensor

from .norm import EPS


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float = EPS) -> Tensor:
    """[B, C, H, W] of any dtype -> [B, C, H, W] float64: each image's groups of C / groups
    channels have mean 0 and variance 1 before weight and bias, both [C]."""
    parts = x.double().unflatten(1, (groups, -1))
    mean = parts.mean((2, 3, 4), keepdim=True)
    variance = (parts - mean).square().mean((2, 3, 4), keepdim=True)
    y = ((parts - mean) / (variance + eps).sqrt()).flatten(1, 2)
    return y * weight.double()[:, None, None] + bias.double()[:, None, None]


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())
