"""A draft: the first scales of pictures, with all that is needed to finish them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from .. import __version__
from ..arguments import whole
from ..models.fingerprint import model_fingerprint
from ..models.transformer import InfinityTransformer
from ..sampling.params import SamplingParams
from ..sampling.run import ScaleState
from ..schedules import ScaleSchedule, get_schedule, pixel_budgets
from ..sparsity.plan import SparsityPlan
from .stack import BitStack, recorded

UNTIL = 16
"""Tokens a side of the last scale of a draft, where none is named: the objects can be seen."""


@dataclass(frozen=True)
class Draft:
    """The first scales of B pictures, with everything that is needed to draw the others.

    It takes 2 KiB a picture up to a side of 16 tokens with 32 bits a token, so it fits into a file
    or a PNG.

    Attributes:
        stack: the bits that have been drawn.
        schedule: the size of the pictures.
        prompts: the prompt of each picture.
        negatives: the negative prompt of each picture. None = the learned empty text.
        seeds: the seed of each picture.
        params: the sampling parameters.
        prompt_weights: whether weights in the prompts were read.
        plan: the plan that the scales were drawn with. None = a dense one.
        planner: the name of the strategy that decides inside the run; it must be given again to go
            on. None = there was none.
        request: options of the command line, for its own use.
        model: the fingerprint of the transformer's weights.
        version: the version of this package.

    Raises:
        ValueError: the numbers of pictures, prompts and seeds differ, or the bits are of another
            size.
    """

    stack: BitStack
    schedule: ScaleSchedule
    prompts: tuple[str, ...]
    negatives: tuple[str, ...] | None
    seeds: tuple[int, ...]
    params: SamplingParams
    prompt_weights: bool = False
    plan: SparsityPlan | None = None
    planner: str | None = None
    request: Mapping[str, Any] | None = None
    model: str = ""
    version: str = __version__

    def __post_init__(self) -> None:
        counts = {len(self.stack), len(self.prompts), len(self.seeds)}
        if self.negatives is not None:
            counts.add(len(self.negatives))
        if len(counts) != 1:
            raise ValueError(f"a draft of {len(self.stack)} pictures with {len(self.prompts)} "
                             f"prompts and {len(self.seeds)} seeds: give each its own")
        self.stack.check_begins(self.schedule, self.stack.bits_per_token)
        if self.params.schedule != self.schedule:
            raise ValueError("the sampling parameters of a draft are of another size")

    def __len__(self) -> int:
        """The number of pictures, B."""
        return len(self.stack)

    @property
    def done(self) -> int:
        """How many scales are done: drawn, or left out by the plan."""
        return len(self.stack.grids)

    @property
    def finished(self) -> bool:
        """Whether all scales are done."""
        return self.done == len(self.schedule)

    def pick(self, which: Sequence[int]) -> Draft:
        """A draft of some of the pictures.

        Args:
            which: their numbers, from 0.

        Raises:
            ValueError: there is no such picture, or no number is given.
        """
        which = list(which)
        for n in which:
            if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < len(self):
                raise ValueError(f"which names picture {n!r}, but the draft has {len(self)}, "
                                 f"counted from 0 to {len(self) - 1}")
        if not which:
            raise ValueError("which is empty: name at least one picture of the draft")
        negatives = self.negatives
        return replace(
            self, stack=self.stack.pick(which), prompts=tuple(self.prompts[n] for n in which),
            negatives=None if negatives is None else tuple(negatives[n] for n in which),
            seeds=tuple(self.seeds[n] for n in which))

    def finished_size(self, pn: str | None = None) -> ScaleSchedule:
        """The size that the draft is finished at.

        Args:
            pn: a larger pixel budget, of the same aspect. None = the draft's own.

        Raises:
            ValueError: the budget is not listed, or smaller than the draft's.
        """
        if pn is None:
            return self.schedule
        schedule = get_schedule(self.schedule.template, pn)
        self.check_size(schedule)
        return schedule

    def check_size(self, schedule: ScaleSchedule) -> None:
        """Refuse a size that the draft cannot be finished at.

        Raises:
            ValueError: it is smaller than the draft's, or of another aspect.
        """
        self.stack.check_begins(schedule, self.stack.bits_per_token)
        if len(schedule) < len(self.schedule):
            own, (height, width) = self.schedule, schedule.image_size
            raise ValueError(
                f"the draft is of {own.image_size[1]}x{own.image_size[0]} pixels ({own.pn}) and "
                f"cannot be finished at {width}x{height} ({schedule.pn}), which is smaller: leave "
                "the size out, or name a larger one")

    def check_model(self, transformer: InfinityTransformer) -> None:
        """Refuse a model that did not draw this draft.

        Raises:
            ValueError: the fingerprints differ; the message has both.
        """
        own = model_fingerprint(transformer)
        if self.model != own:
            raise ValueError(f"the draft was drawn by another model ({self.model}), this one is "
                             f"{own}: load the model that drew it")

    def codes(self, transformer: InfinityTransformer) -> Tensor:
        """The summed codes of the scales that are done, [B, latent channels, H, W] float32 on the
        model's device. The autoencoder decodes them to a preview.

        Args:
            transformer: the model that drew the draft.

        Raises:
            ValueError: it is another model.
        """
        shape = transformer.shape
        self.check_model(transformer)
        return self.stack.to(transformer.null_text.device).summed(
            self.schedule, shape.latent_channels, shape.patch)


def joined(drafts: Sequence[Draft]) -> Draft:
    """Drafts of one call after another as one, such as of a batch that was drawn in parts.

    Raises:
        ValueError: they are not of one size, model, plan and way of drawing.
    """
    first = drafts[0]
    if len(drafts) == 1:
        return first
    alike = ("schedule", "params", "prompt_weights", "plan", "planner", "request", "model")
    for name in alike:
        if any(getattr(d, name) != getattr(first, name) for d in drafts):
            raise ValueError(f"drafts differ in {name}: they cannot be one")
    if len({d.done for d in drafts}) > 1 or len({d.negatives is None for d in drafts}) > 1:
        raise ValueError("drafts differ in their scales or negative prompts: they cannot be one")
    negatives = None if first.negatives is None else tuple(
        n for d in drafts for n in d.negatives or ())
    return replace(
        first, stack=_together([d.stack for d in drafts]), negatives=negatives,
        prompts=tuple(p for d in drafts for p in d.prompts),
        seeds=tuple(s for d in drafts for s in d.seeds))


class Recorder:
    """Takes the bits of a call's runs as they are drawn: give it as ``on_scale``.

    Args:
        then: called with every state, too.
    """

    def __init__(self, then: Any = None) -> None:
        self._then = then
        self._runs: list[tuple[dict[int, Tensor], dict[int, Tensor | None]]] = []

    def __call__(self, state: ScaleState) -> None:
        if state.index == 0 or not self._runs:
            self._runs.append(({}, {}))
        bits, stayed = self._runs[-1]
        bits[state.index], stayed[state.index] = state.bits, state.stayed
        if self._then is not None:
            self._then(state)

    def stack(self, schedule: ScaleSchedule, scales: int | None = None) -> BitStack:
        """The bits of all runs' pictures, on the CPU.

        Args:
            scales: how many were done; None = up to the last that was run.
        """
        last = scales or 1 + max((max(bits) for bits, _ in self._runs if bits), default=-1)
        parts = [recorded(schedule.grids, bits, stayed, last) for bits, stayed in self._runs]
        return _together(parts).to(torch.device("cpu"))


def _together(parts: Sequence[BitStack]) -> BitStack:
    """Stacks of as many scales as one."""
    if len(parts) == 1:
        return parts[0]
    every: list[Tensor | None] = []
    stays: list[Tensor | None] = []
    for scale in range(len(parts[0].grids)):
        bits = [part.bits[scale] for part in parts]
        if len({b is None for b in bits}) > 1:
            raise ValueError("the pictures were drawn with different scales left out, so they are "
                             "no one draft: draft them one by one")
        every.append(_joined(bits))
        some = any(part.stayed[scale] is not None for part in parts)
        stays.append(_joined([_or_all(part, scale) for part in parts]) if some else None)
    return BitStack(parts[0].grids, tuple(every), tuple(stays))


def _joined(parts: list[Any]) -> Any:
    return None if parts[0] is None else torch.cat(parts)


def _or_all(part: BitStack, scale: int) -> Any:
    bits, stayed = part.bits[scale], part.stayed[scale]
    if stayed is not None or bits is None:
        return stayed
    return torch.ones(bits.shape[:2], dtype=torch.bool, device=bits.device)


def last_scale(schedule: ScaleSchedule, until: int | Literal["auto"] = "auto") -> int:
    """The last scale of at most ``until`` x ``until`` tokens; in another aspect, the one of the
    same number.

    Args:
        until: "auto" = ``UNTIL``, but at most half the side of the finished picture, so that a
            draft is never whole.

    Raises:
        ValueError: ``until`` is no side in tokens.
    """
    square = get_schedule("1.0", pixel_budgets()[-1])
    if until == "auto":
        until = min(UNTIL, square.grids[len(schedule) - 1][0] // 2)
    until = whole("until", until, 1)
    fitting = [s for s, (side, _) in enumerate(square.grids) if side <= until]
    return min(fitting[-1], len(schedule) - 1)

