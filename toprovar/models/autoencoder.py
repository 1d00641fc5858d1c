"""The BSQ autoencoder: pictures to latents and back (convolutions only, no attention)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .config import AutoencoderConfig, group_count
from .decoding import drop_stale, finish_image, runner_of, why_plain
from .tiling import decode_tiled


class ResidualBlock(nn.Module):
    """norm, swish, conv, norm, swish, conv, plus the input (through 1x1 if widths differ)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(group_count(channels), channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(group_count(out_channels), out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class Downsample(nn.Module):
    """Halves the size: pad right and bottom by one, then a stride-2 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the size: nearest, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution and the step to the next."""

    def __init__(self, widths: list[int], step: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b) for a, b in pairwise(widths)
        )
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.step is None else self.step(x)


class Encoder(nn.Module):
    def __init__(self, c: AutoencoderConfig) -> None:
        super().__init__()
        widths = c.level_widths
        self.conv_in = nn.Conv2d(c.image_channels, c.base_channels, 3, padding=1)
        self.levels = nn.ModuleList()
        before = c.base_channels
        for i, width in enumerate(widths):
            step = Downsample(width) if i < c.downsamplings else None
            self.levels.append(Level([before] + [width] * c.blocks_per_level, step))
            before = width
        self.mid = nn.ModuleList(ResidualBlock(before, before) for _ in range(2))
        self.norm_out = nn.GroupNorm(group_count(before), before, eps=1e-6)
        self.conv_out = nn.Conv2d(before, c.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for module in (*self.levels, *self.mid):
            x = module(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """Mirror of the encoder; ``levels`` are numbered as there and run from last to first."""

    def __init__(self, c: AutoencoderConfig) -> None:
        super().__init__()
        widths = c.level_widths
        self.conv_in = nn.Conv2d(c.latent_channels, widths[-1], 3, padding=1)
        self.mid = nn.ModuleList(ResidualBlock(widths[-1], widths[-1]) for _ in range(2))
        self.levels = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[min(i + 1, len(widths) - 1)]
            step = Upsample(width) if 1 <= i <= c.downsamplings else None
            self.levels.append(Level([before] + [width] * (c.blocks_per_level + 1), step))
        self.norm_out = nn.GroupNorm(group_count(widths[0]), widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], c.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z)
        for module in (*self.mid, *reversed(list(self.levels))):
            x = module(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class InfinityAutoencoder(ModelMixin, ConfigMixin):
    """The autoencoder with binary spherical quantisation (BSQ): it makes codes of pixels, and
    pixels of codes.

    Args:
        latent_channels: the number of bits of a latent pixel, d.
        base_channels: the width of the finest level.
        channel_multipliers: the width of each level as a multiple of ``base_channels``, from the
            finest level on.
        blocks_per_level: how many residual blocks a level of the encoder has; the decoder has one
            more.
        stride: how many pixels of the picture a latent pixel stands for, along each side.
        stem_patch: how many pixels along each side are folded into channels before the first
            convolution. 1 = none, as in every released model.

    Raises:
        ValueError: the numbers do not go together.
    """

    _supports_gradient_checkpointing = False
    _no_split_modules: ClassVar[list[str]] = ["Level"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int,
        base_channels: int = 128,
        channel_multipliers: tuple[int, ...] = (1, 2, 4, 4, 4),
        blocks_per_level: int = 2,
        stride: int = 16,
        stem_patch: int = 1,
    ) -> None:
        super().__init__()
        self.shape = AutoencoderConfig(
            latent_channels, base_channels, tuple(channel_multipliers), blocks_per_level, stride,
            stem_patch,
        )
        self.encoder = Encoder(self.shape)
        self.decoder = Decoder(self.shape)

    @classmethod
    def from_shape(cls, shape: AutoencoderConfig) -> InfinityAutoencoder:
        """An autoencoder of this shape, before its weights are loaded."""
        return cls(**shape.to_dict())

    def encode(self, image: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Encode pictures. The latents are not quantised yet.

        Args:
            image: [B, 3, H, W] in [-1, 1]; H and W are multiples of the stride.
            dtype: the dtype to compute in. Where it is not that of the weights, the encoder's
                weights are copied. None = the dtype of the weights.

        Returns:
            [B, d, H / stride, W / stride].
        """
        if image.ndim != 4 or image.shape[1] != 3 or any(
            size % self.shape.stride for size in image.shape[-2:]
        ):
            raise ValueError(
                f"image has shape {tuple(image.shape)}, expected [B, 3, H, W] with H and W "
                f"multiples of {self.shape.stride}"
            )
        if self.shape.stem_patch > 1:
            image = F.pixel_unshuffle(image, self.shape.stem_patch)
        image = _channels_last(image.to(dtype or self.dtype))
        if dtype in (None, self.dtype):
            return self.encoder(image)
        weights = {name: p.to(dtype) for name, p in self.encoder.named_parameters()}
        return torch.func.functional_call(self.encoder, weights, (image,))

    def decode(
        self, codes: Tensor, tile: int | None = None, *, graph: bool | None = None
    ) -> Tensor:
        """Decode summed codes to pictures.

        Args:
            codes: [B, d, h, w].
            tile: the side, in latent pixels, of overlapping tiles that are decoded one by one. This
                needs less memory and changes pixels a little. None = decode the whole picture at
                once.
            graph: None = on an NVIDIA GPU in half precision, record the decoder as a CUDA graph
                when a shape comes for the second time, and replay it from then on. False = never.

        Returns:
            [B, 3, H, W] float32 in [-1, 1].
        """
        if codes.ndim != 4 or codes.shape[1] != self.shape.latent_channels:
            raise ValueError(
                f"codes have shape {tuple(codes.shape)}, expected "
                f"[B, {self.shape.latent_channels}, h, w]: is this the VAE of this transformer?"
            )
        def whole(codes: Tensor) -> Tensor:
            return self._decode(codes, graph)

        return whole(codes) if tile is None else \
            decode_tiled(whole, codes, tile, self.shape.stride)

    def _decode(self, codes: Tensor, graph: bool | None) -> Tensor:
        if why_plain(self) is None:
            return runner_of(self)(codes, graph)
        image = self.decoder(_channels_last(codes.to(self.dtype)))
        return finish_image(image, self.shape.stem_patch)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What torch moves and casts modules with: what was made of weights elsewhere is freed."""
        found = super()._apply(fn, recurse)
        drop_stale(self)
        return found


def _channels_last(x: Tensor) -> Tensor:
    """Convolutions follow their input's layout; this one is 2-3 times faster on a CPU."""
    return x.contiguous(memory_format=torch.channels_last)


def to_uint8(image: Tensor) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> [B, H, W, 3] uint8 RGB, truncated as in the official code."""
    return ((image + 1) / 2 * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]."""
    error = (a.float() - b.float()).square().mean().item()
    return math.inf if error == 0 else 10 * math.log10(4 / error)
