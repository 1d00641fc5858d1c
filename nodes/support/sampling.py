"""New pictures and changed ones: what a node asks of the pipeline's call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .runs import Drawing, Report, run_plan
from .sampler_inputs import DECODED

if TYPE_CHECKING:
    from ...toprovar.schedules import ScaleSchedule
    from .infinity import Infinity, PlanChoice, Prompts
    from .sources import Given


@dataclass(frozen=True)
class Settings:
    """What nodes that draw let one choose.

    Attributes:
        images: of each prompt; image i is drawn from seed + i.
        cfg, tau: 0 = the model's own.
        preview: whether a small picture is shown after every scale; overlay: see ``Drawing``.
    """

    seed: int
    images: int
    cfg: float
    tau: float
    top_p: float
    preview: bool
    overlay: bool = False

    @staticmethod
    def of(values: Mapping[str, Any]) -> Settings:
        """Out of a node's inputs."""
        return Settings(values["seed"], values["images"], values["cfg"], values["tau"],
                        values["top_p"], values["preview"] == DECODED)

    @property
    def call(self) -> dict[str, Any]:
        """Arguments of a call of the pipeline."""
        return {"guidance_scale": self.cfg or None, "tau": self.tau or None, "top_p": self.top_p,
                "seed": self.seed, "num_images_per_prompt": self.images}


@dataclass(frozen=True)
class Leaving:
    """A description to steer away from: of an edit by words."""

    described: Prompts
    away: float

    @property
    def call(self) -> dict[str, Any]:
        return {"source_prompt": list(self.described.texts), "away": self.away,
                "prompt_weights": self.described.weights}


def draw(model: Infinity, positive: Prompts, negative: Prompts | None, plan: PlanChoice | None,
         schedule: ScaleSchedule, settings: Settings, given: Given | None = None,
         leaving: Leaving | None = None) -> tuple[Report, Tensor]:
    """Sample pictures of each prompt.

    Args:
        given: pictures to begin with: one for all prompts, or as many; one prompt serves several.

    Returns:
        what was done, and the pictures as IMAGE.
    """
    call: dict[str, Any] = dict(settings.call)
    notes: tuple[str, ...] = ()
    if given is not None:
        masks = 1 if given.mask is None else len(given.mask)
        count = max(len(positive.texts), given.count, masks)
        if len(positive.texts) == 1:
            positive = positive.times(count)
        notes, given = given.notes, given.repeated(count, settings.images)
        if given.strength >= 1 and given.mask is None:  # nothing of it is left but its size
            given = None
        else:
            call |= given.call
    if leaving is not None:
        call |= leaving.call
    guided = model.guided(settings.cfg)
    texts = tuple(t for t in positive.texts for _ in range(settings.images))
    drawing = Drawing(
        model, schedule, texts, guided, run_plan(model, plan, schedule, guided),
        settings.preview, settings.overlay, pasted=given is not None and given.pasted,
        edited=given is not None, away=leaving is not None and leaving.away > 0)
    with model.pipeline.knowing(None if leaving is None else leaving.described):
        report, pictures = drawing(lambda **how: model.pipeline(
            prompt_features=positive.features,
            negative_features=None if negative is None else negative.features, **call, **how))
    if notes:
        first, *rest = report.runs
        report = replace(report, runs=(replace(first, notes=(*notes, *first.notes)), *rest))
    return report, pictures
