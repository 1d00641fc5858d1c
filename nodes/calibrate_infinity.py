"""Calibrate Infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.host import io, ui
from .support.schema import Conditioning, Model, Size, TextEncoder, advanced, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule
from .support.sockets import checked

if TYPE_CHECKING:
    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, Prompts
    from .support.infinity import TextEncoder as Encoder

LARGEST_SEED = (1 << 53) - 1
"""Pictures are drawn from this and the seeds behind it."""


class CalibrateInfinity(io.ComfyNode):
    """What a model can leave out, measured on its own pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_CalibrateInfinity", "Calibrate Infinity",
            description="Measures for some minutes what this model can leave out at this size, and "
                        "saves the result in models/infinity/calibrations. Samplers and planners "
                        "use it from then on, so once is enough. You can stop it at any time and "
                        "continue later.",
            search_aliases=["calibration", "benchmark", "tune", "optimize", "speed up",
                            "toprovar"],
            inputs=[
                Model.Input("model", tooltip="The model from Load Infinity."),
                io.Float.Input(
                    "minutes", default=5.0, min=0.5, max=600.0, step=0.5,
                    tooltip="How many minutes this model is measured in total, including earlier "
                            "measurements. Running the node again does nothing unless the number "
                            "is larger. Slow devices and large sizes need more."),
                io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED,
                             control_after_generate=False,
                             tooltip="Seed of the measured pictures. Another seed starts over with "
                                     "other pictures."),
                io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                               tooltip="Width to height of the picture. Not used if a size is "
                                       "connected."),
                io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                               tooltip="Number of pixels. Not used if a size is connected. Choose "
                                       "the one that you draw with. auto: the model's own size."),
                advanced(io.Float.Input(
                    "target", default=0.95, min=0.5, max=0.99, step=0.01,
                    tooltip="How similar to the full picture (SSIM) a faster one must be to count "
                            "as unharmed. Changing it needs no new measurements.")),
                advanced(io.Boolean.Input(
                    "resume", default=True, label_on="go on", label_off="begin anew",
                    tooltip="On: earlier measurements of the same model, prompts, seed and size "
                            "are used. Off: they are discarded, and everything is measured "
                            "again.")),
                TextEncoder.Input("text_encoder", optional=True,
                                  tooltip="The text encoder from Load Infinity, for the built-in "
                                          "prompts. Not needed if a conditioning is connected."),
                Conditioning.Input("conditioning", optional=True,
                                   tooltip="Your own prompts instead of the built-in ones: about "
                                           "twenty that are similar to what you draw."),
                Size.Input("size", optional=True, tooltip="The size from Infinity Size. It "
                                                          "replaces aspect and pixels."),
            ],
            outputs=[
                Model.Output(display_name="model",
                             tooltip="The same model. Samplers and planners that are connected "
                                     "here run after the calibration and use it."),
                io.Image.Output(display_name="picture",
                                tooltip="A chart of all plans that were measured: similarity to "
                                        "the full picture against time, and which plans will be "
                                        "used."),
                io.String.Output(display_name="text",
                                 tooltip="What was found, and where it is saved."),
            ],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(cls, model: Infinity, minutes: float, seed: int, aspect: str, pixels: str,
                target: float, resume: bool, text_encoder: Encoder | None = None,
                conditioning: Prompts | None = None, size: ScaleSchedule | None = None
                ) -> io.NodeOutput:
        from .support.calibrating import calibrate
        from .support.pictures import calibration_image

        schedule = choose_schedule(size, aspect, pixels, model.default_pn)
        done = calibrate(model, text_encoder, conditioning, schedule, minutes=minutes,
                         target=target, seed=seed, resume=resume)
        picture = calibration_image(done.found, model.pipeline.transformer.shape)
        return io.NodeOutput(model, picture, done.text, ui={
            **ui.PreviewImage(picture, cls=cls).as_dict(), "text": [done.text],
        })
