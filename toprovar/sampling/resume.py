"""What a run has drawn, for another run that goes on where it ended too early."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops.bit_sampling import Generators
from .bits import ResumedSampler, Sampler
from .observers import ScaleState
from .params import SamplingParams
from .run import SamplingRun


class Done:
    """The scales that were run, with their bits, and the random numbers as they then stood.

    Another run computes these scales once more, for its keys and what scales leave behind, and
    takes the bits from here, so that nothing is drawn twice.

    Args:
        generators: of the run; torch's own cannot be put back.
    """

    def __init__(self, generators: Generators) -> None:
        self.generators = generators
        self._bits: dict[int, Tensor] = {}
        self._codes: dict[int, Tensor] = {}
        self._random: list[Tensor] = _states(generators)
        self._before = 0

    def has(self, scale: int) -> bool:
        return scale < self._before

    def note(self, state: ScaleState, codes: Tensor | None = None) -> None:
        """A scale is done.

        Args:
            codes: the summed codes, where somebody may have changed them.
        """
        self._bits[state.index] = state.bits
        if codes is not None:
            self._codes[state.index] = codes.clone()
        self._random = _states(self.generators)
        self._before = state.index + 1

    def chooser(self, params: SamplingParams) -> Sampler | None:
        """For the next run; None = nothing was done yet."""
        for generator, state in zip(_each(self.generators), self._random, strict=True):
            generator.set_state(state)
        if not self._before:
            return None
        return ResumedSampler(params, self.generators, self._bits, self._before)

    def restore(self, run: SamplingRun, scale: int) -> None:
        """Bring the summed codes of ``run`` to what they were after a scale that was done."""
        if scale in self._codes:
            run.continue_from(self._codes[scale])


def _each(generators: Generators) -> list[torch.Generator]:
    if generators is None:
        return []
    return [generators] if isinstance(generators, torch.Generator) else list(generators)


def _states(generators: Any) -> list[Tensor]:
    return [generator.get_state() for generator in _each(generators)]
