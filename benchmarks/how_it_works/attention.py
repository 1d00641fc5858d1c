"""Where tokens look, and the entropy that says how widely."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from toprovar.entropy.trace import TraceRecorder
from toprovar.figures.colours import GLOW, colour_bar, coloured
from toprovar.figures.sheet import SOFT, Sheet
from toprovar.sampling.observers import LayerProbe
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.sparsity.selection import Selector

from .drawing import PROMPT, SEED, Studio, head
from .leaving_out import kept_plan

LAYER = 9
KEPT = 0.4
"""Share of the last scale's tokens that stay, in the picture of them."""
MARKS = ("#00e5ff", "#b6ff3c")


class LastAttention(LayerProbe):
    """Keeps the attention of one layer at the last scale.

    Attributes:
        weights: [H, N, N] of the conditional row, over the keys of the last scale alone;
            entropy: [H, N] nats, over all keys.
    """

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.weights = self.entropy = torch.empty(0)

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        if (scale, layer) != (self.scale, LAYER):
            return
        scores = (q[0].float() @ k[0].float().transpose(-1, -2)).softmax(-1)
        self.entropy = -(scores * scores.clamp_min(1e-30).log()).sum(-1)
        self.weights = scores[..., -q.shape[-2]:]


def looked_at(studio: Studio) -> tuple[LastAttention, dict[tuple[int, int], Tensor]]:
    """The attention of the last scale, and the entropy maps of all scales and layers."""
    schedule, pipe = studio.schedule, studio.pipe
    config = pipe.config
    probe, recorder = LastAttention(len(schedule) - 1), TraceRecorder()
    run = SamplingRun(
        pipe.transformer, pipe.encode_prompt(PROMPT),
        SamplingParams(schedule, config["default_cfg"], config["default_tau"]),
        generators=[torch.Generator().manual_seed(SEED)], probe=probe, watch=recorder)
    for _ in run:
        pass
    return probe, recorder.maps


def entropy(studio: Studio) -> Image.Image:
    """Two tokens and where they look; the entropy of all tokens; those that would stay."""
    probe, maps = looked_at(studio)
    last = len(studio.schedule) - 1
    grid, picture = studio.schedule.grids[last], studio.dense.image
    map_ = maps[last, LAYER][0]
    mean = probe.entropy.mean(0)
    assert torch.allclose(mean.reshape(grid), map_, atol=1e-3)
    # The head whose tokens differ most.
    number = int(probe.entropy.std(1).argmax())
    own = probe.entropy[number]
    order = own.argsort()
    focused, diffuse = int(order[len(order) // 100]), int(order[-len(order) // 100])
    side, gap, left, top = 164.0, 14.0, 20.0, 84.0
    sheet = Sheet(2 * left + 4 * side + 3 * gap + 66, top + side + 50, 1.5)
    head(sheet, "Attention entropy: does a token look at few places or at many?",
         f"Last scale, {grid[0]} x {grid[1]} tokens, layer {LAYER} of layers 0 to "
         f"{studio.depth - 1}. The first two pictures show one head: bright is looked at.")
    boxes = [left + n * (side + gap) + (66 if n == 3 else 0) for n in range(4)]
    titles = ("a token that looks at few", "a token that looks at many", "entropy of every token",
              f"the {100 * KEPT:.0f} % of lowest entropy")
    for x, words in zip(boxes, titles, strict=True):
        sheet.text(x, top - 8, words, anchor="ls", bold=True, size=10.5)
    for x, token, mark in zip(boxes, (focused, diffuse), MARKS, strict=False):
        weights = probe.weights[number, token].reshape(grid)
        sheet.picture(_lit(picture, weights), x, top, side, side, smooth=True)
        _mark(sheet, x, top, side, grid, token, mark)
        nats = float(own[token])
        sheet.text(x, top + side + 8, f"entropy {nats:.1f} nats, as if it looked", size=9.5,
                   colour=SOFT)
        sheet.text(x, top + side + 21, f"at {float(np.exp(nats)):,.0f} places equally", size=9.5,
                   colour=SOFT)
    low, high = (float(v) for v in torch.quantile(map_.flatten(), torch.tensor([0.01, 0.99])))
    sheet.picture(coloured(map_.numpy(), GLOW, low, high), boxes[2], top, side, side)
    sheet.text(boxes[2], top + side + 8, "dark: looks at few places", size=9.5, colour=SOFT)
    sheet.text(boxes[2], top + side + 21, "mean over the heads of the layer", size=9.5,
               colour=SOFT)
    stay = kept(studio, maps)
    sheet.picture(_faded(picture, stay), boxes[3], top, side, side, smooth=True)
    sheet.text(boxes[3], top + side + 8, "the others would leave the scale", size=9.5, colour=SOFT)
    colour_bar(sheet, boxes[2] + side + 10, top, side, GLOW, "entropy, nats",
               [(0.02, f"{low:.2f}"), (0.98, f"{high:.2f}")])
    return sheet.finish()


def kept(studio: Studio, maps: dict[tuple[int, int], Tensor]) -> Tensor:
    """[h, w] bool: tokens that the rule of a plan keeps by one layer's map of the scale before."""
    last = len(studio.schedule) - 1
    plan = kept_plan(studio, KEPT, "exit", first=last)
    step = plan.scales[last]
    before = maps[last - 1, LAYER][:1, None]
    latest = torch.nn.functional.interpolate(before, step.grid, mode="bilinear")[:, 0].flatten(1)
    index = Selector(plan, 1).select(last, 0, step, torch.empty(1, step.tokens, 1), latest)
    stay = torch.zeros(step.tokens, dtype=torch.bool)
    stay[index] = True
    return stay.reshape(step.grid)


def _lit(picture: Image.Image, weights: Tensor) -> Image.Image:
    """A dim grey picture with the weights [h, w] over it; places of the highest 2 % are full."""
    level = (weights / torch.quantile(weights.flatten(), 0.98)).clamp(0, 1).sqrt()
    glow = coloured(level.numpy(), GLOW).resize(picture.size, Image.Resampling.BICUBIC)
    grey = picture.convert("L").convert("RGB")
    return Image.blend(grey, glow, 0.72)


def _faded(picture: Image.Image, stay: Tensor) -> Image.Image:
    """Tokens that do not stay are nearly white."""
    mask = Image.fromarray((stay.numpy() * 255).astype(np.uint8)).resize(
        picture.size, Image.Resampling.NEAREST)
    pale = Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.82)
    return Image.composite(picture, pale, mask)


def _mark(sheet: Sheet, x: float, y: float, side: float, grid: tuple[int, int], token: int,
          colour: str) -> None:
    down, across = divmod(token, grid[1])
    cell = side / grid[1]
    sheet.box(x + across * cell - 3, y + down * cell - 3, cell + 6, cell + 6, outline="#000000",
              line=3)
    sheet.box(x + across * cell - 2.5, y + down * cell - 2.5, cell + 5, cell + 5, outline=colour,
              line=2)
