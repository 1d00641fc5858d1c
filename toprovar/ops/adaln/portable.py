"""Adaptive layer norm and gated residual in plain torch, without temporaries where it can be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fp8 import quantize
from ..token_index import put_tokens_, take_tokens
from .reference import EPS


def modulated_norm(
    x: Tensor, gain: Tensor, shift: Tensor, dtype: torch.dtype, index: Tensor | None = None
) -> Tensor:
    if index is not None:
        x = take_tokens(x, index)
    if gain.ndim == 1:
        return F.layer_norm(x.float(), x.shape[-1:], gain, shift, EPS).to(dtype)
    if x.shape[0] == 1 and x.dtype == torch.float32:
        # For a single row both ride in the layer norm's own affine step.
        return F.layer_norm(x, x.shape[-1:], gain[0], shift[0], EPS).to(dtype)
    y = F.layer_norm(x.float(), x.shape[-1:], None, None, EPS)
    return y.mul_(gain[:, None]).add_(shift[:, None]).to(dtype)


def gated_add_(
    x: Tensor, update: Tensor, gate: Tensor | None, index: Tensor | None = None
) -> Tensor:
    if index is not None:
        return put_tokens_(x, index, gated_add_(take_tokens(x, index), update, gate))
    if gate is None:
        return x.add_(update)
    return x.addcmul_(update.to(x.dtype), gate[:, None].to(x.dtype))


def gated_add_norm(
    x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
    dtype: torch.dtype, index: Tensor | None = None,
) -> Tensor:
    if index is None:
        return modulated_norm(gated_add_(x, update, gate), gain, shift, dtype)
    part = gated_add_(take_tokens(x, index), update, gate)
    put_tokens_(x, index, part)
    return modulated_norm(part, gain, shift, dtype)


def modulated_norm_fp8(
    x: Tensor, gain: Tensor, shift: Tensor, index: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return quantize(modulated_norm(x, gain, shift, torch.float32, index))


def gated_add_norm_fp8(
    x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
    index: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    return quantize(gated_add_norm(x, update, gate, gain, shift, torch.float32, index))
