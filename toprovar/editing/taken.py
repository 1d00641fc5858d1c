"""Arguments of a call that name a picture, a mask and a strength, made into an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..arguments import share, whole
from ..schedules import (
    ScaleSchedule,
    picture_notes,
    schedule_for_picture,
    schedule_for_size,
    size_notes,
)
from .draft import Draft
from .edit import Edit, Region, varying
from .mask import read_mask
from .paste import Box, Paste, blended, box_around
from .source import encode_pictures, quantise_latent, read_pictures, resize_pictures
from .stack import BitStack

if TYPE_CHECKING:
    from ..models.autoencoder import InfinityAutoencoder
    from ..models.transformer import InfinityTransformer

STRENGTH = 0.6
"""Of a picture that is varied without a mask; with one, 1."""
CROP_BLEND = 16
"""Pixels over which a crop that was drawn goes over into the picture around it."""
Source = Any
"""What ``image`` may be: pictures (``source.read_pictures``), a latent [B, latent channels, h, w]
or summed codes as a tensor, a ``Draft`` or a ``BitStack``."""


class Parts(Protocol):
    """What is asked of a pipeline here."""

    transformer: InfinityTransformer
    vae: InfinityAutoencoder

    def wake(self, name: str, device: torch.device) -> None: ...

    @property
    def _execution_device(self) -> torch.device: ...


@dataclass(frozen=True)
class Asked:
    """What a call says of a picture.

    Attributes:
        image: see ``Source``.
        strength: 0 to 1; None = the usual one.
        mask_image: see ``mask.read_mask``.
        padding_mask_crop: as diffusers means it: draw only the mask's surroundings, so many pixels
            around it, at the full size, and put them back. None = the whole picture.
        blend: pixels over which drawn pixels go over into the given ones; 0 = just at the mask's
            edge; None = the picture is shown as decoded.
        region: how a mask is taken.
    """

    image: Source
    strength: float | None = None
    mask_image: Any = None
    padding_mask_crop: int | None = None
    blend: int | None = None
    region: Region | None = None

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: naming it.
        """
        if self.image is None:
            given = [name for name in ("strength", "mask_image", "padding_mask_crop", "blend")
                     if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{given[0]} needs a picture: give image as well")
            return
        if self.strength is not None:
            share("strength", self.strength)
        for name in ("padding_mask_crop", "blend"):
            value = getattr(self, name)
            if value is not None:
                whole(name, value, 0, 4096)
                if self.mask_image is None:
                    raise ValueError(f"{name} needs a mask: give mask_image as well")
        if self.region is not None and not isinstance(self.region, Region):
            raise ValueError(f"region must be a Region, got {type(self.region).__name__}")


@dataclass(frozen=True)
class Taken:
    """A picture that is ready.

    Attributes:
        schedule: the size that is drawn.
        source: its bits; pictures: as given, None where there are only bits.
        mask: [B, 1, H, W] of the size that is drawn, or None.
        paste: what is done with drawn pictures, or None.
        notes: what is other than asked.
    """

    asked: Asked
    schedule: ScaleSchedule
    source: BitStack
    mask: Tensor | None
    paste: Paste | None
    notes: tuple[str, ...] = ()

    def edit(self, seeds: Sequence[int]) -> Edit:
        """The edit for pictures of these seeds.

        Raises:
            ValueError: there are several sources or masks, but not as many as pictures.
        """
        for name, count in (("image", len(self.source)),
                            ("mask_image", 1 if self.mask is None else len(self.mask))):
            if count not in (1, len(seeds)):
                raise ValueError(f"{name} holds {count} pictures for {len(seeds)} to be drawn: "
                                 "give one, or one for each")
        strength = self.asked.strength
        if strength is None:
            strength = STRENGTH if self.mask is None else 1.0
        edit = varying(self.source, self.schedule, float(strength), seeds, self.mask,
                       self.asked.region)
        return replace(edit, paste=self.paste)


def take(parts: Parts, asked: Asked, schedule: ScaleSchedule | None, height: int | None,
         width: int | None, default_pn: str,
         decode: Callable[[Tensor], Tensor] | None = None,
         planned: ScaleSchedule | None = None) -> Taken:
    """Read, encode and quantise what a call is given.

    Args:
        schedule, height, width: the size, as of a call; none = the one of
            ``schedule_for_picture``, or a draft's own size.
        decode: pictures [B, 3, H, W] in [0, 1] of summed codes, for blending where only bits are
            given.
        planned: the size that the plan is of.
    """
    asked.check()
    image = asked.image
    shape = parts.transformer.shape
    if isinstance(image, (Draft, BitStack)) or _is_latent(image, shape.latent_channels):
        return _from_bits(parts, asked, schedule, height, width, decode)
    pictures = read_pictures(image)
    mask = None
    box = Box(0, 0, *pictures.shape[-2:])
    if asked.mask_image is not None:
        mask = read_mask(asked.mask_image, (box.height, box.width))
    notes: tuple[str, ...] = ()
    if schedule is None and (height is not None or width is not None):
        schedule = schedule_for_size(height or width or 0, width or height or 0)
        notes = size_notes(schedule, height or width or 0, width or height or 0)
    part = mask is not None and asked.padding_mask_crop is not None
    if schedule is None:
        schedule = schedule_for_picture(box.height, box.width, default_pn, planned, part)
        notes = () if part else picture_notes(schedule, box.height, box.width, default_pn)
    size = schedule.image_size
    if mask is not None and asked.padding_mask_crop is not None:
        box = box_around(mask, asked.padding_mask_crop, size[0] / size[1])
    source = _encoded(parts, resize_pictures(box.cut(pictures), size), schedule)
    paste = None
    if mask is not None and (asked.blend is not None or asked.padding_mask_crop is not None):
        blend = CROP_BLEND if asked.blend is None else asked.blend
        paste = Paste(pictures, blended(box.cut(mask), blend), box)
    if mask is not None:
        mask = read_mask(box.cut(mask), size)
    return Taken(asked, schedule, source, mask, paste, notes)


def _from_bits(parts: Parts, asked: Asked, schedule: ScaleSchedule | None, height: int | None,
               width: int | None, decode: Callable[[Tensor], Tensor] | None) -> Taken:
    image, shape = asked.image, parts.transformer.shape
    if asked.padding_mask_crop is not None:
        raise ValueError("padding_mask_crop needs a picture of pixels: give image as one, or leave "
                         "it out")
    if schedule is None and (height is not None or width is not None):
        schedule = schedule_for_size(height or width or 0, width or height or 0)
    if isinstance(image, Draft):
        image.check_model(parts.transformer)
        schedule = schedule or image.schedule
        source = image.stack
    elif isinstance(image, BitStack):
        if schedule is None:
            raise ValueError("bits alone do not say of which size they are: give schedule")
        source = image
    else:
        stride = parts.vae.shape.stride
        schedule = schedule or schedule_for_size(image.shape[-2] * stride,
                                                 image.shape[-1] * stride)
        with torch.inference_mode():
            source = quantise_latent(image.detach().float(), schedule, shape.patch)
    source.check_begins(schedule, shape.bits_per_token)
    mask = paste = None
    if asked.mask_image is not None:
        mask = read_mask(asked.mask_image, schedule.image_size)
        if asked.blend is not None and decode is not None:
            codes = source.to(parts._execution_device).summed(schedule, shape.latent_channels,
                                                              shape.patch)
            pictures = decode(codes).float().cpu()
            paste = Paste(pictures, blended(mask, asked.blend),
                          Box(0, 0, *schedule.image_size))
    return Taken(asked, schedule, source, mask, paste)


def _encoded(parts: Parts, pictures: Tensor, schedule: ScaleSchedule) -> BitStack:
    parts.wake("vae", parts._execution_device)
    return encode_pictures(parts.vae, pictures, schedule, parts.transformer.shape.patch)


def _is_latent(image: Any, channels: int) -> bool:
    return isinstance(image, Tensor) and image.ndim == 4 and image.shape[1] == channels != 3
