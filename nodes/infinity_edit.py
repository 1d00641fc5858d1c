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
            description="Changes a picture by words. Describe what it shows and what it should "
                        "show. Only the parts where the two descriptions disagree are redrawn. It "
                        "needs no training and no mask.",
            search_aliases=["edit", "instruct", "replace", "prompt to prompt", "change",
                            "image editing", "toprovar"],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="The changed picture at its own "
                                                              "size."),
                io.Latent.Output(display_name="latent",
                                 tooltip="The sum of the codes before pixels are blended."),
                Report.Output(display_name="report", tooltip="What was run, and what it cost."),
                io.Mask.Output(display_name="mask", tooltip="The part that was redrawn: the "
                                                            "automatic mask, or the one that you "
                                                            "connected."),
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
                        default="a red apple", tooltip="What the picture shows now."),
        io.String.Input("target_prompt", multiline=True, dynamic_prompts=True,
                        default="a blue apple", tooltip="What the picture should show. Keep the "
                                                        "same words except for what changes."),
        common.seed(), common.images(tooltip="How many results are drawn for each given picture."),
        common.denoise("the changing part"),
        io.Float.Input("away", default=0.5, min=0.0, max=10.0, step=0.05,
                       tooltip="How strongly the result is pushed away from the old description. 0 "
                               "= it only follows the new one."),
        io.Combo.Input("mask_from", options=list(SIGNS), default=SIGNS[0],
                       tooltip="What is used to find the part where the descriptions disagree. Not "
                               "used if a mask is connected."),
        io.Float.Input("mask_share", default=0.0, min=0.0, max=0.99, step=0.01,
                       tooltip="Share of the picture that may change. 0 = decided by where the "
                               "descriptions disagree."),
        blend(), pixels(), *common.guidance(), common.preview(),
        io.Mask.Input("mask", optional=True, tooltip="White marks the part that may change. It "
                                                     "replaces the automatic mask."),
        common.negative(), common.plan(), common.size("The size from Infinity Size. It replaces "
                                                      "pixels."),
    ]
