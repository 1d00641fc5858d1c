"""Infinity Instruct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .support import sampler_inputs as common
from .support.host import io
from .support.schema import Report, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from torch import Tensor

    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, PlanChoice, Prompts


class InfinityInstruct(io.ComfyNode):
    """A picture edited by an instruction, with a VAREdit model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Instruct", "Infinity Instruct",
            description="Edits a picture by an instruction such as 'make it winter'. It needs a "
                        "VAREdit model: choose the family varedit in Load Infinity. With an "
                        "Infinity model use Infinity Edit instead.",
            search_aliases=["instruct", "instruction", "edit", "varedit", "kontext",
                            "image editing", "toprovar"],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="The edited picture at its own "
                                                              "size."),
                io.Latent.Output(display_name="latent",
                                 tooltip="The sum of the codes of what was drawn, including the "
                                         "padding."),
                Report.Output(display_name="report", tooltip="What was run, and what it cost."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, image: Tensor, instruction: str, crop: bool, pixels: str,
        negative: Prompts | None = None, plan: PlanChoice | None = None,
        size: ScaleSchedule | None = None, **values: Any,
    ) -> io.NodeOutput:
        from .support.instructed import follow
        from .support.sampling import Settings

        report, drawn = follow(model, image, instruction, negative, plan, size, pixels, crop,
                               Settings.of(values))
        return io.NodeOutput(drawn, report.latent, report, ui=report.shown)


def _inputs() -> list[io.Input]:
    return [
        common.model(),
        io.Image.Input("image", tooltip="The picture to edit, of any size. In a batch, each "
                                        "picture is edited."),
        io.String.Input("instruction", multiline=True, dynamic_prompts=True,
                        default="make it winter", tooltip="What should change in the picture."),
        common.seed(), common.images(tooltip="How many results are drawn for each picture."),
        io.Boolean.Input("crop", default=False,
                         tooltip="On: edit only the middle square, as the model was trained. Off: "
                                 "edit the whole picture, padded with white."),
        common.pixels("Number of pixels that the model draws. Not used if a size is connected. "
                      "auto: the model's own size. The result is resized to the picture's size."),
        *common.guidance(), common.preview(), common.negative(),
        common.plan("The plan from Sparsity Planner or Load Plan. Without it everything is drawn "
                    "in full."),
        common.size("The size from Infinity Size. It replaces pixels. The models were trained on "
                    "squares."),
    ]
