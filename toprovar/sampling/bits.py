"""Who decides the bits of a scale: the sampler, the likelier class, or a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..ops.bit_sampling import Generators, exponential_noise, greedy_bits, sample_bits
from .params import SamplingParams

BitChooser = Callable[[int, Tensor], Tensor]
"""(scale, logits [B, N, 2 d]) -> bits [B, N, d] uint8."""


class Sampler:
    """Draws bits as ``params`` say."""

    def __init__(self, params: SamplingParams, generators: Generators = None) -> None:
        self.params, self.generators = params, generators

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        if self.params.mode == "greedy":
            return greedy_bits(logits)
        return sample_bits(logits, self.params.top_k, self.params.top_p, self.generators)

    def skip(self, scale: int, shape: tuple[int, int, int], device: torch.device) -> None:
        """Draw for a scale that is not run, [B, N, d] bits: later scales get the draws they would
        get in a full run."""
        if self.params.mode != "greedy":
            exponential_noise(torch.empty(*shape, 2, device=device), self.generators)


class ResumedSampler(Sampler):
    """Goes on where a run ended too early: what it had drawn is played back.

    Args:
        drawn: bits [B, N, d] of the scales that were run; before: scales whose random numbers
            have been taken.
    """

    def __init__(self, params: SamplingParams, generators: Generators, drawn: dict[int, Tensor],
                 before: int) -> None:
        super().__init__(params, generators)
        self.drawn, self.before = drawn, before

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        if scale < self.before:
            return self.drawn[scale].to(logits.device)
        return super().__call__(scale, logits)

    def skip(self, scale: int, shape: tuple[int, int, int], device: torch.device) -> None:
        if scale >= self.before:
            super().skip(scale, shape, device)


def chooser(params: SamplingParams, generators: Generators = None) -> BitChooser:
    """The chooser that ``params`` ask for."""
    return Sampler(params, generators)


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
