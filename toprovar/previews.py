"""What can be shown of a run between its scales: a small picture, and which tokens were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .models.autoencoder import to_uint8
from .models.latents import resize_codes

if TYPE_CHECKING:
    from PIL import Image

    from .models.autoencoder import InfinityAutoencoder
    from .sampling.run import ScaleState

SIDE = 16
"""Latent pixels along the longer side of a small picture."""


def small_picture(autoencoder: InfinityAutoencoder, codes: Tensor) -> Image.Image:
    """The first image of the summed codes [B, d, h, w], decoded small: cheap, whatever the size."""
    from PIL import Image

    height, width = codes.shape[-2:]
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    with torch.inference_mode():
        small = resize_codes(codes[:1], size).to(autoencoder.device)
        image = autoencoder.decode(small)
    return Image.fromarray(to_uint8(image)[0].cpu().numpy())


def kept_share(state: ScaleState) -> Tensor | None:
    """[h, w] share of layers that worked on each token of the first image; None where all did."""
    report = state.report
    if all(n == report.tokens for n in report.kept):
        return None
    total = torch.zeros(report.tokens)
    for layer, count in enumerate(report.kept):
        index: Any = state.kept.get(layer)
        if index is None:  # all, none, or chosen anew for each sub-layer: alike for all tokens
            total += count / report.tokens
        else:
            total[(index if index.ndim == 1 else index[0]).cpu()] += 1
    return (total / len(report.kept)).reshape(report.grid)
