"""When a picture fulfils its prompt: the rules of GenEval's six tasks, on detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toprovar.evaluation.compositional.decode import Detection, Thresholds
from toprovar.evaluation.compositional.prompts import ObjectSpec, PromptSpec

_WORDS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
_AXES = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "above": (0.0, -1.0), "below": (0.0, 1.0)}


@dataclass(frozen=True)
class Verdict:
    """Whether a picture fulfils its prompt, and why not."""

    passed: bool
    reason: str = ""


def decide(
    prompt: PromptSpec, found: Sequence[Detection], thresholds: Thresholds | None = None
) -> Verdict:
    """The verdict on one picture's detections, surest first."""
    limits = thresholds or Thresholds()
    if prompt.task == "counting":
        return _counted(prompt.objects[0], found)
    chosen = []
    for wanted in prompt.objects:
        best = next((d for d in found if d.cls == wanted.cls), None)
        if best is None:
            return Verdict(False, f"no {wanted.cls}")
        # As in GenEval the surest object of the class is the one that must have the colour.
        if wanted.colour is not None and best.colour != wanted.colour:
            return Verdict(False, f"the {wanted.cls} is {best.colour}, not {wanted.colour}")
        chosen.append(best)
    if prompt.relation is not None and not holds(prompt.relation, chosen[0], chosen[1], limits):
        first, second = (thing.cls for thing in prompt.objects)
        return Verdict(False, f"the {first} is not {_WORDS[prompt.relation]} the {second}")
    return Verdict(True)


def _counted(wanted: ObjectSpec, found: Sequence[Detection]) -> Verdict:
    """Exactly so many of the class, and all in the colour if one is asked for."""
    mine = [d for d in found if d.cls == wanted.cls]
    if len(mine) != wanted.count:
        return Verdict(False, f"{len(mine)} of {wanted.cls}, not {wanted.count}")
    wrong = [d.colour for d in mine if wanted.colour not in (None, d.colour)]
    return Verdict(not wrong, f"{wanted.cls} is {wrong[0]}" if wrong else "")


def holds(relation: str, first: Detection, second: Detection, limits: Thresholds) -> bool:
    """GenEval's rule: the offset of the centres, shortened on each axis by a share of the mean
    extent, must point the right way by at least ``position_share`` of its length."""
    kept = []
    for a, b, m, n in zip(first.centre, second.centre, first.extent, second.extent, strict=True):
        margin = limits.position_margin * (m + n) / 2
        offset = a - b
        kept.append(max(abs(offset) - margin, 0.0) * (1.0 if offset > 0 else -1.0))
    length = (kept[0] ** 2 + kept[1] ** 2) ** 0.5
    if length == 0.0:
        return False
    along = sum(k * axis for k, axis in zip(kept, _AXES[relation], strict=True))
    return along / length > limits.position_share
