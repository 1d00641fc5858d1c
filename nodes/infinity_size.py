"""Infinity Size."""

from __future__ import annotations

from typing import Any

from ..toprovar.schedules import schedule_for_size, size_notes
from .support.dynamic import DYNAMIC, choice, plain_values, with_layout
from .support.host import io
from .support.schema import Size, advanced, schema
from .support.sizes import aspects, budgets, schedule_named, size_error

BY_ASPECT, BY_SIZE = "aspect and pixels", "width and height"
DEFAULT_PIXELS = "0.25M"
LEAST = 16
"""Pixels of a side."""


class InfinitySize(io.ComfyNode):
    """Aspect and pixels to a scale schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_Size", "Infinity Size",
            description="Chooses a picture size among those that Infinity was trained on. The size "
                        "also decides the scales. Connect it to the sampler and the planner, so "
                        "that both use the same size.",
            search_aliases=["resolution", "aspect ratio", "width", "height", "schedule",
                            "empty latent", "toprovar"],
            accept_all_inputs=True, has_intermediate_output=True,
            inputs=_inputs(),
            outputs=[
                Size.Output(display_name="size", tooltip="Connect it to the sampler and the "
                                                         "planner."),
                io.Int.Output(display_name="width", tooltip="Width of the picture in pixels."),
                io.Int.Output(display_name="height", tooltip="Height of the picture in pixels."),
            ],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        given = plain_values(values)
        width, height = given.get("width", 0), given.get("height", 0)
        # Requests from before "by" was there: width and height, where they are not 0.
        by = given.get("by") or (BY_ASPECT if width == height == 0 else BY_SIZE)
        notes: tuple[str, ...] = ()
        if by == BY_SIZE:
            if not (width and height):
                raise ValueError(f"width is {width} and height is {height}: give both, or choose "
                                 f"the size by {BY_ASPECT}")
            found = schedule_for_size(height, width)
            notes = size_notes(found, height, width)
        else:
            aspect, pixels = given.get("aspect", "1:1"), given.get("pixels", DEFAULT_PIXELS)
            if wrong := size_error(aspect, pixels, auto=False):
                raise ValueError(wrong)
            found = schedule_named(aspect, pixels)
        tall, wide = found.image_size
        scales = ", ".join(f"{w}x{h}" for h, w in found.grids)
        return io.NodeOutput(found, wide, tall, ui={
            "text": ["\n".join((f"{wide} x {tall} pixels, {len(found)} scales: {scales}", *notes))],
        })


def _inputs() -> list[io.Input]:
    about = "Choose the size by aspect and pixels, or by width and height."
    aspect = io.Combo.Input("aspect", options=list(aspects()), default="1:1", optional=DYNAMIC,
                            tooltip="Width to height of the picture.")
    pixels = io.Combo.Input("pixels", options=budgets(), default=DEFAULT_PIXELS, optional=DYNAMIC,
                            tooltip="Number of pixels: 0.06M is 256 x 256, 0.25M is 512 x 512, "
                                    "0.60M is 768 x 768, 1M is 1024 x 1024.")
    least = LEAST if DYNAMIC else 0  # by plain names, requests of earlier releases say 0 for none
    width = io.Int.Input("width", default=512, min=least, max=8192, step=16, optional=DYNAMIC,
                         tooltip="Width of the picture in pixels. The nearest size that Infinity "
                                 "knows is used. Only used if the size is chosen by "
                                 f"{BY_SIZE}.")
    height = io.Int.Input("height", default=512, min=least, max=8192, step=16, optional=DYNAMIC,
                          tooltip="Height of the picture in pixels. It is used together with "
                                  "width.")
    options: dict[str, list[io.Input]] = {BY_ASPECT: [aspect, pixels], BY_SIZE: [width, height]}
    plain, groups = [aspect, pixels, width, height, "by"], {"by": options}
    if DYNAMIC:
        return [with_layout(choice("by", options, about, optional=True), plain, ["by"], groups)]
    return [with_layout(aspect, plain, ["by"], groups), pixels, advanced(width), advanced(height),
            advanced(io.Combo.Input("by", options=list(options), default=BY_ASPECT, optional=True,
                                    tooltip=about))]
