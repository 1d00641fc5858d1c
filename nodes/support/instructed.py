"""Pictures edited by an instruction, with a VAREdit model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .runs import Drawing, Report
from .sampling import Settings
from .sizes import AUTO, size_error
from .sources import pictures_of_image

if TYPE_CHECKING:
    from ...toprovar.schedules import ScaleSchedule
    from .infinity import Infinity, PlanChoice, Prompts


def follow(model: Infinity, image: Tensor, instruction: str, negative: Prompts | None,
           plan: PlanChoice | None, size: ScaleSchedule | None, pixels: str, crop: bool,
           settings: Settings) -> tuple[Report, Tensor]:
    """Edit each picture of a batch by one instruction.

    Args:
        image: IMAGE, of any size.
        plan: None = dense: what plans do to edits was not measured.
        size: that it is drawn at; None = the square of ``pixels``.
        crop: see ``InfinityPipeline``.

    Returns:
        what was done, and the results as IMAGE of the pictures' size.

    Raises:
        ValueError: the model draws from text, or an input cannot be used.
    """
    from ...toprovar.schedules import get_schedule
    from ...toprovar.sparsity.plan import dense_plan

    shape = model.pipeline.transformer.shape
    if not shape.edits:
        raise ValueError(f"{model.name} draws from text, and this node needs a VAREdit model: "
                         "choose one, and family varedit, in Load Infinity. With an Infinity model "
                         "use Infinity Edit, or connect the picture to the sampler's latent_image")
    pictures = pictures_of_image(image)
    if wrong := size_error(None, pixels):
        raise ValueError(wrong)
    if size is None:
        size = get_schedule("1.0", model.default_pn if pixels == AUTO else pixels)
    prompts = model.encoder.encode([instruction], weights=True)
    drawing = Drawing(
        model, size, prompts.texts * (len(pictures) * settings.images),
        model.guided(settings.cfg), dense_plan(shape, size) if plan is None else plan.plan,
        settings.preview, settings.overlay, pasted=True)
    return drawing(lambda **how: model.pipeline(
        prompt_features=prompts.features, image=list(pictures), crop=crop,
        negative_features=None if negative is None else negative.features,
        **settings.call, **how))
