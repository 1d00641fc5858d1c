"""Entropy Analyzer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.host import io, to_pil
from .support.sampler_inputs import LARGEST_SEED
from .support.schema import Conditioning, Model, Size, Trace, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule
from .support.sockets import checked

if TYPE_CHECKING:
    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, Prompts


class EntropyAnalyzer(io.ComfyNode):
    """Where a model looks, token by token."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_EntropyAnalyzer", "Entropy Analyzer",
            description="Draws each prompt in full and measures how widely every token's attention "
                        "is spread (its entropy). It shows entropy maps of all scales and layers, "
                        "tells Global layers from Detail layers, and compares scales.",
            search_aliases=["attention", "entropy", "heatmap", "analyze", "visualize",
                            "toprovar"],
            has_intermediate_output=True,
            inputs=[
                Model.Input("model", tooltip="The model from Load Infinity."),
                Conditioning.Input("conditioning", tooltip="The prompts to draw. Several prompts "
                                                           "give more stable results."),
                io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED,
                             control_after_generate=False,
                             tooltip="Picture i is drawn from seed + i."),
                io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                               tooltip="Width to height of the picture. Not used if a size is "
                                       "connected."),
                io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                               tooltip="Number of pixels. Not used if a size is connected. auto: "
                                       "the model's own size."),
                io.Float.Input("cfg", default=0.0, min=0.0, max=100.0, step=0.1,
                               tooltip="How strongly the prompt guides these pictures. 0 = the "
                                       "model's default."),
                io.Float.Input("tau", default=0.0, min=0.0, max=10.0, step=0.05,
                               tooltip="Temperature of these pictures. 0 = the model's default."),
                Size.Input("size", optional=True, tooltip="The size from Infinity Size."),
            ],
            outputs=[
                Trace.Output(display_name="trace", tooltip="Connect it to the planner."),
                io.Image.Output(display_name="maps",
                                tooltip="Entropy maps of the first picture: scales from left to "
                                        "right, layers from top to bottom."),
                io.Image.Output(display_name="layers",
                                tooltip="How the layers differ, and which are Global or Detail."),
                io.Image.Output(display_name="scales", tooltip="How the scales differ."),
                io.Image.Output(display_name="images", tooltip="The pictures, drawn in full."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: Infinity, conditioning: Prompts, seed: int, aspect: str,
                pixels: str, cfg: float, tau: float, size: ScaleSchedule | None = None
                ) -> io.NodeOutput:
        from .support.pictures import trace_images
        from .support.traces import measure

        schedule = choose_schedule(size, aspect, pixels, model.default_pn)
        found = measure(model, conditioning, schedule, seed, cfg, tau)
        images = model.vae.decode(found.latents)
        maps, layers, scales = trace_images(found, to_pil(images[0]))
        return io.NodeOutput(found, maps, layers, scales, images, ui={
            "toprovar_trace": [found.to_json()],
        })
