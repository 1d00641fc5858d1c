"""Averaged weights."""

# torch's multi-tensor functions have no public names.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Exponential average of some parameters, with a warm-up of the decay."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self._live = list(parameters)
        self._decay = decay
        self._count = 0
        self.average = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self) -> None:
        self._count += 1
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        torch._foreach_lerp_(self.average, [p.detach() for p in self._live], 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The parameters hold the averages inside the block, and their own values after it."""
        kept = [p.detach().clone() for p in self._live]
        torch._foreach_copy_([p.data for p in self._live], self.average)
        try:
            yield
        finally:
            torch._foreach_copy_([p.data for p in self._live], kept)

    @torch.no_grad()
    def reset(self) -> None:
        """Begin again at the parameters' present values, with full decay."""
        torch._foreach_copy_(self.average, [p.detach() for p in self._live])
        self._count = 10**6

    def state_dict(self) -> dict[str, int | list[Tensor]]:
        return {"count": self._count, "average": self.average}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        self._count = int(state["count"])
        for mine, saved in zip(self.average, state["average"], strict=True):
            mine.copy_(saved)
