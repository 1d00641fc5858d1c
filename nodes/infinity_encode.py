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
            description="Turns pictures into what Infinity draws with: bits, scale by scale, at "
                        "the nearest size that it knows. They serve as drafts: to vary with the "
                        "sampler, to inpaint, to edit, or to finish at a larger size.",
            search_aliases=["VAE encode", "image to latent", "quantise", "tokenize", "img2img",
                            "draft", "toprovar"],
            has_intermediate_output=True,
            inputs=[
                common.model(),
                io.Image.Input("image", tooltip="Pictures of any one size."),
                common.pixels("Pixel budget, where no size is connected. auto: the model's own. "
                              "The aspect is the nearest to the picture's."),
                io.Combo.Input("fit", options=[CROP, STRETCH], default=CROP,
                               tooltip="What becomes of a picture of another aspect: its middle "
                                       "is cut out, or all of it is stretched a little."),
                Conditioning.Input("conditioning", optional=True,
                                   tooltip="What the pictures show. Only needed where Finish "
                                           "Drafts goes on to a larger size."),
                common.size("From Infinity Size, in place of pixels."),
            ],
            outputs=[
                Draft.Output(display_name="drafts", tooltip="All scales of the pictures."),
                io.Image.Output(display_name="preview",
                                tooltip="The pictures as the model reads them: what a denoise of "
                                        "0 gives back."),
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
