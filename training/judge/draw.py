"""Detections drawn on pictures, to be judged by eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from toprovar.evaluation.compositional.decode import Detection


def drawn(images: Tensor, found: Sequence[Sequence[Detection]]) -> Tensor:
    """RGB pictures [B, 3, S, S] in 0-1 with boxes, as uint8."""
    out = []
    pictures = (images.float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    for picture, detections in zip(pictures, found, strict=True):
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        pen = ImageDraw.Draw(image)
        size = image.width
        for d in detections:
            left, top, right, bottom = (value * (size - 1) for value in d.box)
            pen.rectangle((left, top, right, bottom), outline=(255, 0, 255), width=2)
            text = f"{d.colour or '-'} {d.cls} {d.score:.2f}"
            wide = 6 * len(text) + 2
            x = min(max(0.0, left), size - wide)
            pen.rectangle((x, top, x + wide, top + 11), fill=(0, 0, 0))
            pen.text((x + 1, top), text, fill=(255, 255, 255))
        out.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
    return torch.stack(out)
