"""Adaptive layer norm and gated residual (AdaLN), without temporaries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import EPS


def modulated_norm(x: Tensor, gain: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """LayerNorm(x) * gain + shift, computed in float32 and handed on as ``dtype``.

    ``gain`` is 1 + scale, added once a run. For a single row both ride in the layer norm's own
    affine step, so the tokens are read and written once.

    Args:
        x: [R, N, C].
        gain, shift: [R, C] float32.

    Returns:
        [R, N, C] of ``dtype``.
    """
    if x.shape[0] == 1 and x.dtype == torch.float32:
        return F.layer_norm(x, x.shape[-1:], gain[0], shift[0], EPS).to(dtype)
    y = F.layer_norm(x.float(), x.shape[-1:], None, None, EPS)
    return y.mul_(gain[:, None]).add_(shift[:, None]).to(dtype)


def gated_add_(x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:
    """x += gate * update in place; ``x`` [R, N, C], ``update`` alike, ``gate`` [R, C] or None."""
    if gate is None:
        return x.add_(update)
    return x.addcmul_(update.to(x.dtype), gate[:, None].to(x.dtype))
