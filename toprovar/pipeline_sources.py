"""The source pictures of one pipeline call, on a model that edits (VAREdit)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .editing.taken import Asked
from .models.text import PackedText
from .pipeline_memory import CallMemory
from .source_pictures import framed, restored, restored_array, source_features, to_picture

if TYPE_CHECKING:
    from .pipeline import InfinityPipeline
    from .schedules import ScaleSchedule


def as_list(image: Any) -> list[Any]:
    """One picture, or several, or a batch."""
    if isinstance(image, (list, tuple)):
        return list(image)
    return list(image) if getattr(image, "ndim", 3) == 4 else [image]


def check_family(edits: bool, asked: Asked, crop: bool, edit: object = None) -> None:
    """Refuse a call that is meant for a model of the other family.

    Args:
        edits: whether the model edits by instruction (VAREdit); edit: of ``editing``.

    Raises:
        ValueError: says which model is needed.
    """
    if not edits:
        if crop:
            raise ValueError("crop works only with VAREdit models, which edit a picture by an "
                             "instruction; this is an Infinity model: load one with "
                             "family='varedit', or crop the picture before")
        return
    if asked.image is None and edit is None:
        raise ValueError("this is a VAREdit model, which edits a picture: give image=... with the "
                         "instruction as prompt ('toprovar instruct PICTURE INSTRUCTION', or the "
                         "node Infinity Instruct); to draw from text load an Infinity model")
    given = [name for name in ("strength", "mask_image", "padding_mask_crop", "blend", "region")
             if getattr(asked, name) is not None] + ["edit"] * (edit is not None)
    if given:
        raise ValueError(f"{given[0]}: this is a VAREdit model, which reads the whole picture and "
                         "draws it anew by an instruction: give image and prompt alone. Drafts, "
                         "masks and strength need an Infinity model")


class Sources:
    """Source pictures, one for each image that is drawn.

    Args:
        image: one for all prompts, or one for each; see ``to_picture``.
        prompts: how many there are; one serves several pictures.
        copies: images of each.
        crop: see ``framed``.
        as_one: whether results are returned in one array, so that they must be of one size.

    Attributes:
        frames: of each image; notes: what is worth knowing.

    Raises:
        ValueError: an impossible picture, or another number of them than of prompts.
    """

    def __init__(self, image: Any, prompts: int, copies: int, schedule: ScaleSchedule, crop: bool,
                 as_one: bool) -> None:
        if not isinstance(crop, bool):
            raise ValueError(f"crop must be True or False, got {crop!r}")
        given = [to_picture(one) for one in as_list(image)]
        self.distinct = len(given)
        if not given or (prompts > 1 and len(given) not in (1, prompts)):
            raise ValueError(f"{len(given)} pictures for {prompts} prompts: give one, or one for "
                             "each")
        self.count = max(prompts, len(given))
        drawn = schedule.image_size
        self._pictures = [framed(one, drawn, crop) for one in given]
        #: which picture each image is drawn from
        self._of = [i % self.distinct for i in range(self.count) for _ in range(copies)]
        self.frames = [self._pictures[i][1] for i in self._of]
        sizes = {frame.picture for frame in self.frames}
        if as_one and len(sizes) > 1:
            raise ValueError("the pictures have several sizes, so that the results do not fit one "
                             "array: use output_type='pil', or pictures of one size")
        self.notes: tuple[str, ...] = ()
        if drawn[0] != drawn[1]:
            self.notes = ("VAREdit's models were trained on squares, this is drawn at "
                          f"{drawn[1]}x{drawn[0]}",)
        self._features: list[Tensor] = []

    def encode(self, pipeline: InfinityPipeline, memory: CallMemory) -> None:
        """Encode the pictures, each once."""
        pipeline.wake("vae", pipeline._execution_device)

        def attempt(number: int) -> Tensor:
            with memory.decoding(), torch.inference_mode():
                return source_features(pipeline.vae, self._pictures[number][0]).cpu()

        self._features = [memory.again("picture", lambda n=n: attempt(n))
                          for n in range(self.distinct)]

    def spread(self, text: PackedText) -> PackedText:
        """Features of one prompt, for several pictures."""
        return text.repeat_each(self.count) if len(text) == 1 else text

    def part(self, first: int, count: int) -> Tensor:
        """Features of images from number ``first`` on: [count or 1, d, H, W] float32."""
        own = self._of[first : first + count]
        if len(set(own)) == 1:
            own = own[:1]
        return torch.cat([self._features[i] for i in own])

    def restore(self, pictures: Any, first: int, output_type: str) -> Any:
        """Pictures from number ``first`` on, in their form, at their sources' sizes."""
        frames: Sequence[Any] = self.frames[first : first + len(pictures)]
        if output_type == "pil":
            return [restored(one, f) for one, f in zip(pictures, frames, strict=True)]
        if output_type == "np":
            return np.stack([restored_array(one, f)
                             for one, f in zip(pictures, frames, strict=True)])
        arrays = pictures.permute(0, 2, 3, 1).cpu().numpy()
        found = np.stack([restored_array(one, f) for one, f in zip(arrays, frames, strict=True)])
        return torch.from_numpy(found).permute(0, 3, 1, 2).to(pictures.device)
