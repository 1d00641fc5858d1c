"""A picture changed by words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .host import stop_if_interrupted
from .sampling import Leaving, Settings, draw

if TYPE_CHECKING:
    from .infinity import Infinity, PlanChoice, Prompts
    from .runs import Report
    from .sources import Given


def edit_by_words(model: Infinity, source: Prompts, target: Prompts, negative: Prompts | None,
                  plan: PlanChoice | None, settings: Settings, given: Given, away: float,
                  mask_from: str, share: float) -> tuple[Report, Tensor, Given]:
    """Draw what the target says and the source does not.

    Args:
        source, target: one prompt each.
        given: the pictures; without a mask, one is found for each of them.
        away: see ``Editing.edit``.
        mask_from, share: see ``Editing.edit_mask``; share 0 = by the sign itself.

    Returns:
        what was done, the pictures as IMAGE, and what was given with the mask that was used.
    """
    if given.mask is None:
        given = replace(given, mask=_mask(model, source, target, given, mask_from, share))
    report, drawn = draw(model, target, negative, plan, given.schedule, settings, given,
                         Leaving(source, away))
    return report, drawn, given


def _mask(model: Infinity, source: Prompts, target: Prompts, given: Given, mask_from: Any,
          share: float) -> Tensor:
    model.place(given.schedule, 2 * given.count, guided=False, with_vae=True, edited=True)
    with model.pipeline.knowing(source, target):
        return model.pipeline.edit_mask(
            given.image, list(source.texts), list(target.texts), mask_from, share or None,
            schedule=given.schedule, options=model.options, check=stop_if_interrupted,
            prompt_weights=source.weights)
