"""Special steps of a plan: mixtures in place of tokens, and windows in place of all keys."""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class AttentionWindow(BaseModel):
    """Attention sees all keys of the first scales. Of every later scale, its own included, it sees
    the keys around the place of the token (``ops.sparse_attention``). Layers of such a scale must
    work on all tokens.

    Attributes:
        sinks: how many scales at the start of the schedule are seen whole.
        radius: how many tokens the window reaches beyond the place of the token's tile of 8 x 8
            tokens, counted in tokens of the scale that is looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sinks: int = Field(ge=0, le=64)
    radius: int = Field(ge=0, le=4096)


class Mixtures(BaseModel):
    """Layers work on a few random mixtures of all tokens, in groups of layers (FasterVAR, arXiv
    2512.16483).

    Before each group, as many places are drawn as the layers keep tokens. The probability of a
    place is proportional to the squared norm of its token. All tokens are then mixed into as many
    mixtures. The layers of the group take these for the first tokens of the scale, and the keys of
    the mixtures join the cache. After the group the mixtures are written to the drawn places. All
    other tokens get the residual that the latest scale before had after the same layer, resized by
    area averaging. The random numbers follow from the picture's seed.

    Attributes:
        kind: the name of this step.
        groups: how many layers each group has, from the first group to the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mixtures"] = "mixtures"
    groups: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1, max_length=256)

    @property
    def starts(self) -> tuple[int, ...]:
        """First layer of each group."""
        return (0, *accumulate(self.groups[:-1]))

    @property
    def ends(self) -> tuple[int, ...]:
        """Last layer of each group."""
        return tuple(stop - 1 for stop in accumulate(self.groups))

    def check_keeps(self, keep: tuple[int, ...]) -> None:
        """A ValueError where the counts of a scale's layers do not go with the groups."""
        if sum(self.groups) != len(keep):
            raise ValueError(f"the groups {self.groups} have {sum(self.groups)} layers, keep has "
                             f"{len(keep)}")
        for start, end in zip(self.starts, self.ends, strict=True):
            counts = set(keep[start : end + 1])
            if len(counts) > 1 or 0 in counts:
                raise ValueError(f"layers {start} to {end} are a group of mixtures: they keep the "
                                 f"same number of tokens, at least one, got "
                                 f"{keep[start : end + 1]}")
