"""Cross-attention to a short text, in its usual order: queries, attention, projection."""

from __future__ import annotations

from torch import Tensor

from ..attention.reference import attention


def cross_attention(
    y: Tensor, text_k: Tensor, text_v: Tensor, q_weight: Tensor, q_bias: Tensor,
    out_weight: Tensor, out_bias: Tensor,
) -> Tensor:
    """Output projection of softmax(q k^T / sqrt(D)) v.

    Args:
        y: [R, N, C] normalised tokens.
        text_k, text_v: [R, H, L, D].
        q_weight, out_weight: [C, C]; q_bias, out_bias: [C].
    """
    heads, size = text_k.shape[1], text_k.shape[3]
    q = (y @ q_weight.T + q_bias).unflatten(-1, (heads, size)).transpose(1, 2)
    out = attention(q, text_k, text_v, size**-0.5)
    return out.transpose(1, 2).flatten(-2) @ out_weight.T + out_bias
