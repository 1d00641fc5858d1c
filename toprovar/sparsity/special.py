"""Special steps of a plan: mixtures in place of tokens, and windows in place of all keys."""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class AttentionWindow(BaseModel):
    """Attention sees all keys of the first scales, and of every later scale, its own included, the
    keys around a token's own place in the picture (``ops.sparse_attention``).

    Attributes:
        sinks: scales at the start of the schedule that are seen whole.
        radius: tokens of the scale that is looked at, beyond the place of a tile of 8 x 8 tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sinks: int = Field(ge=0, le=64)
    radius: int = Field(ge=0, le=4096)


class Mixtures(BaseModel):
    """Layers work on a few random mixtures of all tokens, in groups of layers that follow another.

    Before each group, as many places as the layers keep tokens are drawn with probability
    proportional to the tokens' squared norm, and all tokens are mixed into as many. The group's
    layers take the mixtures for the scale's first tokens, and their keys join the cache. After the
    group the mixtures are written to the drawn places; all other tokens get the residual that the
    latest scale before had after the same layer, resized by area averaging. The random numbers
    follow from the picture's seed.

    Attributes:
        groups: layers of each group, first to last.
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
