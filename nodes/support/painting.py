"""A picture and a mask as ComfyUI has them, brought into what the engine draws a part of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .drafts import Drafts
from .host import between
from .sizes import AUTO
from .sources import Given, pictures_of_image, schedule_of_picture

if TYPE_CHECKING:
    from ...toprovar.schedules import ScaleSchedule
    from .infinity import Infinity, PlanChoice

PADDING = 0.5
"""What ComfyUI's Pad Image for Outpainting puts around a picture, in all three colours."""
OFF = -1


@dataclass(frozen=True)
class Brush:
    """How a masked part is drawn.

    Attributes:
        strength: 0 to 1.
        feather: pixels by which the mask grows softly.
        blend: pixels over which drawn pixels go over into the given ones; ``OFF`` = the picture is
            shown as decoded.
        crop: pixels around the mask that are drawn alone; ``OFF`` = the whole picture.
    """

    strength: float = 1.0
    feather: int = 0
    blend: int = 16
    crop: int = OFF


def masked(model: Infinity, image: Tensor | Drafts, mask: Tensor | None, brush: Brush,
           size: ScaleSchedule | None, pixels: str, plan: PlanChoice | None = None) -> Given:
    """A picture of which the mask's part is drawn.

    Args:
        image: IMAGE, or drafts of all scales.
        mask: MASK, 1 where something is drawn; None = it is found later.
        size, pixels: that are asked for; else as the picture.
    """
    from ...toprovar.editing.mask import read_mask
    from ...toprovar.editing.paste import blended
    from ...toprovar.schedules import picture_notes

    given: Any
    if isinstance(image, Drafts):
        image.draft.check_model(model.pipeline.transformer)
        given, tall, wide = image.draft, *image.draft.schedule.image_size
        schedule = size or image.draft.schedule
        count = len(image)
    else:
        given = pictures_of_image(image)
        tall, wide = given.shape[-2:]
        around = None if mask is None or brush.crop != OFF else padded(given, mask)
        if around is not None:
            return _outpainted(model, given, mask, around, brush, size, pixels)
        schedule = schedule_of_picture(model, tall, wide, size, pixels, plan, brush.crop != OFF)
        count = len(given)
    found = None
    if mask is not None:
        found = read_mask(mask, (tall, wide))
        if brush.feather:
            found = blended(found, brush.feather)
    auto = size is None and pixels == AUTO
    notes = () if brush.crop != OFF else picture_notes(
        schedule, tall, wide, model.default_pn if auto else None)
    return Given(given, count, schedule, found, brush.strength,
                 None if brush.blend == OFF else brush.blend,
                 None if brush.crop == OFF else brush.crop, notes)


def padded(pictures: Tensor, mask: Tensor | None) -> tuple[int, int, int, int] | None:
    """How much Pad Image for Outpainting has put to the left, right, top and bottom; None where
    it has not.

    Args:
        pictures: [B, 3, H, W]; mask: MASK of the same size.
    """
    if mask is None or mask.shape[-2:] != pictures.shape[-2:]:
        return None
    own = (pictures != PADDING).any(1).any(0)
    rows, columns = own.any(1).nonzero().flatten(), own.any(0).nonzero().flatten()
    if not len(rows):
        return None
    top, bottom = int(rows[0]), pictures.shape[-2] - 1 - int(rows[-1])
    left, right = int(columns[0]), pictures.shape[-1] - 1 - int(columns[-1])
    outside = torch.ones(pictures.shape[-2:], dtype=torch.bool)
    outside[top : outside.shape[0] - bottom, left : outside.shape[1] - right] = False
    if not outside.any() or float(mask.reshape(-1, *outside.shape)[:, outside].min()) < 1:
        return None
    return left, right, top, bottom


def _outpainted(model: Infinity, pictures: Tensor, mask: Tensor | None,
                added: tuple[int, int, int, int], brush: Brush, size: ScaleSchedule | None,
                pixels: str) -> Given:
    """A picture on a larger canvas: at a size that the model knows, the picture's edges between
    tokens. The soft edge of the mask within the picture is drawn, too."""
    from ...toprovar.editing.outpaint import place
    from ...toprovar.editing.paste import blended

    assert mask is not None
    left, right, top, bottom = added
    tall, wide = pictures.shape[-2:]
    schedule = size
    if size is None and pixels != AUTO:
        schedule = schedule_of_picture(model, tall, wide, None, pixels)
    inner = pictures[..., top : tall - bottom, left : wide - right]
    placed = place(inner, added, None, None, schedule, model.default_pn)
    soft = mask.float().reshape(-1, 1, tall, wide)
    soft = F.interpolate(soft, placed.schedule.image_size, mode="bilinear", align_corners=False)
    found = torch.maximum(placed.mask, soft)
    if brush.feather:
        found = blended(found, brush.feather)
    return Given(placed.canvas, len(placed.canvas), placed.schedule, found, brush.strength,
                 None if brush.blend == OFF else brush.blend, None, placed.notes)


def mask_for(mask: Tensor | None, image: Tensor) -> Tensor:
    """A mask [1 or B, 1, h, w] as MASK of an IMAGE [B, H, W, 3]: one for each picture."""
    assert mask is not None
    size = image.shape[1:3]
    if mask.shape[-2:] != size:
        mask = F.interpolate(mask, size, mode="bilinear", align_corners=False)
    mask = between(mask[:, 0])
    each = len(image) // len(mask)
    return mask if each == 1 else mask.repeat_interleave(each, 0)
