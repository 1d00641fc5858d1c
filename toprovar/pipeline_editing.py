"""Drafts, variations and edits: methods of the pipeline beside its call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .arguments import seed_list, single
from .editing.draft import Draft, Recorder, last_scale
from .editing.edit import finishing, unfinished
from .editing.outpaint import place
from .editing.taken import Source
from .models.fingerprint import model_fingerprint
from .pipeline_outputs import InfinityPipelineOutput, decode_images
from .pipeline_words import WordEditing
from .sampling.params import SamplingParams
from .schedules import ScaleSchedule
from .sparsity.plan import SparsityPlan
from .sparsity.planner import Planner

if TYPE_CHECKING:
    pass


class Editing(WordEditing):
    """Base of the pipeline."""

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
