"""Who decides the bits of a scale: the sampler, the likelier class, or a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..ops.bit_sampling import Generators, greedy_bits, sample_bits
from .params import SamplingParams

BitChooser = Callable[[int, Tensor], Tensor]
"""(scale, logits [B, N, 2 d]) -> bits [B, N, d] uint8."""


def chooser(params: SamplingParams, generators: Generators = None) -> BitChooser:
    """The chooser that ``params`` ask for."""
    if params.mode == "greedy":
        return lambda scale, logits: greedy_bits(logits)
    return lambda scale, logits: sample_bits(logits, params.top_k, params.top_p, generators)


class ForcedBits:
    """Plays recorded bits back.

    Args:
        bits: per scale, [B, N, d].
    """

    def __init__(self, bits: Sequence[Tensor]) -> None:
        self.bits = list(bits)

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        expected = (*logits.shape[:2], logits.shape[2] // 2)
        if scale >= len(self.bits) or self.bits[scale].shape != expected:
            found = tuple(self.bits[scale].shape) if scale < len(self.bits) else "none"
            raise ValueError(f"forced bits of scale {scale}: expected shape {expected}, "
                             f"found {found}")
        return self.bits[scale].to(logits.device, torch.uint8)
