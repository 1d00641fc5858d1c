"""Edits that the judge can score: scenes that the embedded model draws, and what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from toprovar.evaluation.compositional import Detection, Judge, ObjectSpec
from toprovar.evaluation.compositional.decode import Box, shared

Kind = Literal["replace", "recolour", "add"]
KINDS: tuple[Kind, ...] = ("replace", "recolour", "add")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white")
SHAPES = ("apple", "pear", "banana", "strawberry", "carrot", "mushroom", "pumpkin", "flower", "car",
          "truck", "rocket", "boat", "house", "star", "heart", "fish", "bird", "butterfly", "whale",
          "turtle", "frog", "dog", "cat", "pig", "rabbit", "elephant", "cup", "teapot", "ball",
          "balloon", "gift", "umbrella", "bell", "book", "cap", "shirt", "dress", "chair", "clock")
SIDES = ("left", "right", "above", "below")
WORDS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
PADDING = 0.02
"""Share of the picture's side that a mask reaches beyond an object's box."""
SAME_PLACE = 0.5
"""Least overlap (intersection over union) of an object that stayed where it was."""


@dataclass(frozen=True)
class Case:
    """One edit.

    Attributes:
        source, target: prompts of the scene before and after.
        changed: the object that goes, or None (add); wanted: the one that comes.
        kept: the one that stays.
        side: of ``wanted`` as seen from ``kept``.
        seed: of the source.
    """

    kind: Kind
    source: str
    target: str
    changed: ObjectSpec | None
    wanted: ObjectSpec
    kept: ObjectSpec
    side: str
    seed: int


def told(thing: ObjectSpec) -> str:
    words = f"{thing.colour} {thing.cls}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def make_case(kind: Kind, number: int) -> Case:
    """Case ``number`` of a kind, always the same."""
    random = Random(f"{kind} {number}")
    first, second, third = random.sample(SHAPES, 3)
    colours = random.sample(COLOURS, 3)
    side = random.choice(SIDES)
    one, other = ObjectSpec(first, colours[0]), ObjectSpec(second, colours[1])

    def scene(a: ObjectSpec) -> str:
        return f"{told(a)} {WORDS[side]} {told(other)}"

    if kind == "add":
        return Case(kind, told(other), scene(one), None, one, other, side, 5000 + number)
    new = ObjectSpec(third, colours[2]) if kind == "replace" else ObjectSpec(first, colours[2])
    return Case(kind, scene(one), scene(new), one, new, other, side, 5000 + number)


def shows(found: list[Detection], thing: ObjectSpec) -> list[Detection]:
    return [d for d in found if d.cls == thing.cls and d.colour == thing.colour]


def usable(case: Case, found: list[Detection]) -> bool:
    """Whether the source shows what it should, once each and nothing else."""
    things = [t for t in (case.changed, case.kept) if t is not None]
    return len(found) == len(things) and all(len(shows(found, t)) == 1 for t in things)


def box_mask(box: Box, size: int) -> Tensor:
    """[1, 1, size, size]: 1 in an object's box and a little around it."""
    left, top, right, bottom = (
        round(min(1.0, max(0.0, edge + pad)) * size)
        for edge, pad in zip(box, (-PADDING, -PADDING, PADDING, PADDING), strict=True))
    mask = torch.zeros(1, 1, size, size)
    mask[..., top:bottom, left:right] = 1
    return mask


def moved(box: Box, inner: tuple[float, float, float, float]) -> Box:
    """A box of a picture that stands in ``inner`` (left, top, width, height) of another one."""
    left, top, width, height = inner
    return (left + box[0] * width, top + box[1] * height, left + box[2] * width,
            top + box[3] * height)


def scored(judge: Judge, case: Case, before: list[Detection], picture: Tensor,
           place: Box | None = None) -> dict[str, Any]:
    """What an edit came to.

    Args:
        before: seen on the source, in the result's frame.
        picture: [1, 3, H, W] in [0, 1].
        place: where the wanted object should be; None = anywhere.
    """
    found = judge.detect(picture)[0]
    wanted = shows(found, case.wanted)
    if place is not None:
        left, top, right, bottom = place
        wanted = [d for d in wanted
                  if left <= d.centre[0] <= right and top <= d.centre[1] <= bottom]
    was = shows(before, case.kept)[0]
    stayed = [d for d in shows(found, case.kept) if shared(d.box, was.box) >= SAME_PLACE]
    return {"found": int(bool(wanted)), "kept": int(bool(stayed)),
            "both": int(bool(wanted and stayed)), "clean": int(bool(wanted and stayed)
                                                              and len(found) == 2),
            "seen": [[d.cls, d.colour] for d in found]}
