"""What a pipeline call returns: summed codes to pictures, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from .models.autoencoder import InfinityAutoencoder, to_uint8
from .sampling.report import RunReport

OutputType = Literal["pil", "np", "pt", "latent"]


@dataclass
class InfinityPipelineOutput(BaseOutput):
    """The result of a call.

    Attributes:
        images: by ``output_type``: "pil" = a list of B PIL images. "np" = [B, H, W, 3] float32 in
            [0, 1]. "pt" = [B, 3, H, W] float32 in [0, 1]. "latent" = [B, d, h, w], the summed
            codes.
        report: what was run, what was left out, and what it cost.
        reports: one report for each run. There are several where each image was planned by itself.
    """

    images: Any
    report: RunReport
    reports: list[RunReport] = field(default_factory=list)


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
        image = torch.cat([vae.decode(one.to(vae.device), tile, graph=graph)
                           for one in codes.split(1)])
    if output_type == "pil":
        return [Image.fromarray(array) for array in _to_host(to_uint8(image)).numpy()]
    unit = (image + 1) / 2
    return unit.clone() if output_type == "pt" else np.asarray(unit.permute(0, 2, 3, 1).cpu())


def join_images(parts: Sequence[Any], output_type: str) -> Any:
    """Several results of ``decode_images``, or [b, d, h, w] codes ("latent"), as one."""
    if len(parts) == 1:
        return parts[0]
    if output_type == "pil":
        return [image for part in parts for image in part]
    return np.concatenate(parts) if output_type == "np" else torch.cat(list(parts))


def _to_host(pixels: Tensor) -> Tensor:
    """A copy on the CPU; from a GPU through pinned memory, several times faster."""
    if pixels.device.type != "cuda":
        return pixels.cpu()
    host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    host.copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return host
