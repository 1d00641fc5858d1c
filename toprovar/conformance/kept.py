"""Which tokens a run kept, against what was recorded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..sparsity.plan import ScalePlan, SparsityPlan
from ..sparsity.selection import Selector
from .check import Check

SUBLAYERS = ("sa", "ca", "ffn")
TIE = 1e-5
"""Two correct float32 implementations may choose differently between tokens whose scores differ by
less than this, relative to the score at the cut."""


class KeptRecorder(Selector):
    """Picks as the plan says, and remembers what was picked."""

    def __init__(self, plan: SparsityPlan) -> None:
        super().__init__(plan, 1)
        self.kept: dict[tuple[int, int, str], tuple[Tensor, Tensor]] = {}

    def select(self, scale: int, layer: int, step: ScalePlan, x: Tensor, entropy: Tensor | None,
               part: int = 0) -> Tensor:
        index = super().select(scale, layer, step, x, entropy, part)
        mask = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        mask.scatter_(1, index.expand(x.shape[0], -1), True)
        scores = self.scores(scale, layer, step, x, entropy, part)
        self.kept[step.grid[1], layer, SUBLAYERS[part]] = (mask.cpu(), scores.cpu())
        return index

    def check(self, prefix: str, key: str, golden: Tensor) -> Check:
        """A golden ``kept.width32.layer3.sa`` (packed masks) or ``kept_count...``."""
        what, width, layer, part = key.split(".")
        name = f"{prefix} {key}"
        place = (int(width.removeprefix("width")), int(layer.removeprefix("layer")), part)
        if place not in self.kept:
            return Check(name, float("inf"), 0.0, "tokens were not picked here")
        mask, scores = self.kept[place]
        if what == "kept_count":
            return Check(name, float((mask.sum(1) - golden).abs().max()), 0.0)
        wanted = torch.from_numpy(np.unpackbits(golden.numpy(), axis=-1)).bool()
        if wanted.shape != mask.shape:
            return Check(name, float("inf"), 0.0, f"shape {tuple(mask.shape)}, recorded "
                                                  f"{tuple(wanted.shape)}")
        cut = scores.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
        near = (scores - cut).abs() <= TIE * cut.abs()
        different = mask != wanted
        ties = int((different & near).sum())
        return Check(name, float((different & ~near).sum()), 0.0,
                     f"{ties} tokens at the cut chosen otherwise" if ties else "")
