"""Attention to the text through torch's own attention, with a mask made on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention import attention


def text_attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float, out: Tensor
) -> None:
    """See reference.py; ``out`` is [R, N, H, D]."""
    real = (torch.arange(k.shape[2], device=k.device) < lengths[:, None])[:, None, :, None]
    # A weight of zero does not make up for what a buffer holds behind the text: 0 x NaN is NaN.
    k, v = k.masked_fill(~real, 0), v.masked_fill(~real, 0)
    found = attention(q.transpose(1, 2), k, v, scale, real.transpose(2, 3))
    out.copy_(found.transpose(1, 2))
