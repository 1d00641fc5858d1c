"""Bits, codes and the resampling between scales."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bits_to_codes(bits: Tensor, latent_channels: int) -> Tensor:
    """Bits to unit-length codes: 0 -> -1/sqrt(d), 1 -> +1/sqrt(d), d = ``latent_channels``."""
    return (bits.float() * 2 - 1) * latent_channels**-0.5


def resize_codes(codes: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear without antialiasing, up or down: [B, d, h, w] -> [B, d, *size].

    Runs torch's trilinear kernel on a depth of 1: the official operation, whose rounding differs
    in the last bit from the two-dimensional kernel.
    """
    if codes.shape[-2:] == torch.Size(size):
        return codes
    return F.interpolate(codes[:, :, None], size=(1, *size), mode="trilinear")[:, :, 0]


def fold_patches(codes: Tensor, patch: int) -> Tensor:
    """Latent pixels to tokens: [B, d, p h, p w] -> [B, d p^2, h, w] (pixel unshuffle)."""
    return codes if patch == 1 else F.pixel_unshuffle(codes, patch)


def unfold_patches(codes: Tensor, patch: int) -> Tensor:
    """Tokens to latent pixels: [B, d p^2, h, w] -> [B, d, p h, p w] (pixel shuffle)."""
    return codes if patch == 1 else F.pixel_shuffle(codes, patch)


def tokens_to_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """[B, h w, d] -> [B, d, h, w]."""
    return tokens.transpose(1, 2).unflatten(2, grid)
