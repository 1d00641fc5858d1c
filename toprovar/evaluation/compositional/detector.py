"""The judge's network: class heatmaps, colours and boxes of the objects in a picture."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
"""Picture pixels a side that one cell of the maps stands for."""
_RARE = 0.01
_USUAL_SIDE = 0.4


@dataclass(frozen=True)
class DetectorConfig:
    """Shape of a detector.

    Attributes:
        classes, colours: how many of each it tells apart.
        widths: channels at strides 4, 8, 16 and 32.
        blocks: residual blocks there.
        neck: channels of the merged maps at stride 8.
        input_size: side of the pictures it was trained on; others are resized to it.
    """

    classes: int
    colours: int
    widths: tuple[int, int, int, int] = (48, 96, 160, 224)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 1)
    neck: int = 96
    input_size: int = 256

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or len(self.blocks) != 4:
            raise ValueError("widths and blocks need one number for each of the four strides")
        if min(self.classes, self.colours, self.neck, *self.widths) < 1:
            raise ValueError(f"counts and widths must be positive, got {self}")
        if self.input_size < 32 or self.input_size % 32:
            raise ValueError(f"input_size must be a multiple of 32, got {self.input_size}")

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorConfig:
        ready: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**ready)


@dataclass(frozen=True)
class Maps:
    """What the network says of every cell, h = w = input_size / 8.

    Attributes:
        heat: [B, classes, h, w], logits of "an object of this class is centred here".
        colour: [B, colours, h, w], logits of "it has this colour".
        size: [B, 2, h, w], log of its width and height as shares of the picture's side.
        offset: [B, 2, h, w], its centre's x and y from the middle of the cell, in cells.
    """

    heat: Tensor
    colour: Tensor
    size: Tensor
    offset: Tensor


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel: quick in channels-last memory, no statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        rows = F.layer_norm(rows, (x.shape[1],), self.weight, self.bias, 1e-5)
        return rows.permute(0, 3, 1, 2)


class Residual(nn.Module):
    """x + conv(silu(conv(norm(x)))); the last convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class Detector(nn.Module):
    """A small pyramid: down to stride 32, then merged back up to stride 8."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        first, *later = config.widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, first // 2, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(first // 2, first, 3, stride=2, padding=1),
        )
        self.levels = nn.ModuleList()
        self.downs = nn.ModuleList()
        before = first
        for width, blocks in zip(config.widths, config.blocks, strict=True):
            if self.levels:
                down = nn.Conv2d(before, width, 3, stride=2, padding=1)
                self.downs.append(nn.Sequential(ChannelNorm(before), down))
            self.levels.append(nn.Sequential(*(Residual(width) for _ in range(blocks))))
            before = width
        self.laterals = nn.ModuleList(
            nn.Sequential(ChannelNorm(width), nn.Conv2d(width, config.neck, 1)) for width in later
        )
        self.merge = nn.Sequential(Residual(config.neck), ChannelNorm(config.neck))
        self.trunk = nn.Conv2d(config.neck, config.neck, 3, padding=1)
        self.parts = (config.classes, config.colours, 2, 2)
        self.head = nn.Conv2d(config.neck, sum(self.parts), 1)
        self._prime()

    def _prime(self) -> None:
        """Start at "hardly anything anywhere, of usual size", which keeps the first steps calm."""
        if self.head.bias is None:
            raise RuntimeError("the head needs a bias")
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            heat, colour, size, offset = self.head.bias.split(self.parts)
            heat.fill_(math.log(_RARE / (1 - _RARE)))
            colour.fill_(math.log(_RARE * 10 / (1 - _RARE * 10)))
            size.fill_(math.log(_USUAL_SIDE))
            offset.zero_()

    def forward(self, images: Tensor) -> Maps:
        """Maps of RGB pictures [B, 3, S, S] in 0-1, S = ``config.input_size``."""
        size = self.config.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise ValueError(
                f"pictures must be [B, 3, {size}, {size}], got {list(images.shape)}"
            )
        x = self.stem((images - 0.5).contiguous(memory_format=torch.channels_last) * 4.0)
        found = []
        for index, level in enumerate(self.levels):
            x = level(self.downs[index - 1](x) if index else x)
            found.append(x)
        merged = self.laterals[2](found[3])
        for index in (1, 0):
            up = F.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = up + self.laterals[index](found[index + 1])
        heat, colour, box, offset = self.head(F.silu(self.trunk(self.merge(merged)))).split(
            self.parts, dim=1
        )
        return Maps(heat, colour, box, offset)
