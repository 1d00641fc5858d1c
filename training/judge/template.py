"""A second opinion without learning: normalised cross-correlation with the atlas's sprites.

The background is fitted along the edge and taken off; then every sprite, in every colour and at
a ladder of sizes, is compared with every place. It shares nothing with the detector but the art.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.evaluation.compositional.decode import Box, Detection
from training.data.atlas import SpriteAtlas
from training.data.catalog import load_classes
from training.data.colours import COLOUR_NAMES

_SIDE = 64
_PAD = 8
_RING = 0.06
"""Width of the empty ring around a sprite that must be empty in the picture too."""
_SIZES = tuple(0.20 * 1.09**step for step in range(19))
_LEAST = 0.80
_OVERLAP = 0.10
_MOST = 6


class TemplateMatcher:
    """Finds the atlas's sprites in pictures with smooth backgrounds."""

    def __init__(self, atlas: SpriteAtlas, sizes: Sequence[float] = _SIZES) -> None:
        self._inner = [max(4, round(size * _SIDE)) for size in sizes]
        self._names: list[tuple[int, str | None]] = []
        picked = []
        for index, entry in enumerate(load_classes()):
            natural = next((c for c in entry.natural if c in COLOUR_NAMES), None)
            self._names.append((index, natural))
            picked.append(atlas.sprites[index, 0])
            for variant, colour in enumerate(COLOUR_NAMES, start=1):
                if entry.recolour and colour in entry.sayable() and colour not in entry.natural:
                    self._names.append((index, colour))
                    picked.append(atlas.sprites[index, variant])
        self._sprites = torch.stack(picked).float() / 255.0
        self._extent = atlas.extent.tolist()
        self._classes = [entry.name for entry in load_classes()]

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[list[Detection]]:
        """Detections on RGB pictures [B, 3, S, S] in 0-1, surest first."""
        small = F.interpolate(images.to(self._sprites.device), (_SIDE, _SIDE), mode="area")
        ground = background(small)
        scores, which = [], []
        padded = F.pad(small - ground, [_PAD] * 4)
        for sprites, inner in self._ladder():
            best, name = _correlated(padded, ground.mean((2, 3)), sprites, inner)
            scores.append(best)
            which.append(name)
        stacked, named = torch.stack(scores, 1), torch.stack(which, 1)
        return [self._picked(s, n) for s, n in zip(stacked.cpu(), named.cpu(), strict=True)]

    def _ladder(self) -> Iterator[tuple[Tensor, int]]:
        """Sprites at every size, and the side of their square in pixels."""
        for inner in self._inner:
            yield F.interpolate(self._sprites, (inner, inner), mode="area"), inner

    def _picked(self, scores: Tensor, named: Tensor) -> list[Detection]:
        """Greedy choice from scores [sizes, P, P] by the window's first pixel."""
        inner = torch.tensor(self._inner).float()
        ring = (inner * _RING).ceil()
        place = torch.arange(scores.shape[-1]).float() - _PAD
        left = (place[None, :] + ring[:, None])[:, None, :].expand_as(scores)
        top = (place[None, :] + ring[:, None])[:, :, None].expand_as(scores)
        side = inner[:, None, None].expand_as(scores)
        left_over = scores.clone()
        inside = (left >= -1) & (top >= -1)
        inside &= (left + side <= _SIDE + 1) & (top + side <= _SIDE + 1)
        left_over[~inside] = -1.0
        found: list[Detection] = []
        while len(found) < _MOST and float(left_over.max()) >= _LEAST:
            flat = int(left_over.argmax())
            x, y, k = (float(t.flatten()[flat]) for t in (left, top, side))
            cls, colour = self._names[int(named.flatten()[flat])]
            score = min(1.0, float(left_over.flatten()[flat]))
            found.append(
                Detection(self._classes[cls], colour, score, self._box(cls, x, y, k))
            )
            wide = torch.minimum(left + side, left.new_tensor(x + k)) - left.clamp_min(x)
            high = torch.minimum(top + side, top.new_tensor(y + k)) - top.clamp_min(y)
            common = wide.clamp_min(0) * high.clamp_min(0)
            # Also what lies inside the found one, which intersection over union would let pass.
            left_over[common / side.square().clamp_max(k * k) > _OVERLAP] = -1.0
        return found

    def _box(self, cls: int, x: float, y: float, side: float) -> Box:
        """The visible part's box as shares of the picture."""
        wide, high = (side * share / 2 for share in self._extent[cls])
        cx, cy = x + side / 2, y + side / 2
        return (cx - wide) / _SIDE, (cy - high) / _SIDE, (cx + wide) / _SIDE, (cy + high) / _SIDE


def background(images: Tensor) -> Tensor:
    """A plane plus a cone through the pixels along the edge: what a graded ground looks like."""
    size, device = images.shape[-1], images.device
    place = (torch.arange(size, device=device) + 0.5) / size - 0.5
    x, y = place.repeat(size), place.repeat_interleave(size)
    terms = torch.stack([torch.ones_like(x), x, y, (x.square() + y.square()).sqrt()], 1)
    edge = (x.abs().maximum(y.abs()) > 0.5 - 1.5 / size)
    rows = terms[edge].expand(len(images), -1, -1)
    values = images.flatten(2)[:, :, edge].transpose(1, 2)
    weight = torch.ones_like(values[..., :1])
    fitted = terms.new_zeros(())
    for _ in range(4):
        gram = (rows * weight).transpose(1, 2) @ rows + 1e-4 * torch.eye(4, device=device)
        fitted = torch.linalg.solve(gram, (rows * weight).transpose(1, 2) @ values)
        off = (rows @ fitted - values).abs().amax(2, keepdim=True)
        weight = 1.0 / (1.0 + (off / 0.03).square())
    return (terms @ fitted).transpose(1, 2).unflatten(2, (size, size))


def _correlated(
    padded: Tensor, ground: Tensor, sprites: Tensor, inner: int
) -> tuple[Tensor, Tensor]:
    """Best score of all sprites at every first pixel, and which sprite it is: two [B, P, P].

    A sprite over the ground differs from it by colour x alpha - ground x alpha, so the template
    of each picture is a mixture of the same four planes.
    """
    side, ring = padded.shape[-1], -int(-inner * _RING // 1)
    window = inner + 2 * ring
    planes = F.pad(sprites, (ring, side - inner - ring, ring, side - inner - ring))
    spectrum = torch.fft.rfft2(planes).conj()
    picture = torch.fft.rfft2(padded)
    power = F.pad(padded.square().sum(1, keepdim=True), (0, window - 1, 0, window - 1))
    power = F.avg_pool2d(power, window, stride=1)[:, 0] * window**2
    colour, alpha = sprites[:, :3], sprites[:, 3]
    own = colour.square().sum((1, 2, 3))
    cross = (colour * alpha[:, None]).sum((2, 3))
    flat = alpha.square().sum((1, 2))
    best, name = [], []
    for index in range(len(padded)):
        tint = ground[index]
        tinted = (picture[index] * tint[:, None, None]).sum(0)
        product = (picture[index] * spectrum[:, :3]).sum(1) - tinted * spectrum[:, 3]
        match = torch.fft.irfft2(product, (side, side))
        energy = own - 2 * cross @ tint + flat * tint.square().sum()
        score = match / (energy[:, None, None] * power[index] + 1e-6).clamp_min(1e-6).sqrt()
        top, which = score.max(0)
        best.append(top)
        name.append(which)
    return torch.stack(best), torch.stack(name)
