"""Infinity Size."""

from __future__ import annotations

from ..toprovar.schedules import schedule_for_size, size_notes
from .support.host import io
from .support.schema import Size, advanced, schema
from .support.sizes import aspects, budgets, schedule_named, size_error


class InfinitySize(io.ComfyNode):
    """Aspect and pixels to a scale schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Size", "Infinity Size",
            description="Chooses the size of the picture among those that Infinity was trained "
                        "on, and so its scales. Connect it to the sampler and the planner, so "
                        "that both use the same.",
            search_aliases=["resolution", "aspect ratio", "width", "height", "schedule",
                            "empty latent", "toprovar"],
            inputs=[
                io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                               tooltip="Width to height."),
                io.Combo.Input("pixels", options=budgets(), default="0.25M",
                               tooltip="How many pixels: 0.06M is 256 x 256, 0.25M 512 x 512, "
                                       "0.60M 768 x 768, 1M 1024 x 1024."),
                advanced(io.Int.Input(
                    "width", default=0, min=0, max=8192, step=16,
                    tooltip="In place of aspect and pixels: the nearest size that Infinity knows "
                            "is taken. 0 = use aspect and pixels.")),
                advanced(io.Int.Input("height", default=0, min=0, max=8192, step=16,
                                      tooltip="Goes with width.")),
            ],
            outputs=[
                Size.Output(display_name="size", tooltip="For the sampler and the planner."),
                io.Int.Output(display_name="width", tooltip="Of the picture, in pixels."),
                io.Int.Output(display_name="height", tooltip="Of the picture, in pixels."),
            ],
        )

    @classmethod
    def validate_inputs(cls, aspect: str = "1:1", pixels: str = "0.25M", width: int = 0,
                        height: int = 0) -> bool | str:
        for name, value in (("width", width), ("height", height)):
            if isinstance(value, int) and not 0 <= value <= 8192:
                return f"{name} must lie between 0 and 8192, got {value}"
        if isinstance(width, int) and isinstance(height, int) and bool(width) != bool(height):
            return (f"width is {width} and height is {height}: give both, or set both to 0 to use "
                    "aspect and pixels")
        if isinstance(width, int) and isinstance(height, int) and width and height:
            try:
                schedule_for_size(height, width)
            except ValueError as error:
                return str(error)
        return size_error(aspect, pixels, auto=False) or True

    @classmethod
    def execute(cls, aspect: str, pixels: str, width: int, height: int) -> io.NodeOutput:
        notes: tuple[str, ...] = ()
        if width and height:
            found = schedule_for_size(height, width)
            notes = size_notes(found, height, width)
        else:
            found = schedule_named(aspect, pixels)
        tall, wide = found.image_size
        scales = ", ".join(f"{w}x{h}" for h, w in found.grids)
        return io.NodeOutput(found, wide, tall, ui={
            "text": ["\n".join((f"{wide} x {tall} pixels, {len(found)} scales: {scales}", *notes))],
        })
