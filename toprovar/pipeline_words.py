"""Edits by words: methods of the pipeline that lead a picture from one description to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from .arguments import number
from .editing.draft import last_scale
from .editing.edit import Edit
from .editing.stack import BitStack
from .editing.taken import Asked, Source, take
from .editing.words import LOOK_UNTIL, MASKS_FROM, Disagreement, MaskFrom, mask_of
from .editing.words_attention import attended_words
from .pipeline_outputs import InfinityPipelineOutput
from .schedules import TOKEN_PIXELS, ScaleSchedule

if TYPE_CHECKING:
    from .pipeline import InfinityPipeline

AWAY = 0.5
"""How far an edit leads away from its source prompt."""


class WordEditing:
    """Base of the pipeline."""

    @property
    def _pipe(self) -> InfinityPipeline:
        return cast("InfinityPipeline", self)

    def edit(
        self, image: Source, source_prompt: str | Sequence[str],
        target_prompt: str | Sequence[str], *, mask_image: Any = None, away: float = AWAY,
        mask_from: MaskFrom = "likelihood", share: float | None = None, blend: int | None = None,
        **call: Any,
    ) -> InfinityPipelineOutput:
        """Change a picture by words, from a description of it to another one.

        Guidance leads towards the target prompt and away from the source prompt. The part that is
        drawn again is the white part of a mask, or where the two descriptions disagree about the
        picture.

        Args:
            image: as in :meth:`vary`; one picture for all prompts, or one for each.
            source_prompt: what the picture shows.
            target_prompt: what it is to show.
            mask_image: white where the picture may change. None = found from the prompts by
                :meth:`edit_mask`.
            away: how strongly guidance leads away from the source prompt, as a multiple of the
                difference between the two prompts. 0 = not at all.
            mask_from, share: how the mask is found; see :meth:`edit_mask`.
            blend: as in :meth:`inpaint`.
            call: more arguments of a call.
        """
        if mask_image is None:
            sizes = {name: call[name] for name in ("height", "width", "schedule", "options",
                                                   "check", "prompt_weights") if name in call}
            mask_image = self.edit_mask(image, source_prompt, target_prompt, mask_from, share,
                                        **sizes)
            each = call.get("num_images_per_prompt", 1)
            if len(mask_image) > 1 and each > 1:
                mask_image = mask_image.repeat_interleave(each, 0)
        return self._pipe(target_prompt, image=image, mask_image=mask_image, blend=blend,
                          source_prompt=source_prompt, away=away, **call)

    def edit_mask(
        self, image: Source, source_prompt: str | Sequence[str],
        target_prompt: str | Sequence[str], mask_from: MaskFrom = "likelihood",
        share: float | None = None, *, height: int | None = None, width: int | None = None,
        schedule: ScaleSchedule | None = None, **call: Any,
    ) -> Tensor:
        """Find where two descriptions of a picture disagree.

        The picture's own bits are fed to the model with each of the prompts, up to a scale of 16 x
        16 tokens.

        Args:
            image: as in :meth:`vary`; one picture for all prompts, or one for each.
            source_prompt: what the picture shows.
            target_prompt: what it is to show.
            mask_from: how the disagreement is measured. "likelihood": how much less likely the
                picture's bits become. "logits": how far apart the probabilities of its bits are.
                "entropy": how far apart the entropies of the attention are. "cross-attention": how
                much a token looks at the words in which the prompts differ.
            share: the share of the picture that is white, above 0 and below 1. None = as far as the
                prompts disagree.
            height, width, schedule: the size, as in a call.
            call: more arguments of a call.

        Returns:
            [B, 1, H, W] float32 of 0 and 1, with B = as many pictures as prompts.

        Raises:
            ValueError: ``mask_from`` or ``share`` is none of these, the numbers of pictures and
                prompts do not go together, or the picture is a draft that is not finished.
        """
        if mask_from not in MASKS_FROM:
            raise ValueError(f"mask_from must be one of {', '.join(MASKS_FROM)}, got {mask_from!r}")
        if share is not None and not 0 < number("share", share) < 1:
            raise ValueError(f"share must be between 0 and 1, got {share}")
        taken = take(self._pipe, Asked(image), schedule, height, width,
                     self._pipe.config["default_pn"])
        if len(taken.source.grids) < len(taken.schedule):
            raise ValueError("an edit needs a picture of all scales: finish the draft first")
        prompts = [[p] if isinstance(p, str) else list(p) for p in (target_prompt, source_prompt)]
        count = max(len(taken.source), *map(len, prompts))
        for name, found in (("image", len(taken.source)), ("target_prompt", len(prompts[0])),
                            ("source_prompt", len(prompts[1]))):
            if found not in (1, count):
                raise ValueError(f"{name}: {found} for {count} pictures: give one, or one for "
                                 "each")
        prompts = [own * count if len(own) == 1 else own for own in prompts]
        source = taken.source.pick(range(count)) if len(taken.source) > 1 \
            else taken.source.pick([0] * count)
        found = self._disagreement(source, taken.schedule, prompts, mask_from, call)
        return mask_of(found, share).repeat_interleave(TOKEN_PIXELS, 2).repeat_interleave(
            TOKEN_PIXELS, 3)

    def _disagreement(self, source: BitStack, schedule: ScaleSchedule, prompts: list[list[str]],
                      sign: MaskFrom, call: dict[str, Any]) -> Tensor:
        """[B, 1, h, w] of the finest grid: see ``words.Disagreement``."""
        if sign == "cross-attention":
            every = [*prompts[0], *prompts[1]]
            text = self._pipe.encode_prompt(every)
            device = self._pipe._execution_device
            self._pipe.wake("transformer", device)
            return attended_words(self._pipe.transformer, source.to(device), schedule, text,
                                  self._pipe.tokenizer(every).input_ids,
                                  last_scale(schedule, LOOK_UNTIL))
        count = len(source)
        looking = Disagreement(sign, source)
        both = source.pick([*range(count), *range(count)])
        known = torch.zeros(1, 1, dtype=torch.bool)
        edit = Edit(both, tuple(known.expand(1, n) for n in schedule.tokens),
                    until=last_scale(schedule, LOOK_UNTIL))
        self._pipe([*prompts[0], *prompts[1]], schedule=schedule, edit=edit, guidance_scale=1.0,
                   output_type="latent", on_scale=looking,
                   watch=looking if sign == "entropy" else None,
                   generator=torch.Generator().manual_seed(0), **call)
        return looking.map(schedule.grids[-1])
