"""Philox 4x32-10, a counter-based generator (Salmon et al., SC'11), in torch's whole numbers.

Random numbers are a function of key and counter: no state, no order of drawing, the same numbers
on every device and in every kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDS = 10
FACTORS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF


def philox(counter: Sequence[Tensor | int], key: Sequence[Tensor | int]) -> tuple[Tensor, ...]:
    """Four random words for each counter.

    Args:
        counter: four words 0 .. 2^32 - 1, tensors int64 that broadcast, or numbers.
        key: two words alike.

    Returns:
        Four int64 tensors of words 0 .. 2^32 - 1.
    """
    c0, c1, c2, c3 = (torch.as_tensor(word) for word in counter)
    k0, k1 = (torch.as_tensor(word) for word in key)
    for _ in range(ROUNDS):
        # int64 products wrap around, but their 64 bits are those of the unsigned product.
        low, high = c0 * FACTORS[0], c2 * FACTORS[1]
        c0, c1, c2, c3 = (
            (high >> 32) & WORD ^ c1 ^ k0, high & WORD, (low >> 32) & WORD ^ c3 ^ k1, low & WORD
        )
        k0, k1 = (k0 + KEY_STEPS[0]) & WORD, (k1 + KEY_STEPS[1]) & WORD
    return c0, c1, c2, c3


def seed_tensor(seeds: Sequence[int], device: torch.device | str) -> Tensor:
    """Seeds as kernels take them: [B] int64 whose 64 bits are the key.

    Args:
        seeds: one number an image, 0 .. 2^64 - 1 or a negative int64.
    """
    for seed in seeds:
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError(f"seed is {seed}, expected a whole number of at most 64 bits")
    signed = [seed - (1 << 64) if seed >= 1 << 63 else seed for seed in seeds]
    return torch.tensor(signed, dtype=torch.int64).to(device)
