"""Which tokens a block works on, by the plan's rule."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.token_select import LayerCounts, select_in_layers, select_tokens
from .plan import ScalePlan, SparsityPlan

FAR = 1e30
"""A score for each token of distance, which no rule gives."""


class Selector:
    """Picks tokens for one run.

    Args:
        plan: names the rules and seeds the random one.
        batch: images of the run; rows are all conditional ones, then all unconditional ones.
        constants: where what comes from the host is kept (random scores, tables of counts), for
            runs whose scales are recorded: these read it where it lies.

    Attributes:
        change: [B, H, W] float32, by how much the latest scale changed the summed codes; for the
            rule "change", to be set by the run.
    """

    def __init__(self, plan: SparsityPlan, batch: int,
                 constants: dict[Hashable, Any] | None = None) -> None:
        self.seed, self.batch = plan.seed, batch
        self.change: Tensor | None = None
        self.constants: dict[Hashable, Any] = {} if constants is None else constants
        self._near: dict[int, Tensor] = {}

    def restrict(self, near: Mapping[int, Tensor]) -> None:
        """Keep tokens of these scales inside a region: those at distance 0 by the plan's rule, and
        where they are too few, the nearest others.

        Args:
            near: by scale, [B, N] float32 distances from the region, where they will stay.
        """
        self._near = dict(near)

    def restricted(self, scale: int) -> bool:
        """Whether a scale's tokens are kept inside a region."""
        return scale in self._near

    def _inside(self, scale: int, scores: Tensor) -> Tensor:
        """Scores [..., B or R or 1, N] by which tokens outside of the region come last."""
        near = self._near.get(scale)
        if near is None:
            return scores
        if scores.shape[-2] not in (1, near.shape[0]):
            near = near.repeat(scores.shape[-2] // near.shape[0], 1)
        return torch.where(near > 0, -FAR * near, scores)

    def select(self, scale: int, layer: int, step: ScalePlan, x: Tensor, entropy: Tensor | None,
               part: int = 0) -> Tensor:
        """Tokens to keep at (scale, layer).

        Args:
            x: [R, N, C] residual before the block or sub-layer.
            entropy: [B, N] latest entropy map of the layer on this scale's grid; for the entropy
                rules.
            part: which sub-layer, where tokens are picked for each.

        Returns:
            ascending int64 indices: [n] where all rows are alike, else [R, n].
        """
        scores = self._inside(scale, self.scores(scale, layer, step, x, entropy, part))
        index = select_tokens(scores, step.grid, step.keep[layer], region=step.region,
                              min_per_region=step.min_per_region)
        return self.rows(index, x.shape[0])

    def select_in_layers(self, scale: int, step: ScalePlan, layers: Sequence[int], entropy: Tensor
                         ) -> list[Tensor]:
        """``select`` for several layers of a scale at once, by an entropy rule.

        Args:
            entropy: [L, B, N] latest entropy maps of ``layers`` on this scale's grid.
        """
        each = tuple(step.keep[layer] for layer in layers)
        key = (each, entropy.device)
        if key not in self.constants:
            self.constants[key] = LayerCounts.of(each, entropy.device)
        scores = self._inside(scale, -entropy if step.rule == "entropy" else entropy)
        return select_in_layers(scores, step.grid, self.constants[key], region=step.region,
                                min_per_region=step.min_per_region)

    def rows(self, index: Tensor, rows: int) -> Tensor:
        """[1, n] or [B, n] -> [n] where all rows are alike, else [rows, n]."""
        if index.shape[0] == 1:
            return index[0]
        return index if index.shape[0] == rows else index.repeat(rows // self.batch, 1)

    def scores(self, scale: int, layer: int, step: ScalePlan, x: Tensor, entropy: Tensor | None,
               part: int) -> Tensor:
        """[1, B or R, N] float32, the highest are kept."""
        match step.rule:
            case "entropy" | "entropy_reversed":
                if entropy is None:
                    raise ValueError(f"scale {scale}, layer {layer}: no entropy was measured to "
                                     "choose tokens by")
                return -entropy if step.rule == "entropy" else entropy
            case "change":
                if self.change is None:
                    raise ValueError(f"scale {scale}: no change of the codes is known to choose "
                                     "tokens by")
                return F.adaptive_avg_pool2d(self.change, step.grid).flatten(1)
            case "variance":
                rows = x if step.rows == "separate" else x[: self.batch]
                centred = rows.float() - rows.float().mean(1, keepdim=True)
                return centred.square_().sum(-1)
            case "random":
                rows = x.shape[0] if step.rows == "separate" else 1
                return self._random(scale, layer, part, (rows, x.shape[1]), x.device)

    def _random(self, scale: int, layer: int, part: int, shape: tuple[int, int],
                device: torch.device) -> Tensor:
        """From the plan's seed alone, drawn on the CPU: the same on every device."""
        place = ((self.seed * 64 + scale) * 256 + layer) * 4 + part
        key = (place, shape, device)
        if key not in self.constants:
            generator = torch.Generator().manual_seed(place % 2**63)
            self.constants[key] = torch.rand(*shape, generator=generator).to(device)
        return self.constants[key]
