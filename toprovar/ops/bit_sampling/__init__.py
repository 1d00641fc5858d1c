"""Bits from logits: greedy, or drawn with the official generator order.

With two classes everything the official sampler does has a closed form: the minor class goes when
its probability is at most 1 - top_p, and a single multinomial draw is argmax(p / Exp(1)) over two
exponential draws per bit, in the order image, token, bit. The draws are consumed whether or not
top-p decided the bit, so the same seed gives the same image as the official code.
"""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_bits(logits: Tensor) -> Tensor:
    """The likelier bit of each pair, 0 on a tie: [B, N, 2 d] -> [B, N, d] uint8."""
    pairs = logits.unflatten(-1, (-1, 2))
    return (pairs[..., 1] > pairs[..., 0]).to(torch.uint8)


def sample_bits(
    logits: Tensor, top_k: int, top_p: float, generator: torch.Generator | None
) -> Tensor:
    """Draw bits (see reference.py): [B, N, 2 d] -> [B, N, d] uint8.

    Consumes 2 exponential draws a bit from ``generator`` and never waits for the device.
    """
    probability = logits.unflatten(-1, (-1, 2)).softmax(-1)
    if top_k == 1 or top_p > 0:
        minor = probability.amin(-1, keepdim=True)
        dropped = probability == minor
        # An even pair has no minor class; the official sort then drops the first of the two.
        dropped[..., 1] &= ~dropped[..., 0]
        if top_k == 1:
            dropped &= probability[..., :1] != probability[..., 1:]
        else:
            dropped &= minor <= (1 - top_p)
        probability = probability.masked_fill(dropped, 0)
        probability = torch.where(dropped.any(-1, keepdim=True), probability.ceil(), probability)
    noise = torch.empty_like(probability).exponential_(1.0, generator=generator)
    ratio = probability.div_(noise)
    return (ratio[..., 1] > ratio[..., 0]).to(torch.uint8)
