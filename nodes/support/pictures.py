"""Pictures of plans, entropies and dropped tokens: matplotlib's where it is installed, else plain
ones by Pillow alone."""

from __future__ import annotations

import io as buffers
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .host import from_pil

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.entropy.calibration import Calibration
    from ...toprovar.models.config import TransformerConfig
    from .infinity import PlanChoice
    from .traces import Traced

CELL = 18
"""Pixels of a cell of a plain grid."""


def plan_image(choice: PlanChoice, text: str) -> Tensor:
    """A plan as IMAGE; what is planned inside the run, in words."""
    plan = choice.fixed
    if plan is None:
        return from_pil(words(text))
    if has_matplotlib():
        from ...toprovar.sparsity.plan_picture import plan_png

        return from_pil(_opened(plan_png(plan, 120)))
    return from_pil(grid([[n / s.tokens if s.run else 0.0 for n in s.keep] for s in plan.scales]))


def trace_images(traced: Traced, picture: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
    """Entropy maps of the first picture, layers and scale curve, each as IMAGE."""
    trace, summary = traced.trace, traced.summary
    if not has_matplotlib():
        last = trace.scales[-1]
        maps = trace.stack(last)[0].mean(0)
        low, high = float(maps.nan_to_num().min()), float(maps.nan_to_num().max())
        flat = (maps - low) / max(high - low, 1e-9)
        note = words("Figures need matplotlib in ComfyUI's Python: pip install matplotlib")
        return from_pil(grid(flat.tolist())), from_pil(note), from_pil(note)
    from ...toprovar.entropy.pictures import entropy_maps, layer_strip, png, rho_curve

    draw: list[Callable[[], Any]] = [
        lambda: entropy_maps(trace, picture=picture),
        lambda: layer_strip(trace, summary), lambda: rho_curve(trace, summary),
    ]
    first, second, third = (from_pil(_opened(png(make(), 110))) for make in draw)
    return first, second, third


def calibration_image(found: Calibration, shape: TransformerConfig, text: str) -> Tensor:
    """Likeness against time as IMAGE; without matplotlib what was found in words."""
    if not has_matplotlib():
        return from_pil(words(text))
    from ...toprovar.analysis.calibration_picture import calibration_figure
    from ...toprovar.entropy.pictures import png

    return from_pil(_opened(png(calibration_figure(found, shape), 110)))


def overlay_image(picture: Image.Image, kept: dict[int, Tensor]) -> Image.Image:
    """The picture with dropped tokens faded, scale by scale."""
    from ...toprovar.entropy.pictures import kept_overlay

    if not kept:
        return words("no token was dropped")
    return kept_overlay(picture, kept)


def has_matplotlib() -> bool:
    return find_spec("matplotlib") is not None


def grid(rows: list[list[float]]) -> Image.Image:
    """Shares from 0 to 1 as squares, dark = 1."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (CELL * len(rows[0]), CELL * len(rows)), "white")
    pen = ImageDraw.Draw(picture)
    for y, row in enumerate(rows):
        for x, share in enumerate(row):
            level = 240 - round(200 * min(max(share, 0.0), 1.0))
            box = (x * CELL, y * CELL, (x + 1) * CELL - 2, (y + 1) * CELL - 2)
            pen.rectangle(box, fill=(level, level, min(255, level + 15)))
    return picture


def words(text: str) -> Image.Image:
    """Text on white."""
    import textwrap

    from PIL import Image, ImageDraw

    lines = [piece for line in text.splitlines() for piece in textwrap.wrap(line, 64) or [""]]
    picture = Image.new("RGB", (480, 24 + 16 * len(lines)), "white")
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((12, 12 + 16 * number), line, fill="#333333")
    return picture


def _opened(png: bytes) -> Image.Image:
    from PIL import Image

    return Image.open(buffers.BytesIO(png))
