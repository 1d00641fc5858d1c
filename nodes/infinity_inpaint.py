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
            description="Draws a masked part of a picture anew; everything else stays as it is, "
                        "bit for bit. Behind Pad Image for Outpainting it draws what lies beyond "
                        "the edges. Small parts are faster than whole pictures.",
            search_aliases=["inpaint", "outpaint", "mask", "replace", "remove", "fill",
                            "generative fill", "toprovar"],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture, at its own size; "
                                                              "outpainted, at a listed one."),
                io.Latent.Output(display_name="latent",
                                 tooltip="Summed codes before pixels are blended: outside of the "
                                         "mask exactly the source's."),
                Report.Output(display_name="report", tooltip="What was run and what it cost."),
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
                              tooltip="A picture, or drafts of all scales (Infinity Encode).")


def blend() -> io.Input:
    return advanced(io.Int.Input(
        "blend", default=16, min=-1, max=MOST,
        tooltip="Pixels outside of the mask over which drawn pixels go over into the given ones. "
                "Beyond them the picture's pixels are untouched. -1 = all of it as the VAE decodes "
                "it."))


def pixels() -> io.Input:
    return common.pixels("Pixel budget that is drawn at, where no size is connected. auto: the "
                         "model's own. The result comes back at the picture's size.")


def _inputs() -> list[io.Input]:
    return [
        common.model(), common.conditioning("What the picture is to show, from Infinity Text "
                                            "Encode: all of it, with the new part."),
        picture(),
        io.Mask.Input("mask", tooltip="White where something is drawn. From the mask editor of "
                                      "Load Image, or Pad Image for Outpainting."),
        common.seed(), common.images(), common.denoise("the masked part"),
        io.Int.Input("feather", default=0, min=0, max=MOST,
                     tooltip="Pixels by which the mask grows, softly: room for the new part and "
                             "its shadow."),
        blend(),
        advanced(io.Int.Input(
            "crop_padding", default=-1, min=-1, max=MOST,
            tooltip="Draw only the mask's surroundings, so many pixels around it, at the full "
                    "size: fine detail in large pictures. -1 = the whole picture.")),
        pixels(), *common.guidance(), common.preview(), common.negative(), common.plan(),
        common.size("From Infinity Size, in place of pixels."),
    ]
