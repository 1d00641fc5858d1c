"""One scale of a plan: how many tokens each layer works on, which, and what the others get."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from ..ops.minimum import check_selection
from .special import AttentionWindow, Mixtures

Rule = Literal["entropy", "change", "entropy_reversed", "variance", "random"]
"""entropy: lowest attention entropy first. change: first where the scale before changed the summed
codes most (the latent discrepancy of LD-Pruning, arXiv 2606.00310). variance: largest squared
distance from the mean token first (FastVAR, arXiv 2503.23367). random: by the plan's seed.
entropy_reversed is a control."""
Way = Literal["identity", "cached", "exit"]
"""What tokens that are not worked on may get in any model."""
Dropped = Literal["identity", "cached", "exit", "shortcut"]
Resize = Literal["area", "bilinear", "nearest"]

MOST_LAYERS, MOST_SIDE = 256, 4096
"""Bounds of what a file may say, far above any model: Infinity-8B has 40 layers, 84 tokens a side
are the most. Checking a plan takes time that grows with them."""
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
LayerNumber = Annotated[int, Field(ge=0, lt=MOST_LAYERS)]

FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScalePlan(BaseModel):
    """One scale of a plan.

    Attributes:
        grid: the tokens of the scale: rows, then columns.
        keep: how many tokens each layer works on, one number for every layer: from 0 (the layer
            is not run) to all tokens of the scale.
        run: False = the scale is not run at all. It adds no codes to the picture.
        rule: how the tokens that a layer works on are chosen. "entropy": the tokens of the lowest
            attention entropy. "change": the tokens where the scale before changed the summed
            codes most (LD-Pruning, arXiv 2606.00310). "variance": the tokens farthest from the
            mean token, by squared distance (FastVAR, arXiv 2503.23367). "random": at random, by
            the plan's ``seed``. "entropy_reversed": the tokens of the highest entropy, as a
            control for experiments.
        per: "block" = the tokens are chosen once for a whole block. "sublayer" = they are chosen
            anew before the attention, the cross-attention and the feed-forward of a block.
        rows: "shared" = the guided and the unguided row of an image keep the same tokens.
            "separate" = each row chooses its own.
        dropped: what a dropped token, one that a layer does not work on, gets from that layer.
            "identity": nothing is added to it. "cached": the update that the same layer gave at an
            earlier scale, resized to this grid. "exit": the tokens are chosen once for all layers,
            and dropped tokens leave the scale: they add no codes to the picture. "shortcut": the
            tokens are chosen once, and the residuals of dropped tokens are predicted up to the
            first layer that keeps all tokens; from this layer on all tokens are worked on.
        source: with "cached", the scale whose updates are used. None = the latest update of every
            token: a scale that works on a token refreshes it.
        shortcut: how many layers at the start are not run; their ``keep`` is 0. The residual
            after them is predicted by linear maps of the model, from what a token sees around
            itself at this scale and at the latest scale before it.
        guide: with "exit" and "shortcut", the layers whose entropy maps choose the tokens. Each
            map is taken in deviations from its own mean. Empty = all layers.
        resize: how cached updates are resized to this scale's grid.
        region: side, in tokens, of square regions that must each keep some tokens. 0 = there is
            no such minimum.
        min_per_region: how many tokens every region keeps at least.
        unconditional: False = only the conditional row is run, without guidance. The
            unconditional row cannot come back at a later scale.
        conditional: False = only the unconditional row is run, which is what a guidance of 0
            amounts to. In a run without guidance the conditional row runs instead.
        cache: the most keys that each layer's cache holds for later scales once this scale is
            done, one number for every layer. Sixteen tokens of the scale observe: their own keys
            stay, and of the other keys those that the observers' queries match best (ScaleKV,
            arXiv 2505.19602). Empty = all keys stay.
        window: which keys attention sees. None = all keys in the cache.
        special: a step that replaces keeping and dropping tokens; ``keep`` then says on how many
            mixtures a layer works. None = there is no such step.
    """

    model_config = FROZEN

    grid: tuple[Side, Side]
    keep: tuple[int, ...] = Field(max_length=MOST_LAYERS)
    run: bool = True
    rule: Rule = "entropy"
    per: Literal["block", "sublayer"] = "block"
    rows: Literal["shared", "separate"] = "shared"
    dropped: Dropped = "identity"
    source: int | None = None
    shortcut: int = Field(default=0, ge=0)
    guide: tuple[LayerNumber, ...] = Field(default=(), max_length=MOST_LAYERS)
    resize: Resize = "bilinear"
    region: int = Field(default=0, ge=0, le=MOST_SIDE)
    min_per_region: int = Field(default=0, ge=0, le=MOST_SIDE**2)
    unconditional: bool = True
    conditional: bool = True
    cache: tuple[Annotated[int, Field(ge=1, le=1 << 31)], ...] = Field(default=(),
                                                                       max_length=MOST_LAYERS)
    window: AttentionWindow | None = None
    special: Mixtures | None = None

    @property
    def guided(self) -> bool:
        """Whether both rows of an image are run."""
        return self.conditional and self.unconditional

    @property
    def tokens(self) -> int:
        """How many tokens the scale has."""
        return self.grid[0] * self.grid[1]

    @property
    def together(self) -> bool:
        """Whether tokens are chosen once for all layers."""
        return self.dropped in ("exit", "shortcut")

    @property
    def rejoin(self) -> int:
        """Layer before which dropped tokens are predicted (dropped "shortcut"); 0 = none are."""
        if self.dropped != "shortcut" or not self.run:
            return 0
        return self.keep.index(self.tokens)

    def partial(self, layer: int) -> bool:
        """Whether the layer works on some tokens but not on all."""
        return self.run and 0 < self.keep[layer] < self.tokens

    def guided_by(self, layer: int) -> bool:
        """Whether the layer's entropy map takes part in choosing tokens."""
        if not self.rule.startswith("entropy") or self.special:
            return False
        if not self.together:
            return self.partial(layer)
        # They choose for all layers, also those that a shortcut leaves out.
        return self.partial(self.shortcut) and (not self.guide or layer in self.guide)

    @property
    def sparse(self) -> bool:
        """Whether any layer does not work on every token."""
        return self.run and (self.special is not None or any(n < self.tokens for n in self.keep))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for layer, count in enumerate(self.keep):
            if not 0 <= count <= self.tokens:
                raise ValueError(f"layer {layer} keeps {count} tokens, the scale has {self.tokens}")
        if self.rule.startswith("entropy") and self.rows == "separate":
            raise ValueError("rule 'entropy' is measured on the conditional row: rows must be "
                             "'shared'")
        if self.rule == "change" and (self.rows == "separate" or self.per == "sublayer"):
            raise ValueError("rule 'change' looks at an image's codes, once a scale: rows must be "
                             "'shared' and per 'block'")
        if self.rule.startswith("entropy") and self.per == "sublayer":
            raise ValueError("rule 'entropy' chooses tokens for a whole block: per must be 'block'")
        if self.guide and not self.together:
            raise ValueError("guide names the layers that choose for dropped 'exit' and 'shortcut' "
                             "only")
        if self.shortcut and (self.shortcut >= len(self.keep) or any(self.keep[: self.shortcut])):
            raise ValueError(f"shortcut {self.shortcut} means that the first {self.shortcut} of "
                             f"{len(self.keep)} layers keep 0 tokens and one more is run, got keep "
                             f"{self.keep}")
        if self.dropped == "exit":
            worked_on = self.keep[self.shortcut :]
            if len(set(worked_on)) > 1 or 0 in worked_on:
                raise ValueError("dropped 'exit' keeps as many tokens in every layer, at least one "
                                 f"(run false leaves the scale out), got keep {self.keep}")
        if self.dropped == "shortcut":
            counts = list(dict.fromkeys(self.keep[self.shortcut :]))
            if len(counts) != 2 or counts[1] != self.tokens or not counts[0] \
                    or self.keep[-1] != self.tokens:
                raise ValueError("dropped 'shortcut' keeps as many tokens in every layer from the "
                                 f"shortcut's end on, then all, got keep {self.keep}")
        if self.together:
            if self.per == "sublayer":
                raise ValueError(f"dropped {self.dropped!r} chooses tokens for a whole scale: per "
                                 "must be 'block'")
            if not all(0 <= layer < len(self.keep) for layer in self.guide):
                raise ValueError(f"guide {self.guide} names a layer that is not among the "
                                 f"{len(self.keep)}")
        if not self.conditional and not self.unconditional:
            raise ValueError("conditional and unconditional are both false: run false leaves the "
                             "scale out")
        if self.cache and len(self.cache) != len(self.keep):
            raise ValueError(f"cache has {len(self.cache)} entries, keep {len(self.keep)}")
        if bool(self.region) != bool(self.min_per_region):
            raise ValueError("region and min_per_region go together: give both or neither")
        if self.window and (self.special or any(n not in (0, self.tokens) for n in self.keep)):
            raise ValueError("a window is for layers that work on all tokens: keep is all or 0, "
                             "and there is no special step")
        if self.special:
            if self.dropped != "identity" or self.per != "block" or self.shortcut or self.region:
                raise ValueError("a special step drops no tokens: leave out per, dropped, shortcut "
                                 "and region")
            self.special.check_keeps(self.keep)
        for count in {n for n in self.keep if 0 < n < self.tokens}:
            check_selection(self.tokens, self.grid, count, self.region, self.min_per_region)
        return self
