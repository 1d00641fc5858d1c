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
            description="Draws each prompt in full and measures how widely every token's "
                        "attention is spread: entropy maps of all scales and layers, which "
                        "layers are Global or Detail, and how scales differ.",
            search_aliases=["attention", "entropy", "heatmap", "analyze", "visualize",
                            "toprovar"],
            has_intermediate_output=True,
            inputs=[
                Model.Input("model", tooltip="From Load Infinity."),
                Conditioning.Input("conditioning", tooltip="The prompts that are drawn; several "
                                                           "give a steadier result."),
                io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED,
                             control_after_generate=False,
                             tooltip="Picture i is drawn from seed + i."),
                io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                               tooltip="Width to height, where no size is connected."),
                io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                               tooltip="Pixel budget, where no size is connected. auto: the "
                                       "model's own."),
                io.Float.Input("cfg", default=0.0, min=0.0, max=100.0, step=0.1,
                               tooltip="Guidance of these runs. 0 = the model's own."),
                io.Float.Input("tau", default=0.0, min=0.0, max=10.0, step=0.05,
                               tooltip="Temperature of these runs. 0 = the model's own."),
                Size.Input("size", optional=True, tooltip="From Infinity Size."),
            ],
            outputs=[
                Trace.Output(display_name="trace", tooltip="For the planner."),
                io.Image.Output(display_name="maps",
                                tooltip="Entropy maps of the first picture: scales across, "
                                        "layers down."),
                io.Image.Output(display_name="layers",
                                tooltip="How layers differ, and their classes."),
                io.Image.Output(display_name="scales", tooltip="How scales differ."),
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
