"""The detail task on drawn pictures: sprites' parts, looked for where the judge sees objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.evaluation.compositional import Detection, PromptSpec
from toprovar.evaluation.parts import (
    FRAME,
    MARGIN,
    WINDOW,
    Limits,
    Place,
    Template,
    align,
    part_error,
)
from training.data.atlas import SpriteAtlas
from training.data.catalog import class_index
from training.data.colours import COLOUR_NAMES
from training.data.parts import load_parts

_SHADOW = 0.30


@dataclass
class Detail:
    """What one picture has of what was asked for.

    Attributes:
        parts, present: parts that should be seen, and that are.
        objects, whole: objects that were asked for, and those with all their parts.
        errors: of every part by "class: part"; infinite where there is no such object.
    """

    parts: int = 0
    present: int = 0
    objects: int = 0
    whole: int = 0
    errors: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> list[int]:
        return [self.parts, self.present, self.objects, self.whole]


class DetailTask:
    """Looks for the parts of what prompts ask for.

    Args:
        atlas: the sprites that the model was taught.
        limits: fixed before any comparison; see ``toprovar.evaluation.parts``.
    """

    def __init__(self, atlas: SpriteAtlas, limits: Limits | None = None) -> None:
        self._sprites, self._extent = atlas.level(FRAME), atlas.extent.cpu()
        self._limits, self._parts = limits or Limits(), load_parts()
        self._templates: dict[tuple[int, int], Template] = {}

    def look(self, images: Tensor, prompts: Sequence[PromptSpec],
             found: Sequence[Sequence[Detection]]) -> list[Detail]:
        """Parts on RGB pictures [B, 3, S, S], uint8 or float in 0-1; ``found`` by the judge."""
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        pictures = images.to(self._sprites.device, torch.float32) / scale
        return [self._picture(*row) for row in zip(pictures, prompts, found, strict=True)]

    def _picture(self, picture: Tensor, prompt: PromptSpec, found: Sequence[Detection]) -> Detail:
        out = Detail()
        for thing in prompt.objects:
            cls = class_index(thing.cls)
            variant = 0 if thing.colour is None else 1 + COLOUR_NAMES.index(thing.colour)
            mine = [d for d in found if d.cls == thing.cls][: thing.count]
            for detection in mine:
                self._object(picture, cls, variant, detection, out)
            out.objects += thing.count
            for _ in range(thing.count - len(mine)):
                out.parts += len(self._parts[cls])
                out.errors |= {f"{thing.cls}: {p.name}": float("inf") for p in self._parts[cls]}
        return out

    def _object(self, picture: Tensor, cls: int, variant: int, detection: Detection, out: Detail
                ) -> None:
        aligned = align(picture, self.template(cls, variant), self._guess(cls, detection))
        whole = True
        for part in self._parts[cls]:
            error = part_error(aligned, part.box, self._limits)
            if error is None:
                continue
            there = error <= self._limits.error
            name = f"{detection.cls}: {part.name}"
            out.errors[name] = max(error, out.errors.get(name, 0.0))
            out.parts += 1
            out.present += there
            whole = whole and there
        out.whole += whole

    def _guess(self, cls: int, detection: Detection) -> Place:
        """The sprite's square from the box around its visible part."""
        wide, high = self._extent[cls].tolist()
        (cx, cy), (w, h) = detection.centre, detection.extent
        return Place(cx, cy, ((w / wide) * (h / high)) ** 0.5)

    def template(self, cls: int, variant: int) -> Template:
        """A sprite in a window, with the shadow that scenes draw under it."""
        if (cls, variant) not in self._templates:
            sprite = self._sprites[cls, variant].float()[None] / 255.0
            sprite = F.interpolate(sprite, (FRAME, FRAME), mode="bilinear", antialias=True,
                                   align_corners=False)[0]
            rim = (WINDOW - FRAME) // 2
            planes = F.pad(sprite, (rim,) * 4)
            self._templates[cls, variant] = Template(planes[:3], planes[3], self._shade(cls))
        return self._templates[cls, variant]

    def _shade(self, cls: int) -> Tensor:
        wide, high = self._extent[cls].tolist()
        place = (torch.arange(WINDOW, device=self._sprites.device) + 0.5) / WINDOW - 0.5
        place = place * (1 + 2 * MARGIN)
        across = (-(place / (wide * 0.36)).square()).exp()
        down = (-((place - high * 0.47) / 0.05).square()).exp()
        return _SHADOW * down[:, None] * across
