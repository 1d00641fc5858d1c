"""What a pipeline call returns: summed codes to pictures, in the form that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .models.autoencoder import InfinityAutoencoder, to_uint8


def decode_images(
    vae: InfinityAutoencoder, codes: Tensor, output_type: str, tile: int | None = None,
    graph: bool | None = None,
) -> Any:
    """[B, d, h, w] summed codes as pictures.

    Args:
        output_type: "pil" (a list), "np" [B, H, W, 3] or "pt" [B, 3, H, W] float32 in [0, 1].
        tile, graph: as in ``InfinityAutoencoder.decode``.
    """
    with torch.inference_mode():
        # One by one: less memory, and an image does not depend on its neighbours.
        image = torch.cat([vae.decode(one, tile, graph=graph) for one in codes.split(1)])
    if output_type == "pil":
        return [Image.fromarray(array) for array in _to_host(to_uint8(image)).numpy()]
    unit = (image + 1) / 2
    return unit.clone() if output_type == "pt" else np.asarray(unit.permute(0, 2, 3, 1).cpu())


def _to_host(pixels: Tensor) -> Tensor:
    """A copy on the CPU; from a GPU through pinned memory, several times faster."""
    if pixels.device.type != "cuda":
        return pixels.cpu()
    host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    host.copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return host
