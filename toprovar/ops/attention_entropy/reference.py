"""Attention with its entropy as the definitions, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention.reference import attention, entropy


def attend(
    q: Tensor, k: Tensor, v: Tensor | None, scale: float, out: Tensor | None, found: Tensor,
    heads: tuple[int, ...] | None, mean: bool,
) -> None:
    """Fill ``out`` with softmax(scale q k^T) v and ``found`` with the rows' entropies.

    Args:
        q: [B, H, N, D]; k, v: [B, H, M, D].
        out: [B, H, N, D], or None for the entropy alone.
        found: [B, len(heads), N] float32, or [B, N] for the mean over ``heads``.
        heads: those whose entropy is wanted; None = all.
    """
    if v is not None and out is not None:
        parts = [attention(part, k, v, scale) for part in q.split(512, dim=-2)]
        out.copy_(torch.cat(parts, dim=-2))
    chosen = slice(None) if heads is None else list(heads)
    per_head = entropy(q[:, chosen], k[:, chosen], scale).clamp_min(0)
    found.copy_(per_head.mean(1) if mean else per_head)


def merge(
    lse_a: Tensor, entropy_a: Tensor, lse_b: Tensor, entropy_b: Tensor
) -> tuple[Tensor, Tensor]:
    """Entropy of a softmax row from those of two parts of its keys.

    With w the share of the first part, H = w H_a + (1 - w) H_b + h(w), h the entropy of the split.

    Returns:
        Log-sum-exp and entropy of the whole.
    """
    lse = torch.logaddexp(lse_a, lse_b)
    w = torch.stack([(lse_a - lse).exp(), (lse_b - lse).exp()])
    parts = torch.stack([entropy_a, entropy_b])
    return lse, (w * parts - torch.xlogy(w, w)).sum(0)
