"""Infinity Edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .infinity_inpaint import blend, picture, pixels
from .support import sampler_inputs as common
from .support.host import io
from .support.schema import Report, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from torch import Tensor

    from ..toprovar.schedules import ScaleSchedule
    from .support.drafts import Drafts
    from .support.infinity import Infinity, PlanChoice, Prompts

SIGNS = ("likelihood", "logits", "entropy", "cross-attention")
"""The engine's ``MASKS_FROM``, whose module is slow to import."""


class InfinityEdit(io.ComfyNode):
    """A picture changed by words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Edit", "Infinity Edit",
            description="Changes a picture by words: say what it shows and what it is to show. "
                        "What the two disagree about is drawn anew, the rest stays. No training, "
                        "no mask needed.",
            search_aliases=["edit", "instruct", "replace", "prompt to prompt", "change",
                            "image editing", "toprovar"],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="The changed picture, at its own "
                                                              "size."),
                io.Latent.Output(display_name="latent",
                                 tooltip="Summed codes before pixels are blended."),
                Report.Output(display_name="report", tooltip="What was run and what it cost."),
                io.Mask.Output(display_name="mask", tooltip="Where it was drawn anew: the mask "
                                                            "that was found, or given."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, image: Tensor | Drafts, source_prompt: str, target_prompt: str,
        denoise: float, away: float, mask_from: str, mask_share: float, blend: int, pixels: str,
        mask: Tensor | None = None, negative: Prompts | None = None,
        plan: PlanChoice | None = None, size: ScaleSchedule | None = None, **values: Any,
    ) -> io.NodeOutput:
        from .support.painting import Brush, mask_for, masked
        from .support.sampling import Settings
        from .support.word_edits import edit_by_words

        given = masked(model, image, mask, Brush(denoise, blend=blend), size, pixels, plan)
        source, target = (model.encoder.encode([text], weights=True)
                          for text in (source_prompt, target_prompt))
        report, drawn, given = edit_by_words(model, source, target, negative, plan,
                                             Settings.of(values), given, away, mask_from,
                                             mask_share)
        return io.NodeOutput(drawn, report.latent, report, mask_for(given.mask, drawn),
                             ui=report.shown)


def _inputs() -> list[io.Input]:
    return [
        common.model(), picture(),
        io.String.Input("source_prompt", multiline=True, dynamic_prompts=True,
                        default="a red apple", tooltip="What the picture shows."),
        io.String.Input("target_prompt", multiline=True, dynamic_prompts=True,
                        default="a blue apple", tooltip="What it is to show: the same words but "
                                                        "for what changes."),
        common.seed(), common.images(tooltip="Pictures of each one given."),
        common.denoise("what changes"),
        io.Float.Input("away", default=0.5, min=0.0, max=10.0, step=0.05,
                       tooltip="How far to lead away from what the picture shows. 0 = only "
                               "towards the new words."),
        io.Combo.Input("mask_from", options=list(SIGNS), default=SIGNS[0],
                       tooltip="By what it is found where the words disagree. Not used where a "
                               "mask is connected."),
        io.Float.Input("mask_share", default=0.0, min=0.0, max=0.99, step=0.01,
                       tooltip="Share of the picture that may change. 0 = as far as the words "
                               "disagree."),
        blend(), pixels(), *common.guidance(), common.preview(),
        io.Mask.Input("mask", optional=True, tooltip="White where it may change, instead of the "
                                                     "mask that is found."),
        common.negative(), common.plan(), common.size("From Infinity Size, in place of pixels."),
    ]
