"""The multi-scale quantiser with a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toprovar.models.quantizer import quantise


@torch.no_grad()
def multi_scale_codes(latent: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
    """Summed codes [B, d, H, W] of a latent of that shape; no gradient."""
    return quantise(latent.detach(), grids)[1]


def straight_through(latent: Tensor, codes: Tensor) -> Tensor:
    """The codes, with a gradient that passes to the latent unchanged."""
    return latent + (codes - latent).detach()


def commitment(latent: Tensor, codes: Tensor) -> Tensor:
    """Mean squared distance, which keeps latents where sums of codes can reach them."""
    return (latent - codes.detach()).square().mean()
