"""Bits from logits: greedy, drawn with the official generator order, or drawn fast (fast.py).

With two classes everything the official sampler does has a closed form: the minor class goes when
its probability is at most 1 - top_p, and a single multinomial draw is argmax(p / Exp(1)) over two
exponential draws per bit, in the order image, token, bit. The draws are consumed whether or not
top-p decided the bit, so the same seed gives the same image as the official code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .fast import sample_bits_fast
from .philox import seed_tensor

__all__ = (
    "Generators", "exponential_noise", "greedy_bits", "sample_bits", "sample_bits_fast",
    "seed_tensor",
)

Generators = torch.Generator | Sequence[torch.Generator] | None


def greedy_bits(logits: Tensor) -> Tensor:
    """The likelier bit of each pair, 0 on a tie: [B, N, 2 d] -> [B, N, d] uint8."""
    pairs = logits.unflatten(-1, (-1, 2))
    return (pairs[..., 1] > pairs[..., 0]).to(torch.uint8)


def sample_bits(
    logits: Tensor, top_k: int, top_p: float, generators: Generators = None
) -> Tensor:
    """Draw bits (see reference.py): [B, N, 2 d] -> [B, N, d] uint8.

    Consumes 2 exponential draws a bit and never waits for the device.

    Args:
        generators: one for all images in turn (the official way), or one per image.
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
    ratio = probability.div_(exponential_noise(probability, generators))
    return (ratio[..., 1] > ratio[..., 0]).to(torch.uint8)


def exponential_noise(like: Tensor, generators: Generators) -> Tensor:
    """Exp(1) draws of ``like``'s shape on its device, drawn where the generator lives.

    A CPU generator therefore gives the same picture on every device.
    """
    if isinstance(generators, Sequence):
        if len(generators) != like.shape[0]:
            raise ValueError(f"{len(generators)} generators given for {like.shape[0]} images")
        return torch.cat([exponential_noise(like[i : i + 1], g) for i, g in enumerate(generators)])
    device = like.device if generators is None else generators.device
    # Drawn while the device still works on what was launched before, and copied without waiting.
    pinned = device.type == "cpu" and like.is_cuda
    noise = torch.empty(like.shape, dtype=torch.float32, device=device, pin_memory=pinned)
    return noise.exponential_(1.0, generator=generators).to(like.device, non_blocking=True)
