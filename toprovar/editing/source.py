"""A picture as a source of bits: brought to a size, encoded, and quantised scale by scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.latents import fold_patches
from ..models.quantizer import quantise
from .stack import BitStack

if TYPE_CHECKING:
    from ..models.autoencoder import InfinityAutoencoder
    from ..schedules import ScaleSchedule

Fit = Literal["stretch", "crop"]
MOST_SIDE = 1 << 15
"""Pixels of a picture's side that are read; far above any that is drawn."""


def read_pictures(image: Any, name: str = "image") -> Tensor:
    """Pictures as numbers.

    Args:
        image: a PIL image; an array [h, w, 3] or [B, h, w, 3], of uint8 or of numbers from 0 to 1;
            a tensor [3, h, w] or [B, 3, h, w] of numbers from 0 to 1; or a list of these.

    Returns:
        [B, 3, h, w] float32 in [0, 1], on the CPU. Transparent places show what is behind them.

    Raises:
        ValueError: it is no picture, or pictures of several sizes.
    """
    parts = [_one(i, name) for i in image] if isinstance(image, (list, tuple)) \
        else [_one(image, name)]
    if not parts:
        raise ValueError(f"{name} is an empty list: give a picture")
    sizes = {tuple(part.shape[-2:]) for part in parts}
    if len(sizes) > 1:
        told = ", ".join(f"{w}x{h}" for h, w in sorted(sizes))
        raise ValueError(f"{name} holds pictures of several sizes ({told}): give one size, or one "
                         "picture a call")
    return torch.cat(parts)


def _one(image: Any, name: str) -> Tensor:
    from PIL import Image

    if isinstance(image, Image.Image):
        values = torch.from_numpy(np.asarray(image.convert("RGB")).copy())[None].permute(0, 3, 1, 2)
    elif isinstance(image, np.ndarray):
        values = torch.from_numpy(np.ascontiguousarray(image))
        values = values[None] if values.ndim == 3 else values
        values = values.permute(0, 3, 1, 2) if values.ndim == 4 else values
    elif isinstance(image, Tensor):
        values = image.detach().cpu()
        values = values[None] if values.ndim == 3 else values
    else:
        raise ValueError(f"{name} must be a PIL image, an array [h, w, 3], a tensor [B, 3, h, w] "
                         f"from 0 to 1, or a draft, got {type(image).__name__}")
    if values.ndim != 4 or values.shape[1] != 3 or not all(
            0 < side <= MOST_SIDE for side in values.shape[-2:]) or not len(values):
        raise ValueError(f"{name} must be of three colours, [h, w, 3] as an array or [B, 3, h, w] "
                         f"as a tensor, got {list(getattr(image, 'shape', values.shape))}")
    if values.dtype == torch.uint8:
        return values.float() / 255
    values = values.float()
    if not torch.isfinite(values).all() or values.min() < -1e-3 or values.max() > 1 + 1e-3:
        raise ValueError(f"{name} must hold numbers from 0 to 1, got {float(values.min()):g} to "
                         f"{float(values.max()):g}")
    return values.clamp(0, 1)


def resize_pictures(pictures: Tensor, size: tuple[int, int], fit: Fit = "stretch") -> Tensor:
    """Pictures [B, 3, h, w] at a size (height, width) in pixels; themselves where they have it.

    Args:
        fit: "stretch" = all of the picture, whatever its aspect; "crop" = its middle part of the
            new aspect.
    """
    if pictures.shape[-2:] == torch.Size(size):
        return pictures
    if fit == "crop":
        h, w = pictures.shape[-2:]
        scale = max(size[0] / h, size[1] / w)
        tall, wide = min(h, round(size[0] / scale)), min(w, round(size[1] / scale))
        top, left = (h - tall) // 2, (w - wide) // 2
        pictures = pictures[..., top : top + tall, left : left + wide]
    found = F.interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True)
    return found.clamp(0, 1)


def encode_pictures(vae: InfinityAutoencoder, pictures: Tensor, schedule: ScaleSchedule,
                    patch: int = 1) -> BitStack:
    """Bits of every scale.

    Args:
        pictures: [B, 3, H, W] in [0, 1], of the size of ``schedule``.
        patch: latent pixels of a token's side.

    Returns:
        a stack on the device of ``vae``.
    """
    with torch.inference_mode():
        latent = torch.cat([vae.encode(one.to(vae.device) * 2 - 1).float()
                            for one in pictures.split(1)])
        return quantise_latent(latent, schedule, patch)


def quantise_latent(latent: Tensor, schedule: ScaleSchedule, patch: int = 1) -> BitStack:
    """Bits of every scale of a latent that is not quantised, or of summed codes.

    Args:
        latent: [B, latent channels, H, W] of the size of ``schedule``'s last scale.

    Raises:
        ValueError: it is of another size, or holds numbers that are not finite.
    """
    height, width = schedule.grids[-1]
    if tuple(latent.shape[-2:]) != (height * patch, width * patch):
        raise ValueError(f"a latent of {latent.shape[-2]} x {latent.shape[-1]} is not one of "
                         f"{schedule.image_size[1]}x{schedule.image_size[0]} pixels, which has "
                         f"{height * patch} x {width * patch}: encode the picture at that size")
    if not torch.isfinite(latent).all():
        raise ValueError("the latent of the picture must hold finite numbers, got inf or nan")
    bits, _ = quantise(latent.float(), [(h * patch, w * patch) for h, w in schedule.grids])
    return BitStack(schedule.grids, tuple(
        fold_patches(b, patch).flatten(2).transpose(1, 2).contiguous() for b in bits))
