"""Finish Drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support import sampler_inputs as common
from .support.contact_sheet import ALL, chosen, shown, which_error
from .support.host import ExecutionBlocker, io
from .support.schema import Draft, Report, schema
from .support.sizes import SAME, budgets
from .support.sockets import checked

if TYPE_CHECKING:
    from .support.drafts import Drafts
    from .support.infinity import Infinity, PlanChoice


class FinishDrafts(io.ComfyNode):
    """Drafts to pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_FinishDrafts", "Finish Drafts",
            description="Draws the scales that drafts still lack. The result is bit for bit the "
                        "picture that the sampler draws at once with the same prompt, seed and "
                        "plan. Click drafts on the sheet to choose them, and run again.",
            search_aliases=["finish", "refine", "upscale", "hires fix", "choose", "draft",
                            "toprovar"],
            has_intermediate_output=True,
            inputs=[
                common.model(),
                Draft.Input("drafts", tooltip="Drafts from Infinity Draft, Load Draft or Infinity "
                                              "Encode."),
                io.String.Input("which", default=ALL,
                                tooltip='Numbers on the sheet, such as "1,3-5", or "all". If '
                                        "empty, no draft is finished and the node shows the sheet "
                                        "to choose from."),
                io.Combo.Input("pixels", options=[SAME, *budgets()], default=SAME,
                               tooltip="Continue to a larger number of pixels with the same "
                                       "aspect."),
                common.preview(),
                common.plan("Without it the drafts' own plan is used, and the pictures are exactly "
                            "those drawn at once. A plan made during the run must be connected "
                            "again."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The finished pictures."),
                io.Latent.Output(display_name="latent",
                                 tooltip="The sum of the codes of all scales, as from the "
                                         "Accelerated Sampler."),
                Report.Output(display_name="report", tooltip="What was run, and what it cost."),
            ],
        )

    @classmethod
    def validate_inputs(cls, which: str = ALL) -> bool | str:
        return which_error(which) or True

    @classmethod
    @checked
    def execute(cls, model: Infinity, drafts: Drafts, which: str, pixels: str, preview: str,
                plan: PlanChoice | None = None) -> io.NodeOutput:
        from .support.drafts import finish_drafts

        numbers = chosen(which, len(drafts))
        if not numbers:
            nothing = ExecutionBlocker(None)
            return io.NodeOutput(nothing, nothing, nothing, ui=shown(
                drafts, done=f"{drafts.about}. Click those to finish, then run again."))
        report, image = finish_drafts(model, drafts, numbers, plan, pixels,
                                      preview == common.DECODED)
        sheet = shown(drafts, numbers)
        return io.NodeOutput(image, report.latent, report, ui={**sheet, **report.shown})
