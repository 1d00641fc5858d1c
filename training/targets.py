"""What the transformer sees and what it must say: teacher forcing with self-correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toprovar.models.latents import bits_to_codes
from training.resample import averaged, stretched


@dataclass(frozen=True)
class Targets:
    """Teacher forcing of B pictures over some first scales.

    Attributes:
        bits: uint8 [B, N, d], true bits of all N tokens, scale after scale.
        inputs: float32 [B, N - first, d], codes fed in for every scale but the first.
    """

    bits: Tensor
    inputs: Tensor


@torch.no_grad()
def teacher_forcing(
    latent: Tensor,
    grids: Sequence[tuple[int, int]],
    scales: int = 0,
    flip: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Targets:
    """Quantise latents scale by scale, turning some bits over before their code is used.

    A flipped bit spoils the inputs of all later scales and stays in the residual, so the true
    bits of later scales are those that mend it (Infinity's self-correction).

    Args:
        latent: [B, d, H, W] float32.
        grids: (h, w) of every scale, the last one (H, W).
        scales: only the first so many scales; 0 = all.
        flip: [B], each sample's probability that a bit is turned over.
    """
    channels, full = latent.shape[1], (latent.shape[2], latent.shape[3])
    if tuple(grids[-1]) != full:
        raise ValueError(f"the last scale {tuple(grids[-1])} is not the latent's size {full}")
    used = list(grids)[: scales or None]
    residual, summed = latent, torch.zeros_like(latent)
    bits, inputs = [], []
    for index, grid in enumerate(used):
        bit = averaged(residual, grid) > 0
        bits.append(bit.to(torch.uint8).flatten(2).transpose(1, 2))
        if index + 1 == len(used):
            break
        if flip is not None:
            noise = torch.rand(bit.shape, generator=generator, device=bit.device)
            bit = bit ^ (noise < flip[:, None, None, None])
        code = stretched(bits_to_codes(bit, channels), full)
        residual = residual - code
        summed = summed + code
        inputs.append(stretched(summed, used[index + 1]).flatten(2).transpose(1, 2))
    empty = latent.new_zeros(latent.shape[0], 0, channels)
    return Targets(torch.cat(bits, 1), torch.cat(inputs, 1) if inputs else empty)
