"""Infinity Encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support import sampler_inputs as common
from .support.host import io
from .support.schema import Conditioning, Draft, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from torch import Tensor

    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, Prompts

CROP, STRETCH = "crop", "stretch"


class InfinityEncode(io.ComfyNode):
    """Pictures to their bits."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Encode", "Infinity Encode",
            description="Turns pictures into the bits that Infinity draws with, scale by scale, at "
                        "the nearest size that it knows. Use them as drafts: vary them with the "
                        "sampler, inpaint, edit, or finish them at a larger size.",
            search_aliases=["VAE encode", "image to latent", "quantise", "tokenize", "img2img",
                            "draft", "toprovar"],
            has_intermediate_output=True,
            inputs=[
                common.model(),
                io.Image.Input("image", tooltip="One or several pictures of the same size."),
                common.pixels("Number of pixels. Not used if a size is connected. auto: as many "
                              "as the picture has, up to the model's own size. The aspect is the "
                              "one nearest to the picture's."),
                io.Combo.Input("fit", options=[CROP, STRETCH], default=CROP,
                               tooltip="What to do if the picture's aspect differs: crop cuts out "
                                       "its middle, stretch distorts the whole picture a little."),
                Conditioning.Input("conditioning", optional=True,
                                   tooltip="What the pictures show. It is needed only if Finish "
                                           "Drafts continues to a larger size."),
                common.size("The size from Infinity Size. It replaces pixels."),
            ],
            outputs=[
                Draft.Output(display_name="drafts", tooltip="The pictures' bits on all scales."),
                io.Image.Output(display_name="preview",
                                tooltip="The pictures as the model sees them. A denoise of 0 "
                                        "returns exactly this."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: Infinity, image: Tensor, pixels: str, fit: str,
                conditioning: Prompts | None = None, size: ScaleSchedule | None = None
                ) -> io.NodeOutput:
        from .support.contact_sheet import shown
        from .support.drafts import encoded_picture
        from .support.sources import pictures_of_image, schedule_of_picture

        pictures = pictures_of_image(image)
        height, width = pictures.shape[-2:]
        schedule = schedule_of_picture(model, height, width, size, pixels)
        drafts = encoded_picture(model, pictures, conditioning, schedule, fit)
        return io.NodeOutput(drafts, drafts.pictures, ui=shown(drafts))
