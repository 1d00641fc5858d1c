"""The detail task: does a drawn object have the parts of its sprite?

An object is aligned with its sprite first, by scale and shift, as a whole. Then every part (an eye,
a wheel, a stem) is looked for around its place: it may be a little off, since hands are allowed to
be, but where it is it must look like the part, in shape and in contrast. A ghost of half the
contrast has an error of a quarter, a flat spot of 1, something else more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .compositional.decode import Box

FRAME = 256
"""Pixels along an aligned sprite's square."""
MARGIN = 0.125
"""Of a window around the square, on each side, as a share of it."""
WINDOW = round(FRAME * (1 + 2 * MARGIN))
_COARSE = tuple(1.045**step for step in range(-5, 6))
_NEAR = (0.97, 0.985, 1.0, 1.015, 1.03)


@dataclass(frozen=True)
class Limits:
    """Fixed on composed scenes and their reconstructions, before any comparison of methods.

    Attributes:
        error: most error of a part that is there.
        reach: how far a part may be from its place, as a share of the sprite's side.
        contrast: a part whose own standard deviation, over a picture's range of 1, is less than
            this on its ground is not looked for.
    """

    error: float = 0.35
    reach: float = 0.05
    contrast: float = 0.03


@dataclass(frozen=True)
class Template:
    """A sprite in the middle of a window, as it would be drawn over any ground.

    Attributes:
        colour: [3, WINDOW, WINDOW] float32 in 0-1, premultiplied by alpha.
        alpha, shade: [WINDOW, WINDOW], coverage, and how much its shadow darkens the ground.
    """

    colour: Tensor
    alpha: Tensor
    shade: Tensor

    def __post_init__(self) -> None:
        wanted = ((3, WINDOW, WINDOW), (WINDOW, WINDOW), (WINDOW, WINDOW))
        found = tuple(tuple(t.shape) for t in (self.colour, self.alpha, self.shade))
        if found != wanted:
            raise ValueError(f"a template's planes must be {wanted}, got {found}")

    def over(self, ground: Tensor) -> Tensor:
        """Over a ground of one colour [3]: [3, WINDOW, WINDOW]."""
        floor = ground[:, None, None] * (1 - self.shade)
        return self.colour + (1 - self.alpha) * floor


@dataclass(frozen=True)
class Place:
    """Where a sprite's square lies on a picture, in shares of the picture's side."""

    cx: float
    cy: float
    side: float


@dataclass(frozen=True)
class Aligned:
    """A sprite found on a picture.

    Attributes:
        place: where; likeness: correlation of the window with the sprite there, up to 1.
        picture: [3, WINDOW, WINDOW], what the picture shows there.
        wanted: the same of the sprite over the picture's ground.
    """

    place: Place
    likeness: float
    picture: Tensor
    wanted: Tensor


@torch.no_grad()
def align(picture: Tensor, template: Template, guess: Place) -> Aligned:
    """The scale and shift at which the sprite fits the picture best, near a guess.

    Args:
        picture: RGB [3, S, S] float in 0-1.
        guess: may be off by a fifth in size and an eighth in place.
    """
    # Small objects are blurred by growing them, so the sprite is made as small first.
    native = max(8, round(guess.side * picture.shape[-1] * (1 + 2 * MARGIN)))
    ready = _at_resolution(template, native)
    place, score = guess, 0.0
    for side, ladder in ((WINDOW // 4, _COARSE), (WINDOW // 2, _NEAR)):
        place, score = _search(picture, ready, place, side, ladder)
    shown = cut(picture, place, WINDOW)
    return Aligned(place, score, shown, ready.over(_ground(shown)))


def cut(picture: Tensor, place: Place, pixels: int) -> Tensor:
    """The window around a place, resampled to ``pixels`` a side; the edge goes on outside."""
    side = place.side * (1 + 2 * MARGIN)
    scale = side * picture.shape[-1] / pixels
    if scale > 1.0:  # bilinear sampling would skip pixels
        size = max(8, round(picture.shape[-1] / scale))
        picture = F.interpolate(picture[None], (size, size), mode="bilinear", antialias=True,
                                align_corners=False)[0]
    theta = picture.new_tensor([[side, 0.0, 2 * place.cx - 1], [0.0, side, 2 * place.cy - 1]])
    grid = F.affine_grid(theta[None], [1, 3, pixels, pixels], align_corners=False)
    return F.grid_sample(picture[None], grid, mode="bilinear", padding_mode="border",
                         align_corners=False)[0]


def _at_resolution(template: Template, native: int) -> Template:
    """As sharp as a sprite is whose window has ``native`` pixels a side."""
    if native >= WINDOW:
        return template
    planes = torch.cat([template.colour, template.alpha[None], template.shade[None]])[None]
    small = F.interpolate(planes, (native, native), mode="bilinear", antialias=True,
                          align_corners=False)
    back = F.interpolate(small, (WINDOW, WINDOW), mode="bilinear", align_corners=False)[0]
    return Template(back[:3], back[3], back[4])


def _ground(window: Tensor) -> Tensor:
    """The colour around a sprite's square: [3], the median of the window's rim."""
    rim = round(window.shape[-1] * MARGIN / (1 + 2 * MARGIN))
    inner = torch.zeros_like(window[0], dtype=torch.bool)
    inner[rim:-rim, rim:-rim] = True
    return window[:, ~inner].median(1).values


def _search(
    picture: Tensor, template: Template, place: Place, side: int, ladder: Sequence[float]
) -> tuple[Place, float]:
    """The best scale of the ladder and shift of whole pixels of a window of ``side`` pixels."""
    shown = cut(picture, place, side)
    ground = _ground(shown)
    difference = shown - ground[:, None, None]
    wanted = (template.over(ground) - ground[:, None, None])[None]
    wanted = F.interpolate(wanted, (side, side), mode="bilinear", antialias=True,
                           align_corners=False)
    scales = picture.new_tensor(list(ladder))
    theta = torch.zeros(len(ladder), 2, 3, device=picture.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scales
    grid = F.affine_grid(theta, [len(ladder), 3, side, side], align_corners=False)
    sprites = F.grid_sample(wanted.expand(len(ladder), -1, -1, -1), grid, mode="bilinear",
                            padding_mode="zeros", align_corners=False)
    padded = 2 * side
    spectrum = torch.fft.rfft2(difference, s=(padded, padded))
    others = torch.fft.rfft2(sprites, s=(padded, padded)).conj()
    product = torch.fft.irfft2((spectrum * others).sum(1), s=(padded, padded))
    sizes = sprites.square().sum((1, 2, 3)).sqrt() * difference.square().sum().sqrt()
    score = product / sizes.clamp_min(1e-6)[:, None, None]
    reach = round(side * MARGIN / (1 + 2 * MARGIN))
    near = torch.arange(-reach, reach + 1, device=picture.device)
    score = score[:, near % padded][:, :, near % padded]
    best = int(score.argmax())
    step, rest = divmod(best, score[0].numel())
    down, right = (int(near[i]) for i in divmod(rest, len(near)))
    unit = place.side * (1 + 2 * MARGIN) / side
    found = Place(place.cx + right * unit, place.cy + down * unit, place.side * ladder[step])
    return found, float(score.flatten()[best])


@torch.no_grad()
def part_error(found: Aligned, box: Box, limits: Limits) -> float | None:
    """Least error of a part around its place: 0 the same, 1 a flat spot, more for something else.

    The squared difference of picture and sprite inside the box, over that of the sprite and its
    mean; means of the channels are taken off both, so that a lighter or darker picture is none.

    Args:
        box: left, top, right, bottom as shares of the sprite's square.

    Returns:
        None where the part hardly stands out on this ground.
    """
    rim = (WINDOW - FRAME) // 2
    left, top, right, bottom = (round(v * FRAME) + rim for v in box)
    wanted = found.wanted[:, top:bottom, left:right]
    wanted = wanted - wanted.mean((1, 2), keepdim=True)
    energy = wanted.square().sum()
    count = wanted[0].numel()
    if float(energy) < limits.contrast**2 * 3 * count:
        return None
    reach = min(round(limits.reach * FRAME), rim)
    area = found.picture[None, :, top - reach : bottom + reach, left - reach : right + reach]
    cross = F.conv2d(area, wanted[None])
    shape = wanted.shape[-2:]
    square = F.avg_pool2d(area.square(), shape, stride=1) * count
    total = F.avg_pool2d(area, shape, stride=1) * count
    own = (square - total.square() / count).sum(1, keepdim=True)
    return float(((own - 2 * cross + energy) / energy).min().clamp_min(0))
