"""The engine's memory plan within what ComfyUI's memory manager has left for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...toprovar.devices import free_bytes
from ...toprovar.memory.placement import Fixed, Placement
from ...toprovar.memory.plan import MemoryPlanner
from ...toprovar.memory.request import Allowance
from ...toprovar.memory.residency import Residency
from ...toprovar.memory.yielding import weight_bytes
from .host import manager

if TYPE_CHECKING:
    from ...toprovar.memory.needs import Request
    from ...toprovar.memory.parts import Parts
    from ...toprovar.memory.residency import Placed
    from ...toprovar.pipeline import InfinityPipeline

MOST_TRIES = 4
"""To bring a transformer to its device, with less of it each time."""


class Residing(Residency):
    """Of a pipeline whose text encoder and VAE are parts of their own in the manager's care.

    Attributes:
        kept_free: bytes that runs must leave to whoever calls them.
    """

    def __init__(self, pipeline: InfinityPipeline, device: torch.device, allowance: Allowance
                 ) -> None:
        super().__init__(pipeline, device, allowance, moves=("transformer",), free=self._left)
        self.kept_free = 0
        self._wished: tuple[tuple[Request, Parts, int], int] | None = None

    def planner(self, request: Request, fixed: Fixed | None = None) -> MemoryPlanner:
        """As the engine's; with --novram all blocks wait in host memory."""
        if self.device.type != "cpu" and manager.vram_state is manager.VRAMState.NO_VRAM:
            depth = self._own().transformer.shape.depth
            fixed = replace(fixed or Fixed(), streamed=depth)
        return super().planner(request, fixed)

    def room(self, request: Request) -> int:
        """Bytes beside the weights of transformer and VAE that the manager is to free: what the
        plan takes that would be made with the device for these two alone."""
        return max(0, self._peak(request) - self._weights()) + self.kept_free

    def share(self, request: Request) -> int:
        """Bytes of the transformer's weights that such a plan has on the device at most."""
        own = self._own()
        return min(weight_bytes(own.transformer),
                   max(0, self._peak(request) - weight_bytes(own.vae)))

    def _peak(self, request: Request) -> int:
        planner = self.planner(request)
        planner.parts = replace(planner.parts, text_rest=0, text_depth=0, text_block=0, text_work=0)
        bounds = [] if self.allowance.limit is None else [self.allowance.limit]
        if self.device.type == "cuda":
            bounds.append(int(manager.get_total_memory(self.device)) - self._reserved())
        if not bounds:
            return planner.foresee(Placement(request.images), 1).peak
        there = min(bounds)
        known = request, planner.parts, there
        if self._wished is None or self._wished[0] != known:
            self._wished = known, planner.choose(self.allowance, there).peak
        return self._wished[1]

    def prepared(self, request: Request) -> Placed | None:
        """As ``prepare``; where memory runs out while the transformer comes, with less of it."""
        for _ in range(MOST_TRIES):
            before = self.plan
            try:
                return self.prepare(request)
            except torch.OutOfMemoryError as error:
                if self.plan is before:  # nothing was tried: no plan fits the limit
                    raise
                failed = str(error)
            self.moved()
            self.ran_out("scales", failed)
        return self.prepare(request)

    def crowded(self, room: int, encoder: nn.Module) -> bool:
        """Whether the limit is too low for a text encoder beside a run that takes ``room``."""
        limit = self.allowance.limit
        return limit is not None and self._weights() + room + weight_bytes(encoder) > limit

    def over(self, nbytes: int) -> int:
        """By how much what is on the device now, and so many bytes, are above the limit."""
        limit = self.allowance.limit
        return 0 if limit is None else max(0, nbytes + self.held() - limit)

    def _weights(self) -> int:
        own = self._own()
        return weight_bytes(own.transformer) + weight_bytes(own.vae)

    def _left(self) -> int | None:
        """What is free, without what the manager keeps for other programs."""
        found = free_bytes(self.device)
        if found is None:
            return None
        return max(0, min(found, int(manager.get_free_memory(self.device))) - self._reserved())

    def _reserved(self) -> int:
        return int(manager.extra_reserved_memory()) + self.kept_free
