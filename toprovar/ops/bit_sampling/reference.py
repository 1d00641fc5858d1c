"""The official sampler for bits, step by step: top-k, top-p, softmax, one multinomial draw."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_bits(
    logits: Tensor, top_k: int, top_p: float, generator: torch.Generator | None
) -> Tensor:
    """Draw bits from pairs of logits.

    Args:
        logits: [B, N, 2 d] float32; entry 2 j + c is the logit of bit j being c.
        top_k: 0 = off. With two classes only 1 has an effect.
        top_p: 0 = off.

    Returns:
        [B, N, d] uint8.
    """
    pairs = logits.unflatten(-1, (-1, 2)).clone()
    if top_k > 0:
        kth = pairs.topk(min(top_k, 2), dim=-1).values[..., -1:]
        pairs = pairs.masked_fill(pairs < kth, -torch.inf)
    if top_p > 0:
        ascending, order = pairs.sort(dim=-1)
        drop = ascending.softmax(-1).cumsum(-1) <= (1 - top_p)
        drop[..., -1] = False
        pairs = pairs.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    probabilities = pairs.softmax(-1).reshape(-1, 2)
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    return drawn.reshape(pairs.shape[:-1]).to(torch.uint8)
