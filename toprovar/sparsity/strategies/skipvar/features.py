"""How much fine detail a picture still gains, and has, after an early scale: what SkipVAR decides
by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ....models.autoencoder import InfinityAutoencoder
from ....models.latents import resize_codes

Decode = Callable[[Tensor], Tensor]
"""Summed codes [B, d, h, w] -> picture [B, 3, H, W] in [-1, 1]."""
HIGH = 0.4
"""From which share of the highest frequency on a frequency counts as high."""


@dataclass(frozen=True)
class Features:
    """What is known of a picture when SkipVAR decides.

    Attributes:
        diff_hf: mean absolute difference of the Sobel magnitudes of two small pictures, before and
            after a scale.
        hf_ratio: share of the second one's spectrum (amplitude) at high frequencies.
    """

    diff_hf: float
    hf_ratio: float

    def values(self) -> tuple[float, float]:
        return self.diff_hf, self.hf_ratio


def vae_decoder(vae: InfinityAutoencoder) -> Decode:
    """Decodes on the device where the autoencoder is, which offload may have made another one."""
    def decode(codes: Tensor) -> Tensor:
        return vae.decode(codes.to(vae.device))
    return decode


def small_codes(codes: Tensor, size: tuple[int, int]) -> Tensor:
    """A copy of summed codes [B, d, H, W], bilinear without antialiasing: [B, d, *size]."""
    return resize_codes(codes, size).clone()


def measure_features(old: Tensor, new: Tensor, decode: Decode) -> list[Features]:
    """Features of each image.

    Args:
        old, new: [B, d, h, w] summed codes before and after a scale, of one small size.
    """
    with torch.inference_mode():
        # One by one, so that an image does not depend on its neighbours; float64 is missing on
        # some devices, and the pictures are small.
        pairs = [(decode(a).cpu().double(), decode(b).cpu().double())
                 for a, b in zip(old.split(1), new.split(1), strict=True)]
        return [Features(diff_hf(a, b), hf_ratio(b)) for a, b in pairs]


def sobel_magnitude(image: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 1, H, W]: unnormalised 3 x 3 kernels on the channel mean, zeros
    around."""
    kernel = torch.tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=image.dtype)
    kernels = torch.stack([kernel, kernel.T])[:, None].to(image.device)
    gradient = F.conv2d(image.mean(1, keepdim=True), kernels, padding=1)
    return gradient.square().sum(1, keepdim=True).sqrt()


def diff_hf(old: Tensor, new: Tensor) -> float:
    """Mean absolute difference of the Sobel magnitudes of two pictures [1, 3, H, W]."""
    return float((sobel_magnitude(old) - sobel_magnitude(new)).abs().mean())


def hf_ratio(image: Tensor) -> float:
    """Share of the amplitude spectrum farther than ``HIGH`` from the centre; [1, 3, H, W]."""
    amplitude = torch.fft.fftshift(torch.fft.fft2(image.mean(1)[0])).abs()
    height, width = amplitude.shape
    radius = int(HIGH * min(height, width) / 2)
    y = torch.arange(height, device=image.device)[:, None] - height // 2
    x = torch.arange(width, device=image.device)[None] - width // 2
    outside = y.square() + x.square() > radius * radius
    return float(amplitude[outside].sum() / (amplitude.sum() + 1e-6))
