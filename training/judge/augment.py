"""Spoiling pictures a little, so that the judge knows objects that are not drawn perfectly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.judge.blur import blur
from training.judge.jpeg import jpeg
from training.judge.labels import ABSENT, IGNORED, PRESENT, Labels
from training.judge.reconstruct import Reconstructor, grids_of, random_flips
from training.judge.warp import field, moved, warped

_GRID = 6
_COVERED = (0.2, 0.5)
"""From the first share of its box on a covered object is ignored, from the second it is gone."""


@dataclass(frozen=True)
class AugmentSettings:
    """How often (0-1) and how strongly pictures are spoilt.

    Attributes:
        warp, warp_most: smooth deformation and its strength in shares of the side.
        cover: a patch of one colour or of noise laid over a part.
        rebuild: share of a batch that goes through the autoencoder, of which half get bits
            turned over with probabilities up to ``flip_most``.
        tint, tint_most: brightness, contrast and channel gains.
        blur, blur_most: sigma in pixels.
        noise, noise_most: standard deviation.
        jpeg, jpeg_least: quality.
    """

    warp: float = 0.5
    warp_most: float = 0.018
    cover: float = 0.2
    rebuild: float = 0.5
    flip_most: float = 0.25
    tint: float = 0.8
    tint_most: float = 0.08
    blur: float = 0.35
    blur_most: float = 2.2
    noise: float = 0.35
    noise_most: float = 0.07
    jpeg: float = 0.35
    jpeg_least: float = 20.0


class Augment:
    """Applies the settings to batches; all chance comes from the generator it is given."""

    def __init__(self, settings: AugmentSettings, rebuild: Reconstructor | None) -> None:
        self.settings, self.rebuild = settings, rebuild

    @torch.no_grad()
    def __call__(
        self, images: Tensor, labels: Labels, generator: torch.Generator
    ) -> tuple[Tensor, Labels]:
        """Spoilt float32 pictures in 0-1 of RGB pictures [B, 3, S, S] in 0-1, and their labels."""
        s = self.settings
        draw = _Draw(len(images), generator)
        moves = field(len(images), images.shape[-1], _GRID, draw.amount(s.warp, s.warp_most),
                      generator)
        images = warped(images, moves)
        labels = labels.changed(centre=moved(labels.centre, moves))
        images, labels = cover(images, labels, draw.rows(s.cover), generator)
        images = self._rebuilt(images, generator)
        images = tint(images, draw.amount(s.tint, s.tint_most), generator)
        images = blur(images, draw.amount(s.blur, s.blur_most))
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        images = images + noise * draw.amount(s.noise, s.noise_most)[:, None, None, None]
        images = images.clamp(0, 1)
        coded = jpeg(images, s.jpeg_least + (95.0 - s.jpeg_least) * draw.uniform())
        return torch.where(draw.rows(s.jpeg)[:, None, None, None], coded, images), labels

    def _rebuilt(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The first pictures through the autoencoder; the batch is in no order."""
        many = round(len(images) * self.settings.rebuild)
        if self.rebuild is None or not many:
            return images
        scales = len(grids_of(images.shape[-1]))
        flips = random_flips(many, scales, generator, self.settings.flip_most)
        flips[::2] = 0.0
        fixed = torch.rand(many, generator=generator, device=images.device) < 0.5
        made = self.rebuild(images[:many], flips, fixed, generator)
        return torch.cat([made.float(), images[many:]])


class _Draw:
    """Chance for each picture of a batch."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count, self._generator = count, generator

    def uniform(self) -> Tensor:
        return torch.rand(self._count, generator=self._generator, device=self._generator.device)

    def rows(self, chance: float) -> Tensor:
        """Which pictures are meant: bool [B]."""
        return self.uniform() < chance

    def amount(self, chance: float, most: float) -> Tensor:
        """Up to ``most`` for those that are meant, 0 for the others."""
        return self.uniform() * most * self.rows(chance)


def tint(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and channel gains by about ``amount`` [B]."""
    count, device = len(images), images.device
    strength = amount[:, None, None, None]
    noise = torch.rand((count, 5, 1, 1), generator=generator, device=device) * 2 - 1
    gain = 1 + strength * (noise[:, :1] + 0.5 * noise[:, 1:4])
    return ((images - 0.5) * gain + 0.5 + strength * 0.7 * noise[:, 4:]).clamp(0, 1)


def cover(
    images: Tensor, labels: Labels, rows: Tensor, generator: torch.Generator
) -> tuple[Tensor, Labels]:
    """Lay a rectangle over those pictures; what it hides is no longer there."""
    count, device, size = len(images), images.device, images.shape[-1]
    side = 0.1 + 0.3 * torch.rand((count, 2), generator=generator, device=device)
    first = torch.rand((count, 2), generator=generator, device=device) * (1 - side)
    last = first + side
    place = (torch.arange(size, device=device) + 0.5) / size
    inside = (place >= first[..., None]) & (place < last[..., None])
    mask = (inside[:, 1, :, None] & inside[:, 0, None, :] & rows[:, None, None])[:, None]
    paint = torch.rand((count, 3, 1, 1), generator=generator, device=device)
    grain = torch.rand((count, 1, 1, 1), generator=generator, device=device) * 0.3
    grain = grain * torch.randn((count, 3, size, size), generator=generator, device=device)
    images = torch.where(mask, (paint + grain).clamp(0, 1), images)
    low = torch.maximum(labels.centre - labels.size / 2, first[:, None])
    high = torch.minimum(labels.centre + labels.size / 2, last[:, None])
    shared = (high - low).clamp_min(0).prod(-1) / labels.size.prod(-1).clamp_min(1e-6)
    shared = shared * rows[:, None]
    there = labels.state
    hurt = torch.where(shared > _COVERED[0], there.clamp_max(IGNORED), there)
    gone = torch.where(shared > _COVERED[1], torch.full_like(there, ABSENT), hurt)
    return images, labels.changed(state=torch.where(there == PRESENT, gone, there))
