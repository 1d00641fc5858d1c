"""The same in plain torch, for any device and layout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .norm import Affine, Norm
from .phases import join_phases


def norm_affine(x: Tensor, norm: Norm, offset: Tensor | None = None) -> Affine:
    wide = x.float()
    if offset is not None:
        wide = wide + offset[:, None, None]
    parts = wide.unflatten(1, (norm.groups, -1))
    variance, mean = torch.var_mean(parts, (2, 3, 4), correction=0)  # [B, groups]
    size = norm.channels // norm.groups
    scale = torch.rsqrt(variance + norm.eps).repeat_interleave(size, 1) * norm.weight
    mean = mean.repeat_interleave(size, 1)
    return Affine(scale, norm.bias + (-mean if offset is None else offset - mean) * scale)


def sum_affine_(
    x: Tensor, residual: Tensor | None, offset: Tensor | None, norm: Norm, phases: bool = False
) -> tuple[Tensor, Affine]:
    total = _add_(join_phases(x) if phases else x, residual, offset)
    return total, norm_affine(total, norm)


def sum_channels_(x: Tensor, residual: Tensor, offset: Tensor) -> Tensor:
    return _add_(x, residual, offset)


def affine_silu(x: Tensor, affine: Affine, in_place: bool = False) -> Tensor:
    scale, shift = (vector[:, :, None, None] for vector in affine)
    y = F.silu(torch.addcmul(shift, x.float(), scale))
    return x.copy_(y) if in_place else y.to(x.dtype)


def _add_(x: Tensor, residual: Tensor | None, offset: Tensor | None) -> Tensor:
    """Summed in float32 and rounded once."""
    if residual is None and offset is None:
        return x
    total = x.float()
    if residual is not None:
        total = total + residual
    if offset is not None:
        total = total + offset[:, None, None]
    return x.copy_(total)
