"""Spoiling pictures by degrees, up to where nothing is left to see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.judge.blur import blur

LEVELS = 5
_TILE = 32
_BLUR = (0.0, 3.0, 6.0, 10.0, 15.0, 24.0)
_NOISE = (0.0, 0.12, 0.25, 0.45, 0.7, 1.2)
_SCRAMBLE = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)


def blurred(images: Tensor, level: int, seed: int) -> Tensor:
    """Ever wider Gaussian blur."""
    return blur(images, torch.full((len(images),), _BLUR[level], device=images.device))


def noisy(images: Tensor, level: int, seed: int) -> Tensor:
    """The same noise, ever stronger."""
    generator = torch.Generator(images.device).manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * _NOISE[level]).clamp(0, 1)


def scrambled(images: Tensor, level: int, seed: int) -> Tensor:
    """Ever more tiles of 32 x 32 pixels change places; those of a lower level are among them."""
    count, _, high, wide = images.shape
    generator = torch.Generator(images.device).manual_seed(seed)
    tiles = images.unflatten(3, (wide // _TILE, _TILE)).unflatten(2, (high // _TILE, _TILE))
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    total = tiles.shape[1]
    order = torch.rand((count, total), generator=generator, device=images.device).argsort(1)
    many = round(total * _SCRAMBLE[level])
    chosen = order[:, :many]
    source = torch.arange(total, device=images.device).repeat(count, 1)
    source.scatter_(1, chosen, chosen.roll(1, dims=1))
    out = tiles.gather(1, source[:, :, None, None, None].expand_as(tiles))
    out = out.unflatten(1, (high // _TILE, wide // _TILE)).permute(0, 3, 1, 4, 2, 5)
    return out.flatten(4, 5).flatten(2, 3).contiguous()


KINDS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "blur": blurred, "noise": noisy, "scramble": scrambled
}
