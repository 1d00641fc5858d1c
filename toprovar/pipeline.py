"""Prompt in, images and report out: the diffusers-style pipeline."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast, get_type_hints

import torch
from torch import Tensor

from .arguments import MOST_IMAGES, guidance, single, temperature, whole
from .editing.edit import Edit, Region
from .editing.steering import steering
from .editing.taken import Asked, Source, take
from .models.autoencoder import InfinityAutoencoder
from .models.text import PackedText
from .models.text_encoder import MAX_TEXT_TOKENS, encode_prompts
from .models.transformer import InfinityTransformer
from .pipeline_callback import Callback, StepCallback
from .pipeline_calls import in_flight
from .pipeline_editing import Editing
from .pipeline_inputs import (
    Seeds,
    check_defaults,
    check_fit,
    check_kinds,
    frees_models,
    make_generators,
    notes_on,
    seed_of,
    seeds_of,
    split_calls,
)
from .pipeline_loading import LocalLoading
from .pipeline_manners import DiffusersManners, one_text, refuse_latents
from .pipeline_memory import CallMemory, request_of
from .pipeline_outputs import InfinityPipelineOutput as InfinityPipelineOutput
from .pipeline_outputs import OutputType
from .pipeline_runs import OnImage, Runs
from .pipeline_sources import Sources, check_family
from .sampling.memory import EntropyListener
from .sampling.params import EngineOptions, SamplingParams
from .sampling.run import ScaleState
from .sampling.timing import Clock
from .schedules import ScaleSchedule, get_schedule, schedule_for_size
from .sparsity.planner import Planner
from .times import Times


class InfinityPipeline(Editing, DiffusersManners, LocalLoading):
    """Infinity text-to-image, and VAREdit, which edits a picture by an instruction, where the
    transformer is one. A call changes none of the components.

    Args:
        transformer, vae: weights.
        text_encoder, tokenizer: the T5 pair that the transformer was trained with; None for a
            pipeline that is only given ``prompt_features``.
        default_pn: pixel budget of a call that names no size ("0.06M" ... "1M").
        default_cfg, default_tau: guidance and temperature of a call that names none.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _optional_components: ClassVar[list[str]] = ["text_encoder", "tokenizer"]

    transformer: InfinityTransformer
    vae: InfinityAutoencoder
    text_encoder: Any  # T5EncoderModel, or None
    tokenizer: Any  # PreTrainedTokenizerBase, or None

    def __init__(
        self,
        transformer: InfinityTransformer,
        vae: InfinityAutoencoder,
        text_encoder: Any = None,
        tokenizer: Any = None,
        default_pn: str = "1M",
        default_cfg: float = 3.0,
        default_tau: float = 0.5,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer
        )
        self.register_to_config(
            default_pn=default_pn, default_cfg=default_cfg, default_tau=default_tau
        )
        self._flights = []
        #: what runs took on this pipeline's devices, and automatic choices by what was asked
        self.times = Times()
        self.automatic: dict[Hashable, Planner] = {}
        check_fit(transformer, vae, text_encoder)
        check_defaults(default_pn, default_cfg, default_tau)

    def encode_prompt(
        self, prompt: str | Sequence[str], graph: bool | None = None, weights: bool = False
    ) -> PackedText:
        """Text features of one or several prompts, for ``prompt_features``; ``graph`` and
        ``weights`` as in :func:`~toprovar.models.text_encoder.encode_prompts`."""
        if self.text_encoder is None or self.tokenizer is None:
            raise ValueError(
                "this pipeline has no text encoder: add one when converting ('toprovar convert "
                "TRANSFORMER VAE FLAN-T5-XL-FOLDER DST'), or give prompt_features"
            )
        prompts: list[Any] = [prompt] if isinstance(prompt, str) or single(prompt) \
            else list(prompt)
        limit = min(MAX_TEXT_TOKENS, self.transformer.shape.text_max_length)
        return encode_prompts(prompts, self.tokenizer, self.text_encoder, limit, graph=graph,
                              weights=weights)

    def resolve_schedule(self, height: int | None, width: int | None) -> ScaleSchedule:
        """The schedule nearest to a size in pixels; square at the default budget if none."""
        if height is None and width is None:
            return get_schedule("1.0", self.config["default_pn"])
        tall, wide = width if height is None else height, height if width is None else width
        assert tall is not None and wide is not None
        return schedule_for_size(tall, wide)

    @torch.no_grad()
    @in_flight
    @frees_models
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        tau: float | Sequence[float] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        num_images_per_prompt: int = 1,
        output_type: OutputType = "pil",
        callback_on_step_end: Callback | None = None,
        plan: Planner | None = None,
        *,
        seed: Seeds | None = None,
        schedule: ScaleSchedule | None = None,
        cfg_insertion_layer: Sequence[int] | int = (0,),
        top_k: int = 900,
        top_p: float = 0.97,
        greedy: bool = False,
        prompt_features: PackedText | None = None,
        negative_features: PackedText | None = None,
        prompt_weights: bool = False,
        options: EngineOptions | None = None,
        vae_tile: int | None = None,
        check: Callable[[], None] | None = None,
        on_scale: Callable[[ScaleState], None] | None = None,
        watch: EntropyListener | None = None,
        on_image: OnImage | None = None,
        latents: Tensor | None = None,
        prompt_embeds: PackedText | Tensor | None = None,
        prompt_attention_mask: Tensor | None = None,
        negative_prompt_embeds: PackedText | Tensor | None = None,
        negative_prompt_attention_mask: Tensor | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
        image: Source | None = None,
        crop: bool = False,
        strength: float | None = None,
        mask_image: Any = None,
        padding_mask_crop: int | None = None,
        blend: int | None = None,
        region: Region | None = None,
        edit: Edit | None = None,
        source_prompt: str | Sequence[str] | None = None,
        away: float = 0.0,
    ) -> InfinityPipelineOutput:
        """Generate images.

        Args:
            prompt: one or several; of a VAREdit model, what is to be changed ("make it winter").
            negative_prompt: in place of the learned null text; one for all, or one per prompt.
            height, width: pixels; the nearest size of the schedule table is used, and the report
                notes it. One of them alone stands for both.
            guidance_scale: classifier-free guidance, one number or one per scale, 0 or more; 1 =
                off. Numbers of numpy and torch are taken too, here and below.
            tau: temperature above 0, one number or one per scale.
            generator: one generator for all images in turn (the official order), or one per
                image. On the CPU it gives the same picture on every device; the official code's
                draws on a GPU need a generator of that GPU.
            num_images_per_prompt: images for each prompt.
            output_type: "pil", "np", "pt" or "latent".
            callback_on_step_end: called after each scale as (pipeline, scale, scale, {"latents":
                summed codes}); our step is a scale. The run goes on from the latents that it
                returns or changes in place (see ``StepCallback``).
            plan: which tokens to process, as a value or as a strategy that plans inside the run
                (one image after another, then); None = all.
            seed: instead of ``generator``: image i is drawn from seed + i modulo 2^64, or from
                its own seed of a list, so that each can be made again alone.
            schedule: the size, whatever height and width say.
            cfg_insertion_layer, top_k, top_p, greedy: see ``SamplingParams``.
            prompt_features, negative_features: from ``encode_prompt``, instead of text.
            prompt_weights: read ``(word:1.2)`` in prompt and negative_prompt as a weight, see
                ``parse_weights``. False = they are read as they stand.
            options: how to compute (cache dtype, attention backend ...).
            vae_tile: decode in tiles of this many latent pixels, to bound memory.
            check: called before every layer; an exception it raises ends the call.
            on_scale: called with the full state after each scale.
            watch: gets attention entropies (``entropy.trace.TraceRecorder``).
            on_image: called with (number from 0, picture in its form, report of its run, without
                times) as soon as a picture is decoded.
            latents: refused: there is no noise to start from.
            prompt_embeds, negative_prompt_embeds: diffusers' names of ``prompt_features`` and
                ``negative_features``; also [B, L, C], with ..._attention_mask [B, L].
            callback_on_step_end_tensor_inputs: what the callback is handed: latents,
                prompt_embeds, negative_prompt_embeds.
            return_dict: False = a tuple (images, report, reports).
            image, strength, mask_image, padding_mask_crop, blend, region: a picture of which a
                part is drawn anew; see ``editing.taken.Asked`` and docs/guide/editing.md. Without
                a size it is drawn at the nearest aspect. A VAREdit model needs ``image`` and takes
                none of the others: the picture to edit by the prompt, or one a prompt, of any
                size (PIL's, or [height, width, 3] numpy, or [3, height, width] torch); results come
                back at its size.
            crop: of a VAREdit model: edit the middle part of the aspect that is drawn, a square,
                instead of the whole picture with white padding.
            edit: what is kept of a source, in place of ``image``; ``finish`` and others make it.
            source_prompt: what ``image`` shows, one for all prompts or one each: guidance leads
                away from it, too.
            away: how far, in differences between prompt and source prompt; 0 = not at all.

        Returns:
            ``InfinityPipelineOutput``. After an interrupt (``pipeline.interrupt = True``) the
            images are decoded from the scales run so far, and the report says so.
        """
        refuse_latents(latents)
        step = None
        if callback_on_step_end is not None:
            step = StepCallback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        prompt_features = one_text("prompt", prompt, prompt_features, prompt_embeds,
                                   prompt_attention_mask)
        negative_features = one_text("negative_prompt", negative_prompt, negative_features,
                                     negative_prompt_embeds, negative_prompt_attention_mask)
        check_kinds(prompt_features, negative_features, self.transformer.shape.text_channels,
                    schedule, plan, options, generator,
                    {"callback_on_step_end": callback_on_step_end, "check": check,
                     "on_scale": on_scale, "on_image": on_image})
        asked = Asked(image, strength, mask_image, padding_mask_crop, blend, region)
        edits = self.transformer.shape.edits
        check_family(edits, asked, crop, edit)
        asked.check()
        taken = None
        if image is not None and not edits:
            if edit is not None:
                raise ValueError("give either image or edit, not both")
            taken = take(self, asked, schedule, height, width, self.config["default_pn"],
                         self._pictures_of)
            schedule = taken.schedule
        schedule = schedule or self.resolve_schedule(height, width)
        params = SamplingParams(
            schedule,
            self.config["default_cfg"] if guidance_scale is None
            else guidance("guidance_scale", guidance_scale),
            self.config["default_tau"] if tau is None else temperature("tau", tau),
            cast("tuple[int, ...]", cfg_insertion_layer), top_k, top_p,
            "greedy" if greedy else "sample",
        )
        steered, away_text = steering(source_prompt, away, taken), None
        num_images_per_prompt = whole("num_images_per_prompt", num_images_per_prompt, 1,
                                      MOST_IMAGES)
        if vae_tile is not None:
            vae_tile = whole("vae_tile", vae_tile, 4)
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type must be pil, np, pt or latent, got {output_type!r}")
        images = num_images_per_prompt * _prompts(prompt, prompt_features)
        sources = None
        if edits:
            sources = Sources(image, images // num_images_per_prompt, num_images_per_prompt,
                              schedule, crop, output_type in ("np", "pt"))
            images = len(sources.frames)
        memory = CallMemory(self.residency, request_of(
            self, plan, options, schedule, images, params.guided,
            pictures=output_type != "latent", tile=vae_tile or self._vae_tile,
            away=steered is not None, edited=taken is not None or edit is not None,
            divisible=not isinstance(generator, torch.Generator),
        ))
        clock = Clock(self._execution_device)
        if sources is not None:
            clock.mark("source")
            sources.encode(self, memory)
            clock.mark("source")
        clock.mark("text")
        text = memory.again("text", lambda: self._features(
            prompt, prompt_features, memory.graph, prompt_weights))
        text = text if sources is None else sources.spread(text)
        negative = None
        if negative_prompt is not None or negative_features is not None:
            negative = memory.again("text", lambda: self._features(
                negative_prompt, negative_features, memory.graph, prompt_weights))
            if len(negative) not in (1, len(text)):
                raise ValueError(f"{len(negative)} negative prompts for {len(text)} prompts: "
                                 "give one, or one for each")
            if len(negative) > 1:
                negative = negative.repeat_each(num_images_per_prompt)
        notes = notes_on(text, negative, schedule, height, width)
        if taken is not None:
            notes = tuple(dict.fromkeys((*notes, *taken.notes)))
        text = text.repeat_each(num_images_per_prompt)
        clock.mark("text")
        if steered is not None:
            described = memory.again("text", lambda: self._features(
                source_prompt, None, memory.graph, prompt_weights))
            params, negative, away_text = steered.rows(params, negative, described, len(text))
        generators = make_generators(generator, seed, len(text))
        if taken is not None:
            edit = taken.edit(seeds_of(generators, len(text)))
            edit = replace(edit, away=away_text)
        if edit is not None and edit.images not in (1, len(text)):
            raise ValueError(f"an edit of {edit.images} pictures for {len(text)}: give as many "
                             "prompts and seeds")
        runs = Runs(self, params, plan, memory, output_type, check, on_scale, on_image, step,
                    watch, clock, edit, sources)
        pictures = runs(split_calls(text, negative, generators, plan, memory.most_images))
        seconds = {"text": clock.seconds("text"),
                   "scales": sum(r.seconds["scales"] for r in runs.reports),
                   "decode": runs.decode_seconds}
        if sources is not None:
            seconds["source"] = clock.seconds("source")
            notes = (*notes, *sources.notes)
        first = runs.reports[0]
        report = replace(first, seconds=seconds, seed=seed_of(generator, seed),
                         memory=memory.told(), notes=(*notes, *memory.notes(), *first.notes))
        output = InfinityPipelineOutput(pictures, report, [report, *runs.reports[1:]])
        return output if return_dict else output.to_tuple()  # type: ignore[return-value]  # diffusers' manner

    def _features(self, text: str | Sequence[str] | None, features: PackedText | None,
                  graph: bool | None, weights: bool) -> PackedText:
        if features is not None:
            return features
        if text is None:
            raise ValueError("give either prompt or its features: neither was given")
        return self.encode_prompt(text, graph, weights)


def _prompts(text: str | Sequence[str] | None, features: PackedText | None) -> int:
    """How many there are."""
    if features is not None:
        return len(features)
    return 1 if text is None or isinstance(text, str) or single(text) else max(1, len(text))


# diffusers before 0.36 reads the types of these arguments as they stand, and they stand as text.
InfinityPipeline.__init__.__annotations__ = get_type_hints(InfinityPipeline.__init__)
