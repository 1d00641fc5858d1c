"""Watches a run for ComfyUI: progress and a preview at every scale, and what reports need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host import Progress

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.sampling.run import ScaleState
    from .infinity import Infinity

PREVIEW_SIDE = 16
"""Latent pixels along the longer side of a preview."""


class Watcher:
    """The engine's ``on_scale`` for one call of the pipeline.

    Args:
        steps: scales that the call will run, at most.
        preview: whether to decode small pictures.

    Attributes:
        bits: per run, {scale: [B, N, d] uint8} on the CPU.
        kept: of the first run's first image, {scale: [h, w] share of layers that kept a token}.
    """

    def __init__(self, model: Infinity, steps: int, preview: bool, overlay: bool = False) -> None:
        self.model, self.preview, self.overlay = model, preview, overlay
        self.progress = Progress(steps)
        self.steps = 0
        self.bits: list[dict[int, Tensor]] = []
        self.kept: dict[int, Tensor] = {}
        self._last = -1

    def on_scale(self, state: ScaleState) -> None:
        if not self.bits or state.index <= self._last:  # the next run of the same call
            self.bits.append({})
        self._last = state.index
        self.bits[-1][state.index] = state.bits.cpu()
        if self.overlay and len(self.bits) == 1:
            share = kept_share(state)
            if share is not None:
                self.kept[state.index] = share
        self.steps += 1
        self.progress.at(self.steps, self._picture(state) if self.preview else None)

    def _picture(self, state: ScaleState) -> Image.Image:
        return small_picture(self.model, state.summed_codes)


def small_picture(model: Infinity, codes: Tensor) -> Image.Image:
    """The first image of the summed codes, decoded small: cheap, whatever the size."""
    from PIL import Image

    from ...toprovar.models.autoencoder import to_uint8
    from ...toprovar.models.latents import resize_codes

    height, width = codes.shape[-2:]
    factor = min(1.0, PREVIEW_SIDE / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    with torch.inference_mode():
        small = resize_codes(codes[:1], size).to(model.vae.device)
        image = model.vae.first_stage_model.decode(small)
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
