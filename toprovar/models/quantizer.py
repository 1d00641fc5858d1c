"""Binary spherical quantisation over scales: latent to bits (encoding), bits to latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .latents import bits_to_codes, resize_codes


def quantise(
    latent: Tensor, grids: Sequence[tuple[int, int]], flip: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Residual quantisation, coarse to fine.

    At each scale the residual is area-averaged to the grid, its signs become the bits, and their
    code, upsampled, is taken off the residual. With ``flip`` > 0 each bit is turned over with that
    probability before its code is used, so that finer scales learn to correct coarser ones
    (Infinity's self-correction); the bits returned stay the true ones.

    Args:
        latent: [B, d, H, W] from the encoder.
        grids: (h, w) of each scale in latent pixels, the last one (H, W).

    Returns:
        bits per scale, each [B, d, h, w] uint8, and the summed codes [B, d, H, W].
    """
    channels, full = latent.shape[1], (latent.shape[2], latent.shape[3])
    if tuple(grids[-1]) != full:
        raise ValueError(f"the last scale {tuple(grids[-1])} is not the latent's size {full}")
    residual, summed, bits = latent, torch.zeros_like(latent), []
    for grid in grids:
        small = residual if tuple(grid) == full else F.interpolate(residual, grid, mode="area")
        bit = (small > 0).to(torch.uint8)
        bits.append(bit)
        if flip > 0:
            noise = torch.rand(bit.shape, generator=generator, device=bit.device)
            bit = bit ^ (noise < flip).to(torch.uint8)
        code = resize_codes(bits_to_codes(bit, channels).to(latent.dtype), full)
        residual = residual - code
        summed = summed + code
    return bits, summed
