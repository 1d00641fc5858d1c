"""ScaleKV: layers hold few keys of earlier scales (arXiv 2505.19602, code released under MIT).

A memory mode: every token is worked on, but the KV cache holds a share of what it would. As
published, all layers together hold as many keys as their share comes to. A few, the drafters, look
far back and hold nearly all of theirs; the others, the refiners, share what remains alike.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ...models.config import TransformerConfig
from ...schedules import ScaleSchedule
from ..plan import ModelTag, SparsityPlan, dense_scales, schedule_name
from ..scale_plan import LayerNumber
from .base import Option, PlanContext, Settings, Strategy

SHARE = 0.1
DRAFTERS = {32: (0, 23), 40: (0, 1, 2)}
"""By layers of the model: the drafters of the released budgets, of Infinity-2B and 8B."""
LEAST = 0.5
"""Of an equal part: what is left to each refiner where drafters could take more."""
FEWEST = 16
"""Keys that every layer holds: those of the observers."""


def scalekv_plan(shape: TransformerConfig, schedule: ScaleSchedule, share: float = SHARE,
                 drafters: tuple[int, ...] | None = None) -> SparsityPlan:
    """A plan whose caches are bounded.

    Args:
        share: of the keys that all layers hold before the last scale of a dense run.
        drafters: layers that hold more; None = the published ones of 32 and 40 layers, else the
            first layer.

    Raises:
        ValueError: a drafter is no layer of the model, or all layers are drafters.
    """
    depth = shape.depth
    wide = DRAFTERS.get(depth, (0,)) if drafters is None else tuple(sorted(set(drafters)))
    if any(layer >= depth for layer in wide) or len(wide) >= depth:
        raise ValueError(f"drafters {list(wide)}: expected some of the layers 0 to {depth - 1}, "
                         "not all")
    each = max(FEWEST, round(share * sum(schedule.tokens[:-1])))
    scales, have = [], 0
    for step in dense_scales(schedule, depth)[:-1]:
        have += step.tokens
        narrow = max(FEWEST, round(LEAST * each))
        if wide:
            drafter = min(have, (depth * each - (depth - len(wide)) * narrow) // len(wide))
            narrow = (depth * each - len(wide) * drafter) // (depth - len(wide))
            cache = tuple(drafter if layer in wide else narrow for layer in range(depth))
        else:
            cache = (each,) * depth
        scales.append(step.model_copy(update={"cache": cache}) if have > min(cache) else step)
    return SparsityPlan(
        strategy="scalekv", parameters={"share": share, "drafters": list(wide)},
        model=ModelTag.of(shape), schedule=schedule_name(schedule),
        scales=(*scales, dense_scales(schedule, depth)[-1]),
    )


class ScaleKVSettings(Settings):
    """How small the cache is.

    Attributes:
        share, drafters: see ``scalekv_plan``.
    """

    share: Annotated[float, Option(
        "share of the keys of a dense run's KV cache that layers keep between scales",
        metavar="SHARE", step=0.05)] = Field(default=SHARE, ge=0.02, le=1)
    drafters: Annotated[tuple[LayerNumber, ...] | None, Option(
        "layers that hold nearly all their keys, such as 0,23", metavar="LAYERS",
        unset="as published for 32 and 40 layers, else the first layer", node=False,
        advanced=True)] = None


class ScaleKV(Strategy[ScaleKVSettings]):
    """Less memory; less work only in attention."""

    name: ClassVar[str] = "scalekv"
    summary: ClassVar[str] = "saves memory; layers keep few keys of earlier scales"
    settings: ClassVar[type[Settings]] = ScaleKVSettings
    rank: ClassVar[int] = 7
    since: ClassVar[int] = 3
    targets: ClassVar[bool] = False

    def plan(self, settings: ScaleKVSettings, context: PlanContext) -> SparsityPlan:
        return context.finished(scalekv_plan(context.shape, context.schedule, settings.share,
                                             settings.drafters))


STRATEGIES = (ScaleKV(),)
