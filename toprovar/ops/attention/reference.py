"""Attention as its definition, in float64."""

from __future__ import annotations

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
