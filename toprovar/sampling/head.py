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


def apply_cfg(logits: Tensor, cfg: float, tau: float, batch: int, away: float = 0.0) -> Tensor:
    """Temperature, and guidance where there are unconditional rows.

    Args:
        logits: [B, N, 2 d], [2 B, N, 2 d] or [3 B, N, 2 d] float32: conditional rows, then
            unconditional ones, then those of descriptions to steer away from.
        away: how far, in differences of the conditional rows from those.

    Returns:
        [B, N, 2 d], in memory of its own.
    """
    logits = logits * (1 / tau)
    if logits.shape[0] == batch:
        return logits
    mixed = cfg * logits[:batch] + (1 - cfg) * logits[batch : 2 * batch]
    if logits.shape[0] > 2 * batch:
        mixed += away * (logits[:batch] - logits[2 * batch :])
    return mixed


def guidance_distance(logits: Tensor, tau: float, batch: int) -> float:
    """Mean difference of the guidance rows' probabilities of a bit, 0 to 1. Waits for the device.

    Args:
        logits: [2 B, N, 2 d] float32, conditional rows first, before temperature; rows after
            these do not count.
    """
    pairs = (logits / tau).unflatten(-1, (-1, 2))
    chance = (pairs[..., 1] - pairs[..., 0]).sigmoid()
    return float((chance[:batch] - chance[batch : 2 * batch]).abs().mean())


def add_codes_(
    summed_codes: Tensor, bits: Tensor, grid: tuple[int, int], patch: int,
    stayed: Tensor | None = None, here: Tensor | None = None,
) -> None:
    """Add the codes of a scale's bits; those of tokens that left the scale count as 0.

    Args:
        summed_codes: [B, latent channels, H, W], changed.
        bits: [B, N, d].
        stayed: indices of the tokens that did not leave, [n] or [R, n]; None = all.
        here: [B, N] bool, tokens that count whether they left or not; alone: no others do.
    """
    codes = bits_to_codes(unfold_patches(tokens_to_grid(bits, grid), patch), summed_codes.shape[1])
    if stayed is not None:
        left = tokens_at(stayed, summed_codes.shape[0], grid)
        here = left if here is None else left | here
    if here is not None:
        shown = here.to(codes.dtype).unflatten(1, grid)[:, None]
        codes = codes * shown.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    summed_codes.add_(resize_codes(codes, (summed_codes.shape[2], summed_codes.shape[3])))


def tokens_at(index: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
    """[B, N] bool, True at the indices [n] or [R, n]."""
    index = index.expand(batch, -1) if index.ndim == 1 else index[:batch]
    found = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool, device=index.device)
    return found.scatter_(1, index, True)
