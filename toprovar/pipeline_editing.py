"""Drafts, variations and edits: methods of the pipeline beside its call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from .arguments import number, seed_list, single
from .editing.draft import Draft, Recorder, last_scale
from .editing.edit import Edit, finishing, unfinished
from .editing.outpaint import place
from .editing.stack import BitStack
from .editing.taken import Asked, Source, take
from .editing.words import LOOK_UNTIL, MASKS_FROM, Disagreement, MaskFrom, mask_of
from .editing.words_attention import attended_words
from .models.fingerprint import model_fingerprint
from .pipeline_outputs import InfinityPipelineOutput, decode_images
from .sampling.params import SamplingParams
from .schedules import TOKEN_PIXELS, ScaleSchedule
from .sparsity.plan import SparsityPlan
from .sparsity.planner import Planner

if TYPE_CHECKING:
    from .pipeline import InfinityPipeline

AWAY = 0.5
"""How far an edit leads away from its source prompt."""


class Editing:
    """Base of the pipeline."""

    @property
    def _pipe(self) -> InfinityPipeline:
        return cast("InfinityPipeline", self)

    def draft(
        self, prompt: str | Sequence[str], negative_prompt: Any = None, *,
        seed: int | Sequence[int] = 0, until: int | Literal["auto"] | None = "auto", **call: Any,
    ) -> Draft:
        """Draw the first, coarse scales of pictures. This is cheap, because most tokens of a
        picture are in its last scales.

        Args:
            prompt, negative_prompt: as in a call.
            seed: as in a call. ``generator`` is not accepted, since a draft must be able to go on
                later.
            until: the last scale that is drawn, by its tokens a side in the square size; other
                aspects stop at the scale of the same number. "auto" = 16, or 8 at 0.06M pixels,
                where 16 is the last scale. None = all scales.
            call: more arguments of a call: size, guidance, plan, callbacks ...

        Returns:
            A draft of ``num_images_per_prompt`` pictures for each prompt.

        Raises:
            ValueError: an argument that a draft does not accept, or one that a call refuses.

        Example:
            sheet = pipe.draft("a red fox", seed=7, num_images_per_prompt=16)
            pictures = pipe.preview(sheet)
            best = pipe.finish(sheet, which=[2, 11]).images
        """
        for name in ("generator", "prompt_features", "prompt_embeds", "negative_features",
                     "negative_prompt_embeds", "output_type", "image", "edit"):
            if call.get(name) is not None:
                raise ValueError(f"{name} is not taken by a draft, which must be able to say how "
                                 "it goes on: give prompt and seed")
        height, width = call.pop("height", None), call.pop("width", None)
        schedule = call.pop("schedule", None) or self._pipe.resolve_schedule(height, width)
        last = len(schedule) - 1 if until is None else last_scale(schedule, until)
        plan: Planner | None = call.get("plan")
        each = call.get("num_images_per_prompt", 1)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negatives = None if negative_prompt is None else \
            [negative_prompt] if isinstance(negative_prompt, str) else list(negative_prompt)
        recorder = Recorder(call.pop("on_scale", None))
        output = self._pipe(prompt, negative_prompt, seed=seed, schedule=schedule,
                            output_type="latent", on_scale=recorder, edit=unfinished(last), **call)
        interrupted = any(note.startswith("interrupted") for note in output.report.notes)
        stack = recorder.stack(schedule, None if interrupted else last + 1)
        adaptive = plan is not None and plan.adaptive
        made = None if plan is None or adaptive else output.report.used_plan
        drawn: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in output.report.params.items() if name != "schedule"}
        params = SamplingParams(schedule, **drawn)
        if negatives is not None:
            negatives = [n for n in negatives for _ in range(each)] if len(negatives) > 1 \
                else negatives * (len(prompts) * each)
            negatives = negatives[: len(stack)]
        prompts = [p for p in prompts for _ in range(each)][: len(stack)]
        return Draft(
            stack, schedule, tuple(prompts), None if negatives is None else tuple(negatives),
            tuple(seed_list(seed, len(prompts)) if single(seed) else list(seed)[: len(stack)]),  # type: ignore[arg-type]  # told apart by ``single``
            params, bool(call.get("prompt_weights", False)), made,
            plan.name if adaptive and plan is not None else None,
            model=model_fingerprint(self._pipe.transformer))

    def preview(self, draft: Draft, which: Sequence[int] | None = None,
                output_type: str = "pil") -> Any:
        """Decode a draft as it is, at the full size of the pictures. No scale is drawn.

        Args:
            draft: a draft of this pipeline's model.
            which: numbers of pictures, from 0. None = all.
            output_type: "pil", "np" or "pt", as in a call.

        Returns:
            The pictures in that form.

        Raises:
            ValueError: the draft is of another model, or has no such picture.
        """
        draft = draft if which is None else draft.pick(which)
        device = self._pipe._execution_device
        codes = draft.codes(self._pipe.transformer).to(device)
        self._pipe.wake("vae", device)
        return decode_images(self._pipe.vae, codes, output_type, self._pipe._vae_tile)

    def finish(
        self, draft: Draft, which: Sequence[int] | None = None, *,
        plan: Planner | None = None, pn: str | None = None,
        schedule: ScaleSchedule | None = None, **call: Any,
    ) -> InfinityPipelineOutput:
        """Draw the scales that a draft lacks. With the draft's own plan and size the picture is bit
        for bit the one that a single call draws.

        Args:
            draft: a draft of this pipeline's model.
            which: numbers of pictures of the draft, from 0. None = all.
            plan: which work is left out. None = the draft's own plan. A planner that decides inside
                the run must be given again.
            pn: a larger pixel budget of the same aspect to go on to, such as "1M".
            schedule: such a size as a schedule, in place of ``pn``.
            call: more arguments of a call.

        Raises:
            ValueError: the draft is of another model, or that size is smaller than the draft's or
                of another aspect.
        """
        if not isinstance(draft, Draft):
            raise ValueError(f"draft must be a Draft, got {type(draft).__name__}: make one with "
                             "pipe.draft(...), or read one with load_draft(file)")
        draft.check_model(self._pipe.transformer)
        draft = draft if which is None else draft.pick(which)
        if schedule is not None and pn is not None:
            raise ValueError("give either pn or schedule, not both")
        schedule = schedule or draft.finished_size(pn)
        draft.check_size(schedule)
        if plan is None and draft.planner is not None:
            raise ValueError(f"the draft was drawn with {draft.planner}, which plans inside the "
                             "run: give the same strategy as plan, or another one")
        if plan is None and draft.plan is not None:
            _check_size(draft.plan, schedule)
        params = draft.params
        more = {"guidance_scale": _longer(params.cfg_list, len(schedule)),
                "tau": _longer(params.tau_list, len(schedule)),
                "cfg_insertion_layer": params.cfg_insertion_layer, "top_k": params.top_k,
                "top_p": params.top_p, "greedy": params.mode == "greedy",
                "prompt_weights": draft.prompt_weights}
        output = self._pipe(
            list(draft.prompts), None if draft.negatives is None else list(draft.negatives),
            seed=list(draft.seeds), schedule=schedule, plan=plan or draft.plan,
            edit=finishing(draft.stack, schedule), **(more | call))
        told = None if isinstance(output, tuple) else output._told
        if told is not None and schedule == draft.schedule and plan in (None, draft.plan):
            output._remember(replace(told, more=None))  # it is the picture drawn at once
        return output

    def vary(self, image: Source, prompt: Any, strength: float = 0.6,
             **call: Any) -> InfinityPipelineOutput:
        """Draw the finer scales of a picture again: a call with ``image`` and ``strength``.

        Args:
            image: a picture, latent, draft or stack of bits, as in a call.
            prompt: what the new picture is to show.
            strength: how much is drawn again: 0 = the picture as the model reads it, 1 = a new
                picture.
            call: more arguments of a call.
        """
        return self._pipe(prompt, image=image, strength=strength, **call)

    def inpaint(self, image: Source, mask_image: Any, prompt: Any, *,
                blend: int | None = 16, **call: Any) -> InfinityPipelineOutput:
        """Draw a part of a picture again: a call with ``image`` and ``mask_image``. Outside of the
        mask the result has the given pixels.

        Args:
            image: a picture, latent, draft or stack of bits, as in a call.
            mask_image: white where the picture is drawn again, black where it stays.
            prompt: what the whole picture is to show.
            blend: the width in pixels of the soft edge between drawn and given pixels. None = show
                the whole picture as the autoencoder decodes it.
            call: more arguments of a call, such as ``strength`` and ``padding_mask_crop``.
        """
        return self._pipe(prompt, image=image, mask_image=mask_image, blend=blend, **call)

    def outpaint(self, image: Any, prompt: Any, *, left: int = 0, right: int = 0,
                 top: int = 0, bottom: int = 0, height: int | None = None,
                 width: int | None = None, blend: int | None = 16, **call: Any
                 ) -> InfinityPipelineOutput:
        """Draw what lies beyond the edges of a picture.

        Args:
            image: one picture of pixels.
            prompt: what the whole picture is to show.
            left, right, top, bottom: the widths of the new parts, in pixels of the given picture.
            height, width: in place of these widths: the size to draw, with the picture in its
                middle.
            blend: as in :meth:`inpaint`.
            call: more arguments of a call.

        Returns:
            Pictures of the listed size nearest to the one that results.
        """
        placed = place(image, (left, right, top, bottom), height, width,
                       call.pop("schedule", None), self._pipe.config["default_pn"])
        output = self._pipe(prompt, image=placed.canvas, mask_image=placed.mask,
                      schedule=placed.schedule, blend=blend, **call)
        if isinstance(output, tuple):
            return output  # type: ignore[return-value]  # diffusers' manner
        output.report = replace(output.report, notes=(*placed.notes, *output.report.notes))
        output.reports = [output.report, *output.reports[1:]]
        return output

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

    def _pictures_of(self, codes: Tensor) -> Tensor:
        """[B, 3, H, W] float32 in [0, 1] of summed codes."""
        self._pipe.wake("vae", codes.device)
        with torch.inference_mode():
            return decode_images(self._pipe.vae, codes, "pt", self._pipe._vae_tile).clone()


def _check_size(plan: SparsityPlan, schedule: ScaleSchedule) -> None:
    if tuple(step.grid for step in plan.scales) != schedule.grids:
        raise ValueError(f"the draft's plan ({plan.strategy}) is of its own size: to go on to "
                         "another one give a plan for that size, or dense_plan(...)")


def _longer(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """One number for each of ``count`` scales: the last one goes on."""
    return (*values, *(values[-1:] * count))[:count]
