"""Accelerated Sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .support import sampler_inputs as common
from .support.host import ExecutionBlocker, from_pil, io, to_pil
from .support.schema import Draft, Plan, Report, advanced, schema
from .support.sizes import choose_schedule
from .support.sockets import checked
from .support.strategy_inputs import STRATEGIES

if TYPE_CHECKING:
    from torch import Tensor

    from ..toprovar.schedules import ScaleSchedule
    from .support.drafts import Drafts
    from .support.infinity import Infinity, PlanChoice, Prompts


class AcceleratedSampler(io.ComfyNode):
    """Pictures from text features."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Sampler", "Accelerated Sampler (fast)",
            description="Draws pictures scale by scale, from coarse to fine. A plan says which "
                        "work is left out. Without a plan the sampler chooses one for all prompts: "
                        "a ToProVAR plan by the model's calibration (or, without a calibration, by "
                        "defaults for Infinity models), or a dense run if that plan would not be "
                        "faster. With a latent_image it redraws that picture's fine details; "
                        "denoise says how much.",
            search_aliases=["fast", "fast sampler", "KSampler", "sampler", "infinity", "generate",
                            "text to image", "image to image", "img2img", "variations",
                            *STRATEGIES],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures, decoded with the "
                                                              "model's own VAE."),
                io.Latent.Output(display_name="latent",
                                 tooltip="The sum of the codes of all scales. Decode it with VAE "
                                         "Decode and the VAE of Load Infinity, or connect it to "
                                         "another sampler's latent_image."),
                Report.Output(display_name="report",
                              tooltip="What was run, what it cost, and its time beside that of a "
                                      "dense run. Connect it to Compare Runs, or to Preview Any to "
                                      "read it."),
                Plan.Output(display_name="used plan",
                            tooltip="The plan as it was at the end of the first run."),
                io.Image.Output(display_name="overlay",
                                tooltip="The picture with dropped tokens faded, scale by scale. "
                                        "Needs the input overlay to be on."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, conditioning: Prompts, seed: int, images: int, aspect: str,
        pixels: str, cfg: float, tau: float, top_p: float, preview: str, overlay: bool,
        negative: Prompts | None = None, plan: PlanChoice | None = None,
        size: ScaleSchedule | None = None,
        latent_image: Drafts | Mapping[str, Any] | None = None, denoise: float = 1.0,
    ) -> io.NodeOutput:
        from .support.infinity import PlanChoice
        from .support.pictures import overlay_image
        from .support.runs import plan_used
        from .support.sampling import Settings, draw
        from .support.sources import of_latent

        given = None
        if latent_image is not None:
            given = of_latent(model, latent_image, denoise, size, aspect, pixels)
            schedule = given.schedule
        else:
            schedule = choose_schedule(size, aspect, pixels, model.default_pn,
                                       plan.schedule if plan is not None else None)
        settings = Settings(seed, images, cfg, tau, top_p, preview == common.DECODED, overlay)
        report, image = draw(model, conditioning, negative, plan, schedule, settings, given)
        used = PlanChoice(plan_used(report.runs[0]), schedule)
        shown: Tensor | ExecutionBlocker
        if overlay:
            shown = from_pil(overlay_image(to_pil(image[0]), report.kept))
        else:
            shown = ExecutionBlocker("switch on overlay in the sampler to see dropped tokens")
        return io.NodeOutput(image, report.latent, report, used, shown, ui=report.shown)


def _inputs() -> list[io.Input]:
    return [
        common.model(), common.conditioning(), common.seed(), common.images(), common.aspect(),
        common.pixels(), *common.guidance(), common.preview(),
        advanced(io.Boolean.Input("overlay", default=False,
                                  tooltip="Also draw a picture of which tokens were dropped.")),
        common.negative(), common.plan(), common.size(),
        io.MultiType.Input("latent_image", types=[io.Latent, Draft], optional=True,
                           tooltip="A picture to start from: the output of VAE Encode, of another "
                                   "sampler, or drafts. The result has its size. If it has a noise "
                                   "mask, everything outside the mask is kept."),
        common.denoise("latent_image", optional=True),
    ]
