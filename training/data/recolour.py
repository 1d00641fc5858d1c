"""Moving the dominant hue of a sprite to another colour, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.data.colours import ObjectColour

_BINS = 72
_MIN_SATURATION = 0.18
_LUMA = (0.299, 0.587, 0.114)


def hue_saturation(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Hue in degrees [0, 360) and HSV saturation 0–1 of ``rgb`` [3, H, W], float 0–1."""
    high, _ = rgb.max(dim=0)
    low, _ = rgb.min(dim=0)
    chroma = high - low
    safe = chroma.clamp_min(1e-6)
    red, green, blue = rgb.unbind(0)
    hue = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    hue = torch.where(chroma > 1e-6, (hue * 60.0) % 360.0, torch.zeros_like(hue))
    return hue, chroma / high.clamp_min(1e-6)


def dominant_hue(rgba: Tensor) -> float:
    """Hue in degrees that covers most of a straight-alpha sprite [4, H, W], float 0–1."""
    hue, saturation = hue_saturation(rgba[:3])
    weight = rgba[3] * saturation * (saturation > _MIN_SATURATION)
    bins = (hue / 360.0 * _BINS).long().clamp(0, _BINS - 1)
    histogram = torch.zeros(_BINS, dtype=torch.float64)
    histogram.index_add_(0, bins.flatten().cpu(), weight.flatten().double().cpu())
    around = torch.stack([histogram.roll(step) for step in (-3, -2, -1, 0, 1, 2, 3)]).sum(dim=0)
    centre = int(around.argmax())
    # The weighted mean offset around the peak is finer than the bins.
    offset = (hue - (centre + 0.5) * 360.0 / _BINS + 180.0) % 360.0 - 180.0
    near = weight * (offset.abs() < 20.0)
    mean = float((offset * near).sum() / near.sum().clamp_min(1e-6))
    return ((centre + 0.5) * 360.0 / _BINS + mean) % 360.0


def hue_mask(rgba: Tensor, band: tuple[float, float], hue: float | None = None) -> Tensor:
    """How much of each pixel belongs to the dominant hue: [H, W], 0–1, soft at its borders.

    ``band`` is the range of hues that belong, in degrees from ``hue`` (measured when None).
    Unsaturated pixels stay out, and so do those much darker than the surface, whose hue is noise.
    """
    centre = dominant_hue(rgba) if hue is None else hue
    hues, saturation = hue_saturation(rgba[:3])
    away = (hues - centre + 180.0) % 360.0 - 180.0
    inside = _smooth((band[1] - away) / 8.0 + 0.5) * _smooth((away - band[0]) / 8.0 + 0.5)
    inside = inside * _smooth((saturation - 0.10) / 0.20)
    value = rgba[:3].amax(dim=0)
    surface = value[(inside > 0.6) & (rgba[3] > 0.9)]
    if surface.numel():
        inside = inside * _smooth((value / surface.median() - 0.35) / 0.25)
    # The art is stored with coarse chroma, so borders between hues are ragged; this evens them.
    both = torch.stack([inside * rgba[3], rgba[3]])
    weighted, alpha = functional.avg_pool2d(both, 3, stride=1, padding=1).unbind(0)
    return weighted / alpha.clamp_min(1e-4)


def covered(rgba: Tensor, band: tuple[float, float], hue: float | None = None) -> float:
    """Share of the sprite's visible area that a recolouring would move, 0–1."""
    alpha = rgba[3]
    return float((hue_mask(rgba, band, hue) * alpha).sum() / alpha.sum().clamp_min(1e-6))


def recolour(
    rgba: Tensor, colour: ObjectColour, band: tuple[float, float], hue: float | None = None
) -> Tensor:
    """Paint the dominant hue of a straight-alpha sprite [4, H, W] (float 0–1) in ``colour``.

    The surface's own light and shade pick the place on the colour's ramp; alpha stays as it is.
    """
    mask = hue_mask(rgba, band, hue)
    luma = (rgba[:3] * rgba.new_tensor(_LUMA)[:, None, None]).sum(dim=0)
    surface = luma[(mask > 0.6) & (rgba[3] > 0.9)]
    if surface.numel() == 0:
        raise ValueError("the sprite has no saturated area to recolour; mark it recolour: false")
    low, middle, high = torch.quantile(surface.float(), rgba.new_tensor([0.02, 0.5, 0.98]))
    # A flat surface must stay flat, so the range of its shades has a least width.
    shade = ((middle - luma) / (middle - low).clamp_min(0.22)).clamp(0.0, 1.0)[None]
    light = ((luma - middle) / (high - middle).clamp_min(0.22)).clamp(0.0, 1.0)[None]
    ends = rgba.new_tensor([colour.shadow, colour.middle, colour.light]) / 255.0
    ramp = ends[1][:, None, None] + shade * (ends[0] - ends[1])[:, None, None]
    ramp = ramp + light * (ends[2] - ends[1])[:, None, None]
    rgb = torch.lerp(rgba[:3], ramp, mask[None])
    return torch.cat([rgb, rgba[3:]])


def _smooth(value: Tensor) -> Tensor:
    value = value.clamp(0.0, 1.0)
    return value * value * (3.0 - 2.0 * value)
