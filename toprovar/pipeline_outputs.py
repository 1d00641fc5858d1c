"""What a pipeline call returns: summed codes to pictures, in the form that was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from .arguments import whole
from .models.autoencoder import InfinityAutoencoder, to_uint8
from .picture_files import check_ending, left_out_note, numbered, save_picture
from .pipeline_told import Told
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
    _told: ClassVar[Told | None] = None  # of an instance; as a field it would be in the tuple

    def _remember(self, told: Told | None) -> InfinityPipelineOutput:
        self.__dict__["_told"] = told
        return self

    def save(self, path: str | Path, *, quality: int = 95) -> list[Path]:
        """Save the images with the parameters that made them: prompt, seed, plan, settings and
        versions. ``toprovar.read_parameters`` reads them, and ``toprovar generate --from`` draws
        the picture again.

        Args:
            path: a file that ends in .png, .jpg, .jpeg or .webp. Of several images, each has its
                number before the ending: fox-1.png, fox-2.png. Files that are there are replaced.
            quality: of JPEG and WebP, 1 to 100. WebP of 100 is lossless.

        Returns:
            The files that were written, one for each image.

        Raises:
            ValueError: the ending is none of these, or the output has no pictures ("latent").
        """
        path = Path(path)
        check_ending("path", path)
        quality, images = whole("quality", quality, 1, 100), _as_pil(self.images)
        files, left = numbered(path, len(images)), dict[str, None]()
        runs = [report for report in self.reports or [self.report] for _ in range(report.images)]
        for i, (file, image) in enumerate(zip(files, images, strict=True)):
            told = {} if self._told is None else self._told.parameters(i, runs[i])
            left.update(dict.fromkeys(save_picture(image, file, told, quality)))
        if left:
            warnings.warn(left_out_note(left), stacklevel=2)
        return files


def _as_pil(images: Any) -> list[Image.Image]:
    """The images of a call as PIL images."""
    if isinstance(images, Tensor) and images.shape[1] == 3:
        images = images.movedim(1, -1).cpu().numpy()
    if isinstance(images, np.ndarray):  # cut off as in ``to_uint8``
        return [Image.fromarray(array) for array in (images * 255).astype(np.uint8)]
    if isinstance(images, list):
        return images
    raise ValueError('these are codes and no pictures: call the pipeline without '
                     'output_type="latent"')


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
