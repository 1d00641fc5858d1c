"""Source pictures of an edit: brought to the size that is drawn, encoded, and the result brought
back to the size that they had.

As the official code of VAREdit does it: a picture is laid on a white canvas of the aspect that is
drawn, at its upper left corner, and the canvas is resized (Lanczos). The result is resized to the
canvas, and the padding is cut off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .models.autoencoder import InfinityAutoencoder

WHITE = (255, 255, 255)
MOST_SIDE = 16384
"""Pixels of a picture's side that are believed."""

Size = tuple[int, int]
"""(height, width) in pixels."""


class Frame(NamedTuple):
    """Where a picture lies in what is drawn of it.

    Attributes:
        picture: its size, what was cropped off left out; canvas: with the padding.
    """

    picture: Size
    canvas: Size


def canvas_of(picture: Size, drawn: Size) -> Size:
    """The smallest canvas of the aspect of ``drawn`` that holds a picture: the square of its longer
    side where a square is drawn."""
    (height, width), (tall, wide) = picture, drawn
    if width * tall >= height * wide:
        return -(-width * tall // wide), width
    return height, -(-height * wide // tall)


def central(image: Image.Image, drawn: Size) -> Image.Image:
    """The largest middle part of the aspect of ``drawn``."""
    (tall, wide), width, height = drawn, image.width, image.height
    if width * tall >= height * wide:
        across, down = max(1, height * wide // tall), height
    else:
        across, down = width, max(1, width * tall // wide)
    left, top = (width - across) // 2, (height - down) // 2
    return image.crop((left, top, left + across, top + down))


def framed(image: Image.Image, drawn: Size, crop: bool = False) -> tuple[Image.Image, Frame]:
    """A picture as it is encoded, and where it lies in it.

    Args:
        image: of any mode; transparency is dropped, what it hid shows.
        drawn: size that is drawn.
        crop: take the middle part of that aspect instead of padding: the model was trained on
            pictures cropped so, and never saw padding.

    Returns:
        an RGB picture of size ``drawn``, and the frame.
    """
    image = image.convert("RGB")
    if crop:
        image = central(image, drawn)
    picture = (image.height, image.width)
    canvas = canvas_of(picture, drawn)
    padded = Image.new("RGB", _across(canvas), WHITE)
    padded.paste(image, (0, 0))
    return padded.resize(_across(drawn), Image.Resampling.LANCZOS), Frame(picture, canvas)


def _across(size: Size) -> tuple[int, int]:
    """(width, height), as Pillow has it."""
    return size[1], size[0]


def restored(image: Image.Image, frame: Frame) -> Image.Image:
    """What was drawn, at the size of its source picture and without the padding."""
    height, width = frame.picture
    return image.resize(_across(frame.canvas), Image.Resampling.LANCZOS).crop((0, 0, width, height))


def restored_array(image: np.ndarray[Any, Any], frame: Frame) -> np.ndarray[Any, Any]:
    """The same of [H, W, 3] float32 in [0, 1]."""
    channels = [np.asarray(restored(Image.fromarray(image[..., c]), frame))
                for c in range(image.shape[-1])]
    return np.stack(channels, axis=-1).clip(0, 1)


def to_picture(image: Any) -> Image.Image:
    """A picture as callers give it.

    Args:
        image: PIL's; or [H, W, 3] numpy, or [3, H, W] torch, uint8 or floats in [0, 1].

    Raises:
        ValueError: it is something else, or empty.
    """
    if not isinstance(image, Image.Image):
        if isinstance(image, Tensor) and image.ndim == 3:
            image = image.detach().permute(1, 2, 0).cpu()
            image = (image if image.dtype == torch.uint8 else image.float()).numpy()
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3:
            shape = f" of shape {list(image.shape)}" if hasattr(image, "shape") else ""
            raise ValueError("image must be a picture of PIL, or an array [height, width, 3], or a "
                             f"tensor [3, height, width], got {type(image).__name__}{shape}")
        if image.dtype != np.uint8:
            if image.dtype.kind != "f" or not (image.min(initial=0) >= 0
                                               and image.max(initial=0) <= 1):
                raise ValueError(f"image: expected uint8, or floats between 0 and 1, got "
                                 f"{image.dtype} outside of that")
            image = np.round(image * 255).astype(np.uint8)
        if 0 in image.shape:
            raise ValueError(f"image is empty: it has the shape {list(image.shape)}")
        image = Image.fromarray(image)
    if not 1 <= min(image.size) <= max(image.size) <= MOST_SIDE:
        raise ValueError(f"image: expected sides of 1 to {MOST_SIDE} pixels, got {image.width} x "
                         f"{image.height}")
    return image


def source_features(vae: InfinityAutoencoder, image: Image.Image) -> Tensor:
    """What a run takes as its source: [1, d, H / stride, W / stride] float32, not quantised.

    The encoder computes in float32 whatever the autoencoder's dtype is, as the official code does.

    Args:
        image: from ``framed``.
    """
    pixels = torch.from_numpy(np.asarray(image).copy()).to(vae.device)
    picture = (pixels.float() / 255 * 2 - 1).permute(2, 0, 1)[None]
    return vae.encode(picture, torch.float32)
