"""Infinity Inpaint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .support import sampler_inputs as common
from .support.host import io
from .support.schema import Draft, Report, advanced, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from torch import Tensor

    from ..toprovar.schedules import ScaleSchedule
    from .support.drafts import Drafts
    from .support.infinity import Infinity, PlanChoice, Prompts

MOST = 4096
"""Pixels."""


class InfinityInpaint(io.ComfyNode):
    """A part of a picture drawn anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Inpaint", "Infinity Inpaint",
            description="Redraws the masked part of a picture. Everything else stays as it is, bit "
                        "for bit. After Pad Image for Outpainting it draws what lies beyond the "
                        "edges. A small part takes less time than a whole picture.",
            search_aliases=["inpaint", "outpaint", "mask", "replace", "remove", "fill",
                            "generative fill", "toprovar"],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture at its own size. After "
                                                              "outpainting: at the nearest size "
                                                              "that the model knows."),
                io.Latent.Output(display_name="latent",
                                 tooltip="The sum of the codes before pixels are blended. Outside "
                                         "the mask it equals the source exactly."),
                Report.Output(display_name="report", tooltip="What was run, and what it cost."),
                io.Mask.Output(display_name="mask", tooltip="The mask as it was used: feathered, "
                                                            "at the picture's size."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, conditioning: Prompts, image: Tensor | Drafts, mask: Tensor,
        pixels: str, feather: int, blend: int, crop_padding: int, denoise: float = 1.0,
        negative: Prompts | None = None, plan: PlanChoice | None = None,
        size: ScaleSchedule | None = None, **values: Any,
    ) -> io.NodeOutput:
        from .support.painting import Brush, mask_for, masked
        from .support.sampling import Settings, draw

        brush = Brush(denoise, feather, blend, crop_padding)
        given = masked(model, image, mask, brush, size, pixels, plan)
        report, drawn = draw(model, conditioning, negative, plan, given.schedule,
                             Settings.of(values), given)
        return io.NodeOutput(drawn, report.latent, report, mask_for(given.mask, drawn),
                             ui=report.shown)


def picture() -> io.Input:
    """A picture of pixels or of bits."""
    return io.MultiType.Input("image", types=[io.Image, Draft],
                              tooltip="A picture, or drafts of all scales from Infinity Encode.")


def blend() -> io.Input:
    return advanced(io.Int.Input(
        "blend", default=16, min=-1, max=MOST,
        tooltip="How many pixels outside the mask are blended between the new and the given "
                "picture. Beyond them the given pixels stay unchanged. -1 = show the whole picture "
                "as the VAE decodes it."))


def pixels() -> io.Input:
    return common.pixels("Number of pixels that the model draws. Not used if a size is connected. "
                         "auto: as many as the picture has, up to the model's own size, or those "
                         "of the plan. The result has the picture's size.")


def _inputs() -> list[io.Input]:
    return [
        common.model(), common.conditioning("What the whole picture should show, including the new "
                                            "part. From Infinity Text Encode."),
        picture(),
        io.Mask.Input("mask", tooltip="White marks the part to redraw. Use the mask editor of Load "
                                      "Image, or Pad Image for Outpainting."),
        common.seed(), common.images(), common.denoise("the masked part"),
        io.Int.Input("feather", default=0, min=0, max=MOST,
                     tooltip="How many pixels the mask grows outwards, with a soft edge. It gives "
                             "the new part and its shadow room."),
        blend(),
        advanced(io.Int.Input(
            "crop_padding", default=-1, min=-1, max=MOST,
            tooltip="Draw only the mask and this many pixels around it, at the model's full size. "
                    "It gives small parts of large pictures more detail. -1 = draw the whole "
                    "picture.")),
        pixels(), *common.guidance(), common.preview(), common.negative(), common.plan(),
        common.size("The size from Infinity Size. It replaces pixels."),
    ]
