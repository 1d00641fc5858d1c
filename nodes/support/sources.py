"""Pictures that a run begins with: IMAGE, LATENT or drafts, with a mask or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .drafts import Drafts
from .sizes import AUTO, size_error

if TYPE_CHECKING:
    from ...toprovar.editing.stack import BitStack
    from ...toprovar.schedules import ScaleSchedule
    from .infinity import Infinity, PlanChoice

BITS = "infinity_bits"
"""In a LATENT of this pack: the bits that its numbers are the sums of."""
ROUNDING = 1e-2
"""Most that sums of codes differ by between devices and dtypes; a bit makes 0.17 and more."""


@dataclass(frozen=True)
class Given:
    """What a run begins with, as arguments of the engine.

    Attributes:
        image: see ``editing.taken.Source``: pictures, bits, a draft or a latent.
        count: how many pictures that is.
        schedule: the size that it is drawn at.
        mask: [1 or B, 1, h, w] in [0, 1], 1 where something is drawn; None = everywhere.
        strength: how much is drawn anew, 0 to 1.
        blend, crop: see ``editing.taken.Asked``; None = not asked for.
        notes: what is other than asked.
    """

    image: Any
    count: int
    schedule: ScaleSchedule
    mask: Tensor | None = None
    strength: float = 1.0
    blend: int | None = None
    crop: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def pasted(self) -> bool:
        return self.mask is not None and (self.blend is not None or self.crop is not None)

    @property
    def call(self) -> dict[str, Any]:
        """Arguments of a call of the pipeline."""
        return {"image": self.image, "strength": self.strength, "mask_image": self.mask,
                "blend": self.blend, "padding_mask_crop": self.crop}

    def repeated(self, count: int, images: int) -> Given:
        """For ``images`` pictures of each of ``count`` prompts.

        Raises:
            ValueError: there is neither one nor as many.
        """
        masks = 1 if self.mask is None else len(self.mask)
        for name, found in (("image", self.count), ("mask", masks)):
            if found not in (1, count):
                raise ValueError(f"{name} holds {found} pictures for {count} to be drawn: give "
                                 "one, or one for each")
        order = [n for n in range(count) for _ in range(images)]
        image = self.image
        if self.count > 1:
            image = image[order] if isinstance(image, Tensor) else image.pick(order)
        mask = self.mask
        if mask is not None and masks > 1:
            mask = mask[order]
        return replace(self, image=image, mask=mask, count=len(order) if self.count > 1 else 1)


def of_latent(model: Infinity, given: Drafts | Mapping[str, Any], strength: float,
              size: ScaleSchedule | None, aspect: str, pixels: str) -> Given:
    """A LATENT, whose noise_mask is taken as a mask, or drafts.

    Args:
        size: that was asked for; else ``pixels``, of the latent's own aspect; else its own.

    Raises:
        ValueError: it is no latent of this model.
    """
    from ...toprovar.schedules import get_schedule

    image, count, own, mask = _drafted(model, given) if isinstance(given, Drafts) \
        else _latent(model, given)
    if wrong := size_error(aspect, pixels):
        raise ValueError(wrong)
    if size is None:
        size = own if pixels == AUTO else get_schedule(own.template, pixels)
    return Given(image, count, size, mask, strength)


def _drafted(model: Infinity, given: Drafts) -> tuple[Any, int, ScaleSchedule, None]:
    given.draft.check_model(model.pipeline.transformer)
    return given.draft, len(given.draft), given.draft.schedule, None


def _latent(model: Infinity, given: Mapping[str, Any]
            ) -> tuple[Any, int, ScaleSchedule, Tensor | None]:
    from ...toprovar.schedules import schedule_for_size

    samples = given.get("samples")
    channels, stride = model.vae.latent_channels, model.vae.upscale_ratio
    if not isinstance(samples, Tensor) or samples.ndim != 4 or samples.shape[1] != channels:
        shape = list(getattr(samples, "shape", ()))
        raise ValueError(
            f"latent_image has the shape {shape}, Infinity takes [images, {channels}, height, "
            "width]: this is another model's latent. Connect VAE Encode with the VAE of Load "
            "Infinity, the latent of an Accelerated Sampler, or drafts; for a new picture connect "
            "nothing and choose the size by aspect and pixels")
    tall, wide = (n * stride for n in samples.shape[-2:])
    schedule = schedule_for_size(tall, wide)
    if schedule.image_size != (tall, wide):
        height, width = schedule.image_size
        raise ValueError(f"latent_image is of {wide}x{tall} pixels, which Infinity does not draw; "
                         f"the nearest size is {width}x{height}: scale the picture to it before "
                         "VAE Encode (Upscale Image), or connect Infinity Encode, which does that")
    bits = _own_bits(model, given.get(BITS), samples, schedule)
    mask = given.get("noise_mask")
    if isinstance(mask, Tensor):
        mask = mask.float().clamp(0, 1)
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    else:
        mask = None
    return (samples.float() if bits is None else bits), len(samples), schedule, mask


def _own_bits(model: Infinity, bits: Any, samples: Tensor, schedule: ScaleSchedule
              ) -> BitStack | None:
    """Those that a LATENT brings, where they are its numbers' still: other nodes change numbers
    and pass on the rest."""
    from ...toprovar.editing.stack import BitStack

    shape = model.pipeline.transformer.shape
    if not isinstance(bits, BitStack) or len(bits) != len(samples) \
            or bits.grids != schedule.grids or bits.bits_per_token != shape.bits_per_token:
        return None
    with torch.inference_mode():
        summed = bits.summed(schedule, shape.latent_channels, shape.patch)
        same = (summed - samples.to(summed.device, summed.dtype)).abs().max() < ROUNDING
    return bits if bool(same) else None


def pictures_of_image(image: Tensor) -> Tensor:
    """IMAGE [B, H, W, C] -> [B, 3, H, W] float32 in [0, 1], as upscalers leave numbers beyond.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] < 3:
        raise ValueError(f"image has the shape {list(getattr(image, 'shape', ()))}, expected "
                         "pictures [images, height, width, 3]: connect a node that gives an IMAGE, "
                         "or drafts")
    return image[..., :3].movedim(-1, 1).float().clamp(0, 1).contiguous()


def schedule_of_picture(model: Infinity, height: int, width: int, size: ScaleSchedule | None,
                        pixels: str, plan: PlanChoice | None = None, part: bool = False
                        ) -> ScaleSchedule:
    """The size that a picture is drawn at: what was asked for, else the nearest aspect at a pixel
    budget, else as ``schedule_for_picture`` says.

    Args:
        part: whether only a part of the picture is drawn.
    """
    from ...toprovar.schedules import get_schedule, schedule_for_picture

    if size is not None:
        return size
    if wrong := size_error(None, pixels):
        raise ValueError(wrong)
    if pixels != AUTO:
        return get_schedule(height / width, pixels)
    planned = None if plan is None else plan.schedule
    return schedule_for_picture(height, width, model.default_pn, planned, part)
