"""Attention to the text as its definition, in float64, row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention.reference import attention


def text_attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v over the first ``lengths[r]`` keys of each row r.

    Args:
        q: [R, N, H, D]; k, v: [R, H, Lmax, D].
        lengths: [R].

    Returns:
        [R, N, H * D] of q's dtype.
    """
    rows = []
    for row, length in enumerate(lengths.tolist()):
        real_k, real_v = k[row, :, :length], v[row, :, :length]
        rows.append(attention(q[row].transpose(0, 1), real_k, real_v, scale).transpose(0, 1))
    return torch.stack(rows).flatten(-2)
