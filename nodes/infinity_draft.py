"""Infinity Draft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .support import sampler_inputs as common
from .support.host import io
from .support.schema import Draft, schema
from .support.sizes import choose_schedule
from .support.sockets import checked

if TYPE_CHECKING:
    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, PlanChoice, Prompts

AUTO = 0
"""Of ``until``."""
FINEST = 64
"""Tokens a side of the last scale of the largest square size."""


class InfinityDraft(io.ComfyNode):
    """The first scales of many pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Draft", "Infinity Draft",
            description="Draws only the first, coarse scales of many pictures. This is cheap, "
                        "because most of the work is in the last scales. Look at the drafts, "
                        "choose some, and let Finish Drafts draw the rest.",
            search_aliases=["draft", "thumbnails", "contact sheet", "variations", "batch",
                            "seed search", "preview", "toprovar"],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                Draft.Output(display_name="drafts",
                             tooltip="Connect them to Finish Drafts, Save Draft, or a sampler's "
                                     "latent_image."),
                io.Image.Output(display_name="preview", tooltip="What the drafts look like so "
                                                                "far."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, conditioning: Prompts, until: int, aspect: str, pixels: str,
        negative: Prompts | None = None, plan: PlanChoice | None = None,
        size: ScaleSchedule | None = None, **values: Any,
    ) -> io.NodeOutput:
        from .support.contact_sheet import shown
        from .support.drafts import draw_drafts
        from .support.sampling import Settings

        schedule = choose_schedule(size, aspect, pixels, model.default_pn,
                                   plan.schedule if plan is not None else None)
        drafts = draw_drafts(model, conditioning, negative, plan, schedule, Settings.of(values),
                             "auto" if until == AUTO else until)
        return io.NodeOutput(drafts, drafts.pictures, ui=shown(drafts))


def _inputs() -> list[io.Input]:
    return [
        common.model(), common.conditioning("What to draw, from Infinity Text Encode. Each prompt "
                                            "gives its own drafts."),
        common.seed(), common.images(8, "How many drafts are drawn for each prompt."),
        io.Int.Input("until", default=AUTO, min=AUTO, max=FINEST,
                     tooltip="The last scale that is drawn, by its tokens a side in the square "
                             "size. 8 shows the composition, 16 the objects, 32 nearly "
                             "everything. 0 = automatic: 16, or 8 at 0.06M pixels, where 16 is "
                             "already the finished picture."),
        common.aspect(), common.pixels(), *common.guidance(), common.preview(),
        common.negative(), common.plan(), common.size(),
    ]
