"""Pictures whose figures and whose looks disagree."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from toprovar.analysis.choices import choice_plan
from toprovar.evaluation.metrics import psnr, ssim
from toprovar.figures.sheet import SOFT, Sheet

from .drawing import Studio, crop, head
from .leaving_out import FACE

NOISE, MOVED, DARKER = 0.02, 4, 0.06


def misleading(studio: Studio) -> Image.Image:
    """Damage of four kinds, with SSIM and PSNR to the dense picture."""
    dense, last = studio.dense.image, len(studio.schedule) - 1
    values = np.asarray(dense).astype(np.float64) / 255
    grain = np.random.default_rng(0).normal(0, NOISE, values.shape)
    soft = studio.draw(choice_plan(studio.pipe.transformer.shape, studio.schedule, last + 1,
                                   (last,))).image
    shown = [
        ("the dense picture", dense),
        ("the last scale is not run", soft),
        (f"moved by {MOVED} pixels", ImageChops.offset(dense, MOVED, 0)),
        (f"fine noise of {100 * NOISE:.0f} %", _picture(values + grain)),
        (f"{100 * DARKER:.0f} % darker", _picture(values * (1 - DARKER))),
    ]
    gap, left, top = 12.0, 20.0, 84.0
    side = (760.0 - 2 * left - (len(shown) - 1) * gap) / len(shown)
    sheet = Sheet(760, top + side + 44, 1.5)
    head(sheet, "Figures and eyes can disagree",
         "SSIM and PSNR to the first picture. The second one is the only one that has lost its "
         "eyes.")
    for n, (name, image) in enumerate(shown):
        x = left + n * (side + gap)
        sheet.text(x, top - 8, name, anchor="ls", bold=True, size=10)
        sheet.picture(crop(image, FACE), x, top, side, side, smooth=True)
        told = (f"SSIM {float(ssim(image, dense)):.3f}, PSNR {float(psnr(image, dense)):.1f} dB"
                if n else "")
        sheet.text(x, top + side + 8, told, size=9, colour=SOFT)
    return sheet.finish()


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
