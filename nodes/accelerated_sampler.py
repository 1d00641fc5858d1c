"""Accelerated Sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .support.host import ExecutionBlocker, from_pil, io, to_pil
from .support.schema import Conditioning, Model, Plan, Report, Size, advanced, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule
from .support.sockets import checked
from .support.strategy_inputs import STRATEGIES

if TYPE_CHECKING:
    from torch import Tensor

    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, PlanChoice, Prompts

DECODED, OFF = "decoded", "off"
MOST_IMAGES = 64
LARGEST_SEED = (1 << 64) - 1
"""As in ComfyUI's own samplers. The seed after it is 0."""


class AcceleratedSampler(io.ComfyNode):
    """Pictures from text features."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Sampler", "Accelerated Sampler (fast)",
            description="Draws pictures scale by scale and leaves out what the plan says needs "
                        "no work. Without a plan the sampler chooses: ToProVAR by the model's "
                        "calibration, or by the prior for Infinity models, one plan for all "
                        "prompts; dense where that would not be faster.",
            search_aliases=["fast", "fast sampler", "KSampler", "sampler", "infinity", "generate",
                            "text to image", *STRATEGIES],
            has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(display_name="image", tooltip="Decoded with the model's own VAE."),
                io.Latent.Output(display_name="latent",
                                 tooltip="Summed codes, for VAE Decode with the VAE of Load "
                                         "Infinity."),
                Report.Output(display_name="report",
                              tooltip="What was run and what it cost, its time beside a dense "
                                      "run's: for Compare Runs, or to read in Preview Any."),
                Plan.Output(display_name="used plan",
                            tooltip="The plan as it was at the end of the (first) run."),
                io.Image.Output(display_name="overlay",
                                tooltip="Tokens that were dropped, faded, scale by scale. Needs "
                                        "overlay switched on."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, conditioning: Prompts, seed: int, images: int, aspect: str,
        pixels: str, cfg: float, tau: float, top_p: float, preview: str, overlay: bool,
        negative: Prompts | None = None, plan: PlanChoice | None = None,
        size: ScaleSchedule | None = None,
    ) -> io.NodeOutput:
        from .support.infinity import PlanChoice
        from .support.pictures import overlay_image
        from .support.runs import draw, plan_used

        schedule = choose_schedule(size, aspect, pixels, model.default_pn,
                                   plan.schedule if plan is not None else None)
        report, image = draw(
            model, conditioning, negative, plan, schedule, seed=seed, images=images, cfg=cfg,
            tau=tau, top_p=top_p, preview=preview == DECODED, overlay=overlay,
        )
        used = PlanChoice(plan_used(report.runs[0]), schedule)
        shown: Tensor | ExecutionBlocker
        if overlay:
            shown = from_pil(overlay_image(to_pil(image[0]), report.kept))
        else:
            shown = ExecutionBlocker("switch on overlay in the sampler to see dropped tokens")
        report = replace(report, pictures=image)
        return io.NodeOutput(image, {"samples": report.latents}, report, used, shown, ui={
            "toprovar_report": [report.to_json()], "text": [str(report)],
        })


def _inputs() -> list[io.Input]:
    return [
        Model.Input("model", tooltip="From Load Infinity."),
        Conditioning.Input("conditioning", tooltip="What to draw, from Infinity Text Encode. "
                                                   "Several prompts give a picture each."),
        io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED, control_after_generate=True,
                     tooltip="Image i is drawn from seed + i, so each can be drawn again alone."),
        io.Int.Input("images", default=1, min=1, max=MOST_IMAGES,
                     tooltip="Pictures of each prompt."),
        io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                       tooltip="Width to height, where no size is connected."),
        io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                       tooltip="Pixel budget, where no size is connected. auto: the plan's size, "
                               "else square at the model's own budget."),
        io.Float.Input("cfg", default=0.0, min=0.0, max=100.0, step=0.1,
                       tooltip="How strongly the prompt guides. 0 = the model's own, 1 = off "
                               "(half the work)."),
        io.Float.Input("tau", default=0.0, min=0.0, max=10.0, step=0.05,
                       tooltip="Temperature: low is safe, high is varied. 0 = the model's own."),
        advanced(io.Float.Input("top_p", default=0.97, min=0.0, max=1.0, step=0.01,
                                tooltip="Leaves unlikely bits out. 0 = off.")),
        advanced(io.Combo.Input("preview", options=[DECODED, OFF], default=DECODED,
                                tooltip="A small decoded picture after every scale. off saves a "
                                        "little time.")),
        advanced(io.Boolean.Input("overlay", default=False,
                                  tooltip="Also draw which tokens were dropped.")),
        Conditioning.Input("negative", optional=True,
                           tooltip="What to steer away from: one text for all, or as many as "
                                   "prompts. Without it the learned empty text is used."),
        Plan.Input("plan", optional=True,
                   tooltip="From Sparsity Planner or Load Plan. Without it the sampler chooses: "
                           "ToProVAR, or dense where that would not be faster. Connect a dense "
                           "plan to leave out nothing."),
        Size.Input("size", optional=True, tooltip="From Infinity Size, in place of aspect and "
                                                  "pixels."),
    ]
