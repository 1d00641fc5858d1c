"""Pictures of plans, entropies and dropped tokens as IMAGE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .host import from_pil

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.entropy.calibration import Calibration
    from ...toprovar.models.config import TransformerConfig
    from .infinity import PlanChoice
    from .traces import Traced

WIDE = 520.0
"""Of words alone, in units of a figure."""


def plan_image(choice: PlanChoice, text: str) -> Tensor:
    """A plan as IMAGE; what is planned inside the run, in words."""
    from ...toprovar.sparsity.plan_picture import plan_picture

    plan = choice.fixed
    return from_pil(words("Planned in the run", text) if plan is None else plan_picture(plan))


def trace_images(traced: Traced, picture: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
    """Entropy maps of the first picture, layers and scale curve, each as IMAGE."""
    from ...toprovar.entropy.pictures import entropy_maps, layer_strip, rho_curve

    trace, summary = traced.trace, traced.summary
    return (from_pil(entropy_maps(trace, picture=picture)), from_pil(layer_strip(trace, summary)),
            from_pil(rho_curve(trace, summary)))


def calibration_image(found: Calibration, shape: TransformerConfig) -> Tensor:
    """Likeness against time as IMAGE."""
    from ...toprovar.analysis.calibration_picture import calibration_figure

    return from_pil(calibration_figure(found, shape))


def overlay_image(picture: Image.Image, kept: dict[int, Tensor]) -> Image.Image:
    """The picture with dropped tokens faded, scale by scale."""
    from ...toprovar.entropy.pictures import kept_overlay

    if not kept:
        return words("Dropped tokens", "no token was dropped")
    return kept_overlay(picture, kept)


def words(title: str, text: str) -> Image.Image:
    """A title and text on white."""
    from ...toprovar.figures.sheet import SOFT, Sheet, wrapped

    lines = [piece for line in text.splitlines()
             for piece in wrapped(line, WIDE - 40, 12, lines=20) or [""]]
    sheet = Sheet(WIDE, 68 + 18 * len(lines))
    sheet.text(20, 18, title, size=14, bold=True)
    for number, line in enumerate(lines):
        sheet.text(20, 46 + 18 * number, line, size=12, colour=SOFT)
    return sheet.finish()
