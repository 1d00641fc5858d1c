"""Attention and its entropy as their definitions, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """softmax(scale q k^T) v.

    Args:
        q: [R, H, N, D]; k, v: [R, H, M, D].
        mask: bool, broadcastable to [R, H, N, M]; False hides a key.
    """
    scores = scale * (q.double() @ k.double().transpose(-2, -1))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v.double()).to(q.dtype)


def entropy(q: Tensor, k: Tensor, scale: float, piece: int = 512) -> Tensor:
    """-sum_j p_j log p_j (natural log) of each query's softmax row: [R, H, N] float64.

    Args:
        piece: queries at once, to bound the N x M matrix.
    """
    rows = []
    for part in q.split(piece, dim=-2):
        log_p = (scale * (part.double() @ k.double().transpose(-2, -1))).log_softmax(-1)
        rows.append(-(log_p.exp() * log_p).sum(-1))
    return torch.cat(rows, dim=-1)
