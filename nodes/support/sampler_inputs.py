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
    return Model.Input("model", tooltip="From Load Infinity.")


def conditioning(tooltip: str = "What to draw, from Infinity Text Encode. Several prompts give a "
                                "picture each.") -> io.Input:
    return Conditioning.Input("conditioning", tooltip=tooltip)


def seed() -> io.Input:
    return io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED, control_after_generate=True,
                        tooltip="Image i is drawn from seed + i, so each can be drawn again alone.")


def images(default: int = 1, tooltip: str = "Pictures of each prompt.") -> io.Input:
    return io.Int.Input("images", default=default, min=1, max=MOST_IMAGES, tooltip=tooltip)


def aspect() -> io.Input:
    return io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                          tooltip="Width to height, where no size is connected.")


def pixels(tooltip: str = "Pixel budget, where no size is connected. auto: the plan's size, else "
                          "square at the model's own budget.") -> io.Input:
    return io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO, tooltip=tooltip)


def guidance() -> list[io.Input]:
    """cfg, tau and top_p."""
    return [
        io.Float.Input("cfg", default=0.0, min=0.0, max=100.0, step=0.1,
                       tooltip="How strongly the prompt guides. 0 = the model's own, 1 = off "
                               "(half the work)."),
        io.Float.Input("tau", default=0.0, min=0.0, max=10.0, step=0.05,
                       tooltip="Temperature: low is safe, high is varied. 0 = the model's own."),
        advanced(io.Float.Input("top_p", default=0.97, min=0.0, max=1.0, step=0.01,
                                tooltip="Leaves unlikely bits out. 0 = off.")),
    ]


def preview() -> io.Input:
    return advanced(io.Combo.Input("preview", options=[DECODED, OFF], default=DECODED,
                                   tooltip="A small decoded picture after every scale. off saves "
                                           "a little time."))


def denoise(name: str, optional: bool = False) -> io.Input:
    """How much is drawn anew.

    Args:
        name: of what, in the node's words.
    """
    return io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.05, optional=optional,
                          tooltip=f"How much of {name} is drawn anew, fine parts first: 0 = "
                                  "nothing, 1 = everything.")


def negative() -> io.Input:
    return Conditioning.Input("negative", optional=True,
                              tooltip="What to steer away from: one text for all, or as many as "
                                      "prompts. Without it the learned empty text is used.")


def plan(tooltip: str = "From Sparsity Planner or Load Plan. Without it the sampler chooses: "
                        "ToProVAR, or dense where that would not be faster. Connect a dense plan "
                        "to leave out nothing.") -> io.Input:
    return Plan.Input("plan", optional=True, tooltip=tooltip)


def size(tooltip: str = "From Infinity Size, in place of aspect and pixels.") -> io.Input:
    return Size.Input("size", optional=True, tooltip=tooltip)
