"""What is assumed of an Infinity model that nobody has calibrated: one file for the whole family.

A prior is no measurement of the model at hand. It says, counted from the end so that it fits
every schedule, how many scales run without guidance, how many do not run, and which share of the
last scale's tokens stay; and, as shares of the depth, whose entropy maps choose these tokens.
SkipVAR and FastVAR have published that Infinity bears the first two. ``benchmarks.prior`` measures
what each of them costs on the models at hand, which orders them for a budget or a speed-up.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from ..entropy.schedule_entry import Choice
from ..files import DATA
from ..reading import read_json, reading
from .plan import FROZEN

MOST_BYTES = 1 << 20
LEAST_GUIDED = 2
"""Scales at the start that always run with guidance: they fix what is shown, and cost nothing."""


class PriorState(BaseModel):
    """One way to do less.

    Attributes:
        unguided: scales at the end that run without guidance, those not run among them.
        skipped: scales at the end that are not run.
        likeness, ssim: of its pictures to dense ones, means over the models at hand.
    """

    model_config = FROZEN

    unguided: int = Field(ge=0)
    skipped: int = Field(default=0, ge=0)
    likeness: float = Field(ge=0, le=1)
    ssim: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.skipped > self.unguided:
            raise ValueError(f"{self.skipped} scales are not run, but only {self.unguided} run "
                             "without guidance: count those that are not run among them")
        return self


class PriorSize(BaseModel):
    """What holds for schedules of at least so many scales.

    Attributes:
        scales: of the schedule that it was measured on.
        unguided, stay: what is done where no budget is given: scales at the end without guidance,
            and the share of the last scale's tokens that stay; the others exit.
        states: for a budget; plans between two of them let a part of the last scale's tokens exit.
    """

    model_config = FROZEN

    scales: int = Field(ge=1)
    unguided: int = Field(ge=0)
    stay: float = Field(gt=0, le=1)
    states: tuple[PriorState, ...] = Field(min_length=2)


class Prior(BaseModel):
    """The prior of the family.

    Attributes:
        guide: the layers whose entropy maps choose the tokens that stay, from and to, as shares of
            the depth; ``guides`` of them, evenly apart: entropies cost time where no kernel gives
            them.
        sizes: by number of scales, ascending.
        models: what was measured on which models, in words.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    name: str
    about: str
    guide: tuple[float, float]
    guides: int = Field(ge=1)
    sizes: tuple[PriorSize, ...] = Field(min_length=1)
    models: tuple[str, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        first, last = self.guide
        if not 0 <= first < last <= 1:
            raise ValueError(f"guide must be two shares of the depth, rising, got {self.guide}")
        counts = [size.scales for size in self.sizes]
        if counts != sorted(set(counts)):
            raise ValueError(f"sizes must have rising numbers of scales, got {counts}")
        return self

    def size(self, scales: int) -> PriorSize:
        """The entry for a schedule of so many scales: the largest that is not longer."""
        fitting = [size for size in self.sizes if size.scales <= scales]
        return fitting[-1] if fitting else self.sizes[0]

    def choices(self, scales: int) -> tuple[Choice, ...]:
        """The states on a schedule of so many scales; those that leave nothing are left out."""
        found = []
        for state in self.size(scales).states:
            guided = scales - state.unguided
            if guided >= min(LEAST_GUIDED, scales):
                found.append(Choice(guided=guided, likeness=state.likeness, ssim=state.ssim,
                                    skipped=tuple(range(scales - state.skipped, scales))))
        return tuple(found)

    def default(self, scales: int) -> tuple[Choice, float]:
        """What is done without a budget on a schedule of so many scales: a choice, and the share
        of the last scale's tokens that exit."""
        size = self.size(scales)
        guided = max(scales - size.unguided, min(LEAST_GUIDED, scales))
        whole = next((c for c in self.choices(scales) if c.guided == guided and not c.skipped),
                     Choice(guided=guided, likeness=1.0, ssim=1.0))
        return whole, 1 - size.stay

    def guiding(self, depth: int) -> tuple[int, ...]:
        """The layers whose maps choose, of ``depth``; at least one."""
        first, last = self.guide
        places = [first + (last - first) * (i + 0.5) / self.guides for i in range(self.guides)]
        return tuple(sorted({int(place * depth) for place in places}))

    @classmethod
    def load(cls, path: str | Path) -> Prior:
        """Read a file; a ValueError names its first fault."""
        with reading(path, "prior", "make one with 'python -m benchmarks.prior'"):
            return cls.model_validate_json(json.dumps(read_json(path, MOST_BYTES)))


@lru_cache(maxsize=1)
def family_prior() -> Prior:
    """The prior in the box."""
    return Prior.load(DATA / "prior.json")
