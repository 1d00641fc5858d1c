"""Edits that the judge can score: scenes that the embedded model draws, and what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from toprovar.evaluation.compositional import Detection, Judge, ObjectSpec, bundled_prompts
from toprovar.evaluation.compositional.decode import Box, shared

Kind = Literal["replace", "recolour", "add"]
KINDS: tuple[Kind, ...] = ("replace", "recolour", "add")
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


def _coloured() -> dict[str, list[str]]:
    """Objects with the colours that the model was taught to draw them in, where there are several.
    """
    found: dict[str, set[str]] = {}
    for task in ("colours", "binding"):
        for prompt in bundled_prompts("seen", task):
            for thing in prompt.objects:
                if thing.colour is not None:
                    found.setdefault(thing.cls, set()).add(thing.colour)
    return {cls: sorted(colours) for cls, colours in found.items() if len(colours) > 1}


COLOURED = _coloured()


def told(thing: ObjectSpec) -> str:
    words = f"{thing.colour} {thing.cls}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def make_case(kind: Kind, number: int) -> Case:
    """Case ``number`` of a kind, always the same."""
    random = Random(f"{kind} {number}")
    first, second, third = random.sample(sorted(COLOURED), 3)
    side = random.choice(SIDES)
    one, other, another = (ObjectSpec(cls, random.choice(COLOURED[cls]))
                           for cls in (first, second, third))

    def scene(a: ObjectSpec) -> str:
        return f"{told(a)} {WORDS[side]} {told(other)}"

    if kind == "add":
        return Case(kind, told(other), scene(one), None, one, other, side, 5000 + number)
    new = another if kind == "replace" else ObjectSpec(
        first, random.choice([c for c in COLOURED[first] if c != one.colour]))
    return Case(kind, scene(one), scene(new), one, new, other, side, 5000 + number)


def shows(found: list[Detection], thing: ObjectSpec) -> list[Detection]:
    return [d for d in found if d.cls == thing.cls and d.colour == thing.colour]


def visible(case: Case) -> bool:
    """Whether what is wanted can be seen on any background: half of the sources have a white one,
    which an edit keeps, and there nobody sees a white object."""
    return case.wanted.colour != "white"


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
