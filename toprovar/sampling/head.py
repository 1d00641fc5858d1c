"""Both ends of a scale: from summed codes to tokens, and from bits to summed codes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.latents import (
    bits_to_codes,
    fold_patches,
    resize_codes,
    tokens_to_grid,
    unfold_patches,
)
from ..models.transformer import InfinityTransformer


def embed_scale(
    transformer: InfinityTransformer, summed_codes: Tensor, grid: tuple[int, int], copies: int,
    dtype: torch.dtype,
) -> Tensor:
    """Input of every scale but the first, before the level embedding.

    Args:
        summed_codes: [B, latent channels, H, W] so far.
        copies: rows of each image.

    Returns:
        [copies B, h w, C] of ``dtype``: all images, then all of them again.
    """
    patch = transformer.shape.patch
    size = (grid[0] * patch, grid[1] * patch)
    codes = fold_patches(resize_codes(summed_codes, size), patch)
    return transformer.embed_codes(codes).repeat(copies, 1, 1).to(dtype)


def apply_cfg(logits: Tensor, cfg: float, tau: float, batch: int) -> Tensor:
    """Temperature, and guidance where there are unconditional rows.

    Args:
        logits: [B, N, 2 d] or [2 B, N, 2 d] float32, conditional rows first.

    Returns:
        [B, N, 2 d], in memory of its own.
    """
    logits = logits * (1 / tau)
    if logits.shape[0] == batch:
        return logits
    return cfg * logits[:batch] + (1 - cfg) * logits[batch:]


def guidance_distance(logits: Tensor, tau: float, batch: int) -> float:
    """Mean difference of the guidance rows' probabilities of a bit, 0 to 1. Waits for the device.

    Args:
        logits: [2 B, N, 2 d] float32, conditional rows first, before temperature.
    """
    pairs = (logits / tau).unflatten(-1, (-1, 2))
    chance = (pairs[..., 1] - pairs[..., 0]).sigmoid()
    return float((chance[:batch] - chance[batch:]).abs().mean())


def add_codes_(
    summed_codes: Tensor, bits: Tensor, grid: tuple[int, int], patch: int,
    stayed: Tensor | None = None,
) -> None:
    """Add the codes of a scale's bits; those of tokens that left the scale count as 0.

    Args:
        summed_codes: [B, latent channels, H, W], changed.
        bits: [B, N, d].
        stayed: indices of the tokens that did not leave, [n] or [R, n]; None = all.
    """
    batch = summed_codes.shape[0]
    codes = bits_to_codes(unfold_patches(tokens_to_grid(bits, grid), patch), summed_codes.shape[1])
    if stayed is not None:
        index = stayed.expand(batch, -1) if stayed.ndim == 1 else stayed[:batch]
        here = codes.new_zeros(batch, grid[0] * grid[1])
        here = here.scatter_(1, index, 1.0).unflatten(1, grid)[:, None]
        codes = codes * here.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    summed_codes.add_(resize_codes(codes, (summed_codes.shape[2], summed_codes.shape[3])))
