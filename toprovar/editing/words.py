"""Where two descriptions of a picture disagree: masks out of words alone.

The picture's own bits are fed under the source prompt and under the target prompt. Where the two
say different things of a token, the picture has to change. Three signs of it can be had from the
same pass: how much less likely the picture's bits become ("likelihood"), how far apart the
probabilities of its bits are ("logits"), and how far apart the entropies of attention are
("entropy").
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sampling.memory import Grid
from ..sampling.run import ScaleState
from .stack import BitStack

MaskFrom = Literal["likelihood", "logits", "entropy", "cross-attention"]
MASKS_FROM: tuple[MaskFrom, ...] = get_args(MaskFrom)
LOOK_UNTIL = 16
"""Tokens a side of the last scale that is looked at: the finer ones tell of texture."""
LOOK_FROM = 4
"""And of the first: coarser ones do not tell places apart."""
GROWN = 1
"""Cells of the finest grid of 32 that a mask grows by, so that no edge of the old object is left;
of other sizes in proportion."""


@dataclass
class Disagreement:
    """Collects a sign while a picture is fed under both prompts.

    Give it as ``on_scale`` and ``watch`` of a run of 2 B pictures: B under their target prompts,
    then the same under their source prompts.

    Args:
        sign: which one.
        source: the bits that are fed, of B pictures.
    """

    sign: MaskFrom
    source: BitStack
    heads: bool = False
    _maps: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    _grids: dict[int, Grid] = field(default_factory=dict)

    def wants(self, scale: int, layer: int) -> bool:
        """Whether entropy is wanted."""
        return self.sign == "entropy"

    def record(self, scale: int, layer: int, grid: Grid, entropy: Tensor) -> None:
        """Entropies [2 B, N] of a block."""
        self._note(scale, grid, (_target(entropy) - _source(entropy)).abs())

    def __call__(self, state: ScaleState) -> None:
        """A scale is done."""
        if self.sign not in ("likelihood", "logits"):
            return
        pairs = state.logits.unflatten(-1, (-1, 2))
        one = pairs[..., 1] - pairs[..., 0]  # log odds of a bit being 1
        if self.sign == "logits":
            chance = one.sigmoid()
            self._note(state.index, state.grid, (_target(chance) - _source(chance)).abs().mean(-1))
            return
        bits = self.source.bits[state.index]
        assert bits is not None
        fits = F.logsigmoid(torch.where(bits.to(one.device).bool().repeat(2, 1, 1), one, -one))
        self._note(state.index, state.grid, (_source(fits) - _target(fits)).mean(-1))

    def _note(self, scale: int, grid: Grid, found: Tensor) -> None:
        self._maps[scale].append(found.float().cpu())
        self._grids[scale] = grid

    def map(self, grid: Grid) -> Tensor:
        """How much the prompts disagree about each cell of ``grid``: [B, 1, h, w] float32, scales
        weighted alike, each in deviations from its mean."""
        total = torch.zeros(len(self.source), 1, *grid)
        for scale, maps in self._maps.items():
            own = self._grids[scale]
            if min(own) < LOOK_FROM:
                continue
            found = torch.stack(maps).mean(0).unflatten(1, own)[:, None]
            spread = found.std((2, 3), keepdim=True).clamp_min(1e-12)
            total += F.interpolate((found - found.mean((2, 3), keepdim=True)) / spread, grid,
                                   mode="bilinear", align_corners=False)
        return total


def _target(both: Tensor) -> Tensor:
    return both[: len(both) // 2]


def _source(both: Tensor) -> Tensor:
    return both[len(both) // 2 :]


def mask_of(found: Tensor, share: float | None = None, grown: int | None = None) -> Tensor:
    """A mask out of a map of disagreement.

    Args:
        found: [B, 1, h, w], more where the prompts disagree more.
        share: of the cells that are white; None = those above the threshold that parts the map's
            values best into two groups (Otsu's).
        grown: cells by which white parts grow; None = in proportion to the grid.

    Returns:
        [B, 1, h, w] float32 of 0 and 1.
    """
    smooth = F.avg_pool2d(F.pad(found, (1, 1, 1, 1), mode="replicate"), 3, 1)
    masks = []
    for one in smooth.flatten(1):
        limit = _otsu(one) if share is None else one.quantile(1 - share)
        masks.append((one >= limit).float())
    mask = torch.stack(masks).view_as(found)
    if grown is None:
        grown = round(GROWN * max(found.shape[-2:]) / 32)
    return F.max_pool2d(mask, 2 * grown + 1, 1, grown) if grown else mask


def _otsu(values: Tensor) -> Tensor:
    """The threshold that leaves the least variance within the two groups that it makes."""
    ordered = values.sort().values.double()
    count = torch.arange(1, len(ordered), dtype=torch.float64)
    below = ordered.cumsum(0)[:-1]
    total = ordered.sum()
    gap = (total * count / len(ordered) - below) ** 2 / (count * (len(ordered) - count))
    return values.sort().values[int(gap.argmax()) + 1]
