"""What is drawn, put back into the picture that it was drawn for, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .mask import LEAST
from .source import resize_pictures


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, pictures: Tensor) -> Tensor:
        """This part of pictures [B, C, h, w]."""
        return pictures[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Paste:
    """Where drawn pixels show, and the pixels around them.

    Attributes:
        pictures: [1 or B, 3, h, w] float32 in [0, 1], the pictures as they were given.
        weight: [1 or B, 1, height, width] of ``box``: share of the drawn pixels, 0 to 1.
        box: the part of ``pictures`` that was drawn.
    """

    pictures: Tensor
    weight: Tensor
    box: Box

    def __call__(self, drawn: Any, first: int) -> Any:
        """Drawn pictures of any form (a list of PIL images, [B, H, W, 3] or [B, 3, H, W] of
        numbers from 0 to 1), those from number ``first`` on, put into their places."""
        from PIL import Image

        if isinstance(drawn, list):
            parts = [torch.from_numpy(np.array(one)).permute(2, 0, 1)[None] / 255 for one in drawn]
            pasted = self._put(torch.cat(parts), first)
            levels = (pasted * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            return [Image.fromarray(one) for one in levels]
        if isinstance(drawn, np.ndarray):
            found = self._put(torch.from_numpy(drawn).permute(0, 3, 1, 2), first)
            return np.ascontiguousarray(found.permute(0, 2, 3, 1).numpy())
        return self._put(drawn, first)

    def _put(self, drawn: Tensor, first: int) -> Tensor:
        def own(t: Tensor) -> Tensor:
            return (t if len(t) == 1 else t[first : first + len(drawn)]).to(drawn.device)

        drawn = resize_pictures(drawn, (self.box.height, self.box.width))
        result = own(self.pictures).expand(len(drawn), -1, -1, -1).clone()
        below, weight = self.box.cut(result), own(self.weight)
        # Not weighted where there is nothing to weigh, so that no rounding touches those pixels.
        below.copy_(torch.where(weight > 0, below + weight * (drawn - below), below))
        return result


def blended(mask: Tensor, blend: int) -> Tensor:
    """Weights of drawn pixels, [B, 1, h, w] in [0, 1]: the mask's own values inside of it, going to
    0 over ``blend`` pixels outside.

    Args:
        mask: from ``mask.read_mask``.
    """
    if not blend:
        return mask
    near = min(blend, *(side - 1 for side in mask.shape[-2:]))
    white = F.max_pool2d((mask > LEAST).float(), 2 * (near // 2) + 1, 1, near // 2)
    half = max(1, near // 2)
    soft = white
    for _ in range(2):  # twice a mean of half the width: no corner in the slope
        size = 2 * (half // 2) + 1
        padded = F.pad(soft, (half // 2,) * 4, mode="replicate")
        soft = F.avg_pool2d(padded, size, 1)
    return torch.maximum(soft, mask)


def box_around(mask: Tensor, padding: int, aspect: float) -> Box:
    """The white part of masks [B, 1, h, w] with ``padding`` pixels around it, widened to an aspect
    (height over width) as far as the picture goes."""
    height, width = mask.shape[-2:]
    white = (mask > LEAST).any(0)[0]
    rows, columns = white.any(1).nonzero().flatten(), white.any(0).nonzero().flatten()
    top, bottom = int(rows[0]) - padding, int(rows[-1]) + 1 + padding
    left, right = int(columns[0]) - padding, int(columns[-1]) + 1 + padding
    tall, wide = bottom - top, right - left
    if tall < wide * aspect:
        tall = round(wide * aspect)
    else:
        wide = round(tall / aspect)
    tall, wide = min(tall, height), min(wide, width)
    top = min(max(0, (top + bottom - tall) // 2), height - tall)
    left = min(max(0, (left + right - wide) // 2), width - wide)
    return Box(top, left, tall, wide)
