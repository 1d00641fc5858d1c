"""One picture of the embedded model, drawn again under other plans."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from toprovar import InfinityPipeline, bundled_model, get_schedule
from toprovar.evaluation.metrics import ssim
from toprovar.figures.sheet import SOFT, Sheet
from toprovar.models.autoencoder import to_uint8
from toprovar.sampling.run import ScaleState
from toprovar.schedules import ScaleSchedule
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import SparsityPlan, dense_plan

PROMPT, SEED, PIXELS = "a dog to the left of a car", 3, "0.25M"


@dataclass(frozen=True)
class Drawn:
    """One run.

    Attributes:
        codes: summed codes after every scale that was run, by its index, [1, d, H, W].
        bits: of each of these scales, [N, d] uint8.
        states: what the run said of each of them.
    """

    image: Image.Image
    plan: SparsityPlan
    codes: dict[int, Tensor]
    bits: dict[int, Tensor]
    states: dict[int, ScaleState]


class Studio:
    """The embedded model, with the dense picture that others are held against."""

    def __init__(self) -> None:
        self.pipe = InfinityPipeline.from_folder(bundled_model(), torch_dtype=torch.float32)
        self.pipe.set_progress_bar_config(disable=True)

    @property
    def schedule(self) -> ScaleSchedule:
        return get_schedule("1.0", PIXELS)

    @property
    def depth(self) -> int:
        return self.pipe.transformer.shape.depth

    @cached_property
    def dense(self) -> Drawn:
        return self.draw(dense_plan(self.pipe.transformer.shape, self.schedule))

    def draw(self, plan: SparsityPlan) -> Drawn:
        """The prompt under a plan, with the seed that all pictures have."""
        codes, bits, states = {}, {}, {}

        def after(state: ScaleState) -> None:
            codes[state.index] = state.summed_codes.clone()
            bits[state.index] = state.bits[0].clone()
            states[state.index] = state

        image = self.pipe(PROMPT, seed=SEED, schedule=self.schedule, plan=plan,
                          on_scale=after).images[0]
        return Drawn(image, plan, codes, bits, states)

    def decoded(self, codes: Tensor) -> Image.Image:
        """What summed codes show."""
        with torch.inference_mode():
            pixels = to_uint8(self.pipe.vae.decode(codes))
        return Image.fromarray(pixels[0].cpu().numpy())

    def work(self, plan: SparsityPlan) -> float:
        """Share of a dense run's FLOPs."""
        return count(plan, self.pipe.transformer.shape).flop_share

    def told(self, drawn: Drawn) -> str:
        """A picture's work and its likeness to the dense one, in a line."""
        like = float(ssim(drawn.image, self.dense.image))
        return f"{100 * self.work(drawn.plan):.0f} % of the work, SSIM {like:.3f}"


def head(sheet: Sheet, title: str, words: str) -> None:
    """The two lines at the top of a figure."""
    sheet.text(20, 15, title, size=14, bold=True)
    sheet.text(20, 36, words, colour=SOFT)


def crop(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """A part of a picture; ``box`` is left, top, right, bottom in shares of its sides."""
    width, height = image.size
    return image.crop((round(box[0] * width), round(box[1] * height),
                       round(box[2] * width), round(box[3] * height)))
