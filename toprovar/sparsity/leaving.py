"""Plans whose residuals stay to the end of a run: for plans that branch off, and to be read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .compiled import CompiledPlan
from .linear_shortcut import INPUT
from .plan import SparsityPlan


def leaving(plan: SparsityPlan, places: Collection[tuple[int, int]]) -> SparsityPlan:
    """The same plan, run so that residuals of ``places`` stay to the end.

    Args:
        places: (scale, layer), or (scale, ``INPUT``) for what the first block is given. Scales and
            layers that the plan does not run leave nothing.
    """
    own = plan.model_copy()
    vars(own)["compiled"] = _leaving(plan.compiled, frozenset(places))
    return own


def _leaving(compiled: CompiledPlan, places: frozenset[tuple[int, int]]) -> CompiledPlan:
    scales = tuple(
        replace(step, input_passed_on=step.input_passed_on or (s, INPUT) in places, blocks=tuple(
            block._replace(passed_on=block.passed_on or (s, layer) in places)
            for layer, block in enumerate(step.blocks)))
        if step.plan.run else step for s, step in enumerate(compiled.scales))
    return replace(compiled, scales=scales, left=compiled.left | places)
