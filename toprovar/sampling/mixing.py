"""Groups of layers on random mixtures of a scale's tokens: ``sparsity.special.Mixtures``, run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..sparsity.mixing import draw_places, mix, restore
from ..sparsity.mixing_draws import Draws
from ..sparsity.scale_plan import ScalePlan
from ..sparsity.special import Mixtures
from .memory import Grid, Room


class Mixer:
    """The mixtures of one run.

    Args:
        draws: its random numbers.
        room: where they are written, at the same address for every run that shares recordings.
        probe: a ``LayerProbe`` that sees every mixture, or None.
    """

    def __init__(self, draws: Draws, room: Room, probe: Any = None) -> None:
        self.draws, self.probe = draws, probe
        self._room = room
        self._drawn: dict[int, tuple[Tensor, Tensor]] = {}
        self._places = torch.empty(0)

    def load(self, scale: int, step: ScalePlan, rows: range, device: torch.device) -> None:
        """Draw for a scale, if it works on mixtures. To be called before its blocks are run or
        replayed: a recording reads the numbers but does not draw them.

        Args:
            rows: numbers of the batch rows that it runs.
        """
        self._drawn = {}
        if step.special is None:
            return
        for group, start in enumerate(step.special.starts):
            drawn = self.draws(scale, group, rows, step.tokens, step.keep[start])
            exponential, normal = (self._placed(("draws", scale, group), part.to(
                device, non_blocking=True)) for part in drawn)
            self._drawn[group] = exponential, normal

    def enter(self, scale: int, layer: int, mixtures: Mixtures, x: Tensor) -> Tensor:
        """Before the first ``layer`` of a group: [R, r, C] mixtures of ``x`` [R, N, C]."""
        exponential, normal = self._drawn[mixtures.starts.index(layer)]
        self._places = draw_places(x, exponential, normal.shape[2])
        mixed = mix(x, normal)
        if self.probe:
            self.probe.mixed(scale, layer, self._places, mixed)
        return mixed

    def leave(self, scale: int, layer: int, x: Tensor, known: Tensor, grid: Grid, new_grid: Grid
              ) -> Tensor:
        """After the last ``layer`` of a group: all tokens, from its mixtures ``x`` [R, r, C] and
        the residual ``known`` [R, h w, C] that the scale before had there."""
        if self.probe:
            self.probe.unmixed(scale, layer, x)
        return restore(known, grid, new_grid, self._places, x)

    def _placed(self, name: tuple[Any, ...], values: Tensor) -> Tensor:
        return self._room(name, values, values.dtype).copy_(values)
