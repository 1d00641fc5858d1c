"""The judge's feature maps, as coordinates in which pictures are compared.

A picture is looked at twice: as a whole, at the size that the judge was trained on, and in tiles of
that size at its own resolution, where details of large pictures are not averaged away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .compositional.detector import Detector
from .compositional.judge import Judge, resized
from .metrics import as_pictures

_PIECE = 64
"""Pictures or tiles that pass through the network at once."""
UNIT = 1e-8


def level_maps(detector: Detector, images: Tensor) -> list[Tensor]:
    """The maps behind the residual blocks of strides 4, 8, 16 and 32: [B, C, h, w] each.

    Args:
        images: RGB [B, 3, S, S] in 0-1, S the detector's input size.
    """
    x = detector.stem((images - 0.5).contiguous(memory_format=torch.channels_last) * 4.0)
    found = []
    for index, level in enumerate(detector.levels):
        x = level(detector.downs[index - 1](x) if index else x)
        found.append(x)
    return found


def tiles(images: Tensor, side: int) -> Tensor:
    """Square pictures [B, C, S, S] cut into tiles [B n n, C, side, side], picture by picture.

    S is brought to the nearest multiple of ``side`` first.
    """
    count = max(1, round(images.shape[-1] / side))
    images = resized(images, count * side)
    cut = images.unflatten(3, (count, side)).unflatten(2, (count, side))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


@dataclass(frozen=True)
class JudgeFeatures:
    """Features of the judge's network.

    ``whole`` is made of a deep level of the whole picture and says what is on it; ``fine`` of the
    first levels of its tiles, mean and spread, and says how it is drawn.
    """

    judge: Judge

    @torch.no_grad()
    def whole(self, images: Tensor) -> Tensor:
        """Means of the stride-16 maps: [B, 160] float32.

        Args:
            images: RGB [B, 3, S, S], uint8 or float in 0-1.
        """
        ready = self.judge._ready(images)
        parts = [F.adaptive_avg_pool2d(level_maps(self.judge.detector, piece)[2].float(), 1)
                 for piece in ready.split(_PIECE)]
        return torch.cat(parts).flatten(1)

    @torch.no_grad()
    def fine(self, images: Tensor) -> Tensor:
        """Mean and spread of the maps of strides 4 and 8 over all tiles: [B, 2 x (48 + 96)]."""
        pictures = as_pictures(images).to(self.judge.device)
        out = []
        for one in pictures.split(max(1, _PIECE * 256**2 // pictures.shape[-1] ** 2)):
            cut = tiles(one, self.judge.detector.config.input_size)
            maps = [level_maps(self.judge.detector, piece)[:2] for piece in cut.split(_PIECE)]
            for_each = len(cut) // len(one)
            columns = []
            for level in zip(*maps, strict=True):
                flat = torch.cat(level).float().flatten(2).unflatten(0, (len(one), for_each))
                columns += [flat.mean((1, 3)), flat.std((1, 3))]
            out.append(torch.cat(columns, 1))
        return torch.cat(out)

    @torch.no_grad()
    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """How differently the judge sees two pictures, in the manner of LPIPS: [B] float32.

        At every place of every level the channels are brought to unit length; what is returned is
        the squared distance, averaged over the places and summed over the levels (Zhang et al.
        2018), here without learned weights, since no package ships those with their network. Taken
        over the tiles at the pictures' own resolution. 0 for equal pictures.

        Args:
            a, b: RGB [B, 3, S, S] of one shape, uint8 or float in 0-1.
        """
        a, b = as_pictures(a).to(self.judge.device), as_pictures(b).to(self.judge.device)
        if a.shape != b.shape:
            raise ValueError(f"pictures differ: {tuple(a.shape)} and {tuple(b.shape)}")
        side, out = self.judge.detector.config.input_size, []
        for one, other in zip(a.split(4), b.split(4), strict=True):
            mine, theirs = tiles(one, side), tiles(other, side)
            levels = self._apart(mine, theirs)
            out.append(levels.unflatten(0, (len(one), -1)).mean(1))
        return torch.cat(out)

    def _apart(self, a: Tensor, b: Tensor) -> Tensor:
        parts = []
        for one, other in zip(a.split(_PIECE), b.split(_PIECE), strict=True):
            pairs = zip(level_maps(self.judge.detector, one),
                        level_maps(self.judge.detector, other), strict=True)
            parts.append(torch.stack([unit_distance(x, y) for x, y in pairs]).sum(0))
        return torch.cat(parts)


def unit_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of unit channel vectors, averaged over places: [B, C, h, w] twice -> [B]."""
    x, y = (F.normalize(t.float(), dim=1, eps=UNIT) for t in (a, b))
    return (x - y).square().sum(1).mean((1, 2))

