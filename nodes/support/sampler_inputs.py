"""Inputs that several nodes which draw have in common."""

from __future__ import annotations

from .host import io
from .schema import Conditioning, Model, Plan, Size, advanced
from .sizes import AUTO, aspects, budgets

DECODED, OFF = "decoded", "off"
MOST_IMAGES = 64
LARGEST_SEED = (1 << 64) - 1
"""As in ComfyUI's own samplers. The seed after it is 0."""


def model() -> io.Input:
    return Model.Input("model", tooltip="The model from Load Infinity.")


def conditioning(tooltip: str = "What to draw, from Infinity Text Encode. Several prompts give one "
                                "picture each.") -> io.Input:
    return Conditioning.Input("conditioning", tooltip=tooltip)


def seed() -> io.Input:
    return io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED, control_after_generate=True,
                        tooltip="Picture i is drawn from seed + i, so each picture can be drawn "
                                "again alone.")


def images(default: int = 1, tooltip: str = "How many pictures are drawn for each "
                                            "prompt.") -> io.Input:
    return io.Int.Input("images", default=default, min=1, max=MOST_IMAGES, tooltip=tooltip)


def aspect() -> io.Input:
    return io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                          tooltip="Width to height of the picture. Not used if a size is "
                                  "connected.")


def pixels(tooltip: str = "Number of pixels. Not used if a size is connected. auto: the plan's "
                          "size, or without one a square at the model's own size.") -> io.Input:
    return io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO, tooltip=tooltip)


def guidance() -> list[io.Input]:
    """cfg, tau and top_p."""
    return [
        io.Float.Input("cfg", default=0.0, min=0.0, max=100.0, step=0.1,
                       tooltip="How strongly the prompt guides the picture. 0 = the model's "
                               "default, 1 = no guidance, which halves the work."),
        io.Float.Input("tau", default=0.0, min=0.0, max=10.0, step=0.05,
                       tooltip="Temperature: low values give safe results, high values varied "
                               "ones. 0 = the model's default."),
        advanced(io.Float.Input("top_p", default=0.97, min=0.0, max=1.0, step=0.01,
                                tooltip="Leaves out unlikely values when a bit is drawn. 0 = "
                                        "off.")),
    ]


def preview() -> io.Input:
    return advanced(io.Combo.Input("preview", options=[DECODED, OFF], default=DECODED,
                                   tooltip="Show a small picture after every scale. off saves a "
                                           "little time."))


def denoise(name: str, optional: bool = False) -> io.Input:
    """How much is drawn anew.

    Args:
        name: of what, in the node's words.
    """
    return io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.05, optional=optional,
                          tooltip=f"How much of {name} is redrawn, starting with fine "
                                  "details. 0 = nothing, 1 = everything.")


def negative() -> io.Input:
    return Conditioning.Input("negative", optional=True,
                              tooltip="What the picture should not show. Give one text for all "
                                      "prompts, or one for each. Without it the model's learned "
                                      "empty text is used.")


def plan(tooltip: str = "The plan from Sparsity Planner or Load Plan. Without it the sampler "
                        "chooses: a ToProVAR plan, or a dense run if that plan would not be "
                        "faster. Connect a dense plan to leave nothing out.") -> io.Input:
    return Plan.Input("plan", optional=True, tooltip=tooltip)


def size(tooltip: str = "The size from Infinity Size. It replaces aspect and pixels.") -> io.Input:
    return Size.Input("size", optional=True, tooltip=tooltip)
