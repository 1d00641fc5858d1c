"""What a scene is: arrays for many at once, and a readable view of one.

Positions and sizes are shares of the canvas side, x to the right and y down. An object's size is
the side of its square sprite; the visible part fills it as ``SpriteAtlas.extent`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from training.data.catalog import class_index, load_classes
from training.data.colours import BACKGROUND_NAMES, COLOUR_NAMES

SLOTS = 4
TASKS = ("single", "colour", "count", "two", "position", "binding")
RELATIONS = ("left", "right", "above", "below")
"""Where slot 0 lies as seen from slot 1."""
INVERSE = (1, 0, 3, 2)
GRADES = ("plain", "linear", "radial")


@dataclass(frozen=True)
class SceneObject:
    """One object; ``colour`` is the word that is asked for, None for as drawn."""

    cls: str
    colour: str | None
    cx: float
    cy: float
    size: float

    def __post_init__(self) -> None:
        entry = load_classes()[class_index(self.cls)]
        if self.colour is not None and self.colour not in entry.sayable():
            raise ValueError(f"a {self.colour} {self.cls} cannot be drawn; {entry.sayable()} can")
        if self.size <= 0.0:
            raise ValueError(f"size of {self.cls} must be positive, got {self.size}")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the sprite square."""
        half = self.size / 2
        return self.cx - half, self.cy - half, self.cx + half, self.cy + half


@dataclass(frozen=True)
class Scene:
    """One scene, for captions and judges.

    ``relation`` tells where the first of two objects lies as seen from the second, or at which
    side of the picture a lone one lies (None where neither can be said); ``say_relation`` and
    ``say_background`` tell whether the caption is to mention them.
    """

    task: str
    objects: tuple[SceneObject, ...]
    background: str
    relation: str | None = None
    say_relation: bool = False
    say_background: bool = False

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}")
        if not 1 <= len(self.objects) <= SLOTS:
            raise ValueError(f"a scene has 1 to {SLOTS} objects, got {len(self.objects)}")
        if self.background not in BACKGROUND_NAMES:
            raise ValueError(f"{self.background!r} is no background colour")
        if self.relation is not None and self.relation not in RELATIONS:
            raise ValueError(f"relation must be one of {', '.join(RELATIONS)}")
        if self.task in ("two", "position", "binding"):
            if len(self.objects) != 2:
                raise ValueError(f"task {self.task} takes two objects, got {len(self.objects)}")
        elif len({(thing.cls, thing.colour) for thing in self.objects}) != 1:
            raise ValueError(f"task {self.task} takes objects of one class and colour")
        if self.say_relation and self.relation is None:
            raise ValueError("say_relation needs a relation")


@dataclass(frozen=True)
class SceneBatch:
    """B scenes as tensors, all on one device.

    Attributes:
        task: int64 [B], index into TASKS.
        cls: int64 [B, 4], class of each slot (0 where not valid).
        variant: int64 [B, 4], 0 as drawn, else 1 + index into COLOUR_NAMES; a colour other than
            0 is always said in the caption.
        valid: bool [B, 4], which slots hold an object; filled from slot 0.
        cx, cy, size: float32 [B, 4], shares of the canvas side.
        relation: int64 [B], index into RELATIONS of slot 0 as seen from slot 1 (of a lone object:
            from the middle), −1 for none.
        say_relation, say_background: bool [B].
        background: int64 [B], index into BACKGROUND_NAMES.
        grade: int64 [B], index into GRADES.
        ends: float32 [B, 2, 3], sRGB 0–1 at the two ends of the background.
        angle: float32 [B], direction of a linear background in radians.
        caption_seed: int64 [B], picks the wording.
    """

    task: Tensor
    cls: Tensor
    variant: Tensor
    valid: Tensor
    cx: Tensor
    cy: Tensor
    size: Tensor
    relation: Tensor
    say_relation: Tensor
    background: Tensor
    say_background: Tensor
    grade: Tensor
    ends: Tensor
    angle: Tensor
    caption_seed: Tensor

    def __post_init__(self) -> None:
        count = self.task.shape[0]
        slots = ("cls", "variant", "valid", "cx", "cy", "size")
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(slots, (count, SLOTS))
        shapes["ends"] = (count, 2, 3)
        for field in fields(self):
            found = tuple(getattr(self, field.name).shape)
            expected = shapes.get(field.name, (count,))
            if found != expected:
                raise ValueError(f"{field.name} must be {list(expected)}, got {list(found)}")

    def __len__(self) -> int:
        return self.task.shape[0]

    def _map(self, function: Any) -> SceneBatch:
        return SceneBatch(**{f.name: function(getattr(self, f.name)) for f in fields(self)})

    def to(self, device: torch.device | str) -> SceneBatch:
        """The same scenes on ``device``."""
        return self._map(lambda value: value.to(device, non_blocking=True))

    def __getitem__(self, rows: slice | Tensor) -> SceneBatch:
        """Some of the scenes, by slice, index tensor or bool mask."""
        return self._map(lambda value: value[rows])

    def boxes(self, extent: Tensor | None = None) -> Tensor:
        """Left, top, right, bottom of every slot: float32 [B, 4 slots, 4], shares of the side.

        With ``extent`` (``SpriteAtlas.extent``) the boxes are tight around the visible part.
        """
        half = torch.stack([self.size, self.size], dim=-1) / 2
        if extent is not None:
            half = half * extent.to(half.device)[self.cls]
        centre = torch.stack([self.cx, self.cy], dim=-1)
        return torch.cat([centre - half, centre + half], dim=-1)

    def scene(self, row: int) -> Scene:
        """A readable view of one scene."""
        classes = load_classes()
        relation = int(self.relation[row])
        objects = []
        for slot in range(int(self.valid[row].sum())):
            variant = int(self.variant[row, slot])
            objects.append(
                SceneObject(
                    classes[int(self.cls[row, slot])].name,
                    COLOUR_NAMES[variant - 1] if variant else None,
                    float(self.cx[row, slot]),
                    float(self.cy[row, slot]),
                    float(self.size[row, slot]),
                )
            )
        return Scene(
            TASKS[int(self.task[row])],
            tuple(objects),
            BACKGROUND_NAMES[int(self.background[row])],
            RELATIONS[relation] if relation >= 0 else None,
            bool(self.say_relation[row]),
            bool(self.say_background[row]),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[SceneBatch]) -> SceneBatch:
        """All scenes of ``batches``, in order."""
        return cls(
            **{f.name: torch.cat([getattr(b, f.name) for b in batches]) for f in fields(cls)}
        )
