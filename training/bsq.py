"""The multi-scale quantiser with a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toprovar.models.latents import bits_to_codes
from training.resample import averaged, stretched


@torch.no_grad()
def multi_scale_codes(latent: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
    """Summed codes [B, d, H, W] of a float32 latent of that shape, as
    `toprovar.models.quantizer.quantise` gives them; no gradient."""
    channels, full = latent.shape[1], (latent.shape[2], latent.shape[3])
    residual, summed = latent, torch.zeros_like(latent)
    for grid in grids:
        bit = averaged(residual, (grid[0], grid[1])) > 0
        code = stretched(bits_to_codes(bit, channels), full)
        residual, summed = residual - code, summed + code
    return summed


def straight_through(latent: Tensor, codes: Tensor) -> Tensor:
    """The codes, with a gradient that passes to the latent unchanged."""
    return latent + (codes - latent).detach()


def commitment(latent: Tensor, codes: Tensor) -> Tensor:
    """Mean squared distance, which keeps latents where sums of codes can reach them."""
    return (latent - codes.detach()).square().mean()
