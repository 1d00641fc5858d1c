"""Known damage to composed pictures, in steps, on which the measures are validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.parts import Part, load_parts
from training.data.scene_batch import SceneBatch
from training.judge.blur import blur

STEPS = 4
"""Strengths 1 to STEPS; 0 is the picture as it is."""
_FEATHER = 0.12
"""Of a part's box, over which a patch fades in."""
_BLUR = (0.0, 0.0015, 0.003, 0.006, 0.012)
"""Standard deviations as shares of the picture's side."""
_NOISE = (0.0, 0.02, 0.04, 0.08, 0.16)
_SHARE = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the parts that are erased or exchanged."""
_SHIFT = (0.0, 0.03, 0.06, 0.12, 0.2)
"""How far parts are moved, as shares of the sprite's side: the first is within reach."""


@dataclass(frozen=True)
class Spot:
    """A part on a picture: first and last row and column, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


def spots(scenes: SceneBatch, row: int, size: int) -> list[list[Spot]]:
    """Where the parts of every object of a scene lie on a picture of ``size`` pixels."""
    found = []
    for slot in range(int(scenes.valid[row].sum())):
        side = float(scenes.size[row, slot])
        x, y = (float(c[row, slot]) - side / 2 for c in (scenes.cx, scenes.cy))
        parts = load_parts()[int(scenes.cls[row, slot])]
        found.append([_spot(part, x, y, side, size) for part in parts])
    return found


def _spot(part: Part, x: float, y: float, side: float, size: int) -> Spot:
    left, top, right, bottom = part.box
    place = [round((origin + share * side) * size)
             for origin, share in ((y, top), (y, bottom), (x, left), (x, right))]
    top_row, bottom_row, left_column, right_column = (min(max(v, 0), size) for v in place)
    return Spot(top_row, max(bottom_row, top_row + 2), left_column,
                max(right_column, left_column + 2))


def _faded(shape: tuple[int, int], like: Tensor) -> Tensor:
    """1 inside, falling to 0 at the border: [h, w]."""
    sides = []
    for length in shape:
        place = (torch.arange(length, device=like.device) + 0.5) / length
        sides.append((torch.minimum(place, 1 - place) / _FEATHER).clamp(0, 1))
    return sides[0][:, None] * sides[1]


def _paste(picture: Tensor, patch: Tensor, spot: Spot) -> None:
    """Lay a patch [3, h, w] over a spot of [3, S, S], in place; what lies outside is cut."""
    area = picture[:, spot.top : spot.bottom, spot.left : spot.right]
    height, width = area.shape[1:]
    mask = _faded(spot.shape, picture)[:height, :width]
    area.copy_(area * (1 - mask) + patch[:, :height, :width] * mask)


def _ring(picture: Tensor, spot: Spot) -> Tensor:
    """The mean colour along a spot's border: [3, 1, 1]."""
    area = picture[:, spot.top : spot.bottom, spot.left : spot.right]
    edge = torch.cat([area[:, 0], area[:, -1], area[:, :, 0], area[:, :, -1]], 1)
    return edge.median(1).values[:, None, None]


def erased(picture: Tensor, spot: Spot) -> None:
    """Paint a part over with what lies around it."""
    _paste(picture, _ring(picture, spot).expand(-1, *spot.shape), spot)


def moved(picture: Tensor, spot: Spot, pixels: int) -> None:
    """Paint a part over and lay it down beside its place."""
    patch = picture[:, spot.top : spot.bottom, spot.left : spot.right].clone()
    erased(picture, spot)
    size = picture.shape[-1]
    right = pixels if spot.right + pixels <= size else -pixels
    left = max(spot.left + right, 0)
    _paste(picture, patch, Spot(spot.top, spot.bottom, left, left + spot.shape[1]))


def exchanged(picture: Tensor, first: Spot, second: Spot) -> None:
    """Two parts in each other's place."""
    patches = [picture[:, s.top : s.bottom, s.left : s.right].clone() for s in (first, second)]
    for patch, spot in ((patches[1], first), (patches[0], second)):
        _paste(picture, F.interpolate(patch[None], spot.shape, mode="bilinear",
                                      align_corners=False, antialias=True)[0].clamp(0, 1), spot)


def _each(images: Tensor, scenes: SceneBatch, strength: int, damage: Callable[..., None]) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    out = images.clone()
    for row in range(len(out)):
        for parts in spots(scenes, row, out.shape[-1]):
            side = float(scenes.size[row, 0]) * out.shape[-1]
            chosen = [p for p in parts
                      if float(torch.rand((), generator=generator)) < _SHARE[strength]]
            damage(out[row], parts, chosen, strength, side)
    return out


def _erase(picture: Tensor, parts: list[Spot], chosen: list[Spot], strength: int, side: float
           ) -> None:
    for spot in chosen:
        erased(picture, spot)


def _move(picture: Tensor, parts: list[Spot], chosen: list[Spot], strength: int, side: float
          ) -> None:
    for spot in parts:
        moved(picture, spot, max(1, round(_SHIFT[strength] * side)))


def _exchange(picture: Tensor, parts: list[Spot], chosen: list[Spot], strength: int, side: float
              ) -> None:
    for first, second in zip(chosen[::2], chosen[1::2], strict=False):
        exchanged(picture, first, second)


def damaged(kind: str, images: Tensor, scenes: SceneBatch, strength: int) -> Tensor:
    """Pictures [B, 3, S, S] float in 0-1 of these scenes, damaged.

    Args:
        kind: one of KINDS; strength: 0 to STEPS, 0 leaves them as they are.
    """
    if kind not in KINDS or not 0 <= strength <= STEPS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)} and strength 0 to {STEPS}, got "
                         f"{kind!r}, {strength}")
    if not strength:
        return images
    if kind == "blur":
        sigma = torch.full((len(images),), _BLUR[strength] * images.shape[-1],
                           device=images.device)
        return blur(images, sigma).clamp(0, 1)
    if kind == "noise":
        generator = torch.Generator(images.device).manual_seed(8)
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        return (images + _NOISE[strength] * noise).clamp(0, 1)
    functions = {"erased parts": _erase, "moved parts": _move, "exchanged parts": _exchange}
    return _each(images, scenes.to("cpu"), strength, functions[kind])


KINDS = ("blur", "noise", "erased parts", "moved parts", "exchanged parts")
