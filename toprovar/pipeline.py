"""Prompt in, images and report out: the diffusers-style pipeline."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast, get_type_hints

import torch
from torch import Tensor

from .arguments import MOST_IMAGES, guidance, temperature, whole
from .editing.edit import Edit, Region
from .editing.steering import steering
from .editing.taken import Asked, Source, take
from .models.autoencoder import InfinityAutoencoder
from .models.text import PackedText
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
from .pipeline_prompts import Prompting, count_prompts
from .pipeline_runs import OnImage, Runs
from .pipeline_sources import Sources, check_family
from .pipeline_told import Told, edited_as, known_seeds, texts_of
from .sampling.memory import EntropyListener
from .sampling.params import EngineOptions, SamplingParams
from .sampling.run import ScaleState
from .sampling.timing import Clock
from .schedules import ScaleSchedule, get_schedule, schedule_for_size
from .sparsity.plan import size_of_plan
from .sparsity.planner import Planner
from .times import Times


class InfinityPipeline(Prompting, Editing, DiffusersManners, LocalLoading):
    """A pipeline that draws pictures from prompts with an Infinity model, in the manner of
    diffusers. With a VAREdit model it edits pictures by an instruction instead.

    A call changes none of the components, so several pipelines may share them.

    Args:
        transformer: the network that draws the codes of a picture.
        vae: the autoencoder that makes pixels of codes, and codes of pixels.
        text_encoder: the T5 encoder that the transformer was trained with. None = calls are given
            ``prompt_features`` instead of text.
        tokenizer: the tokenizer of the text encoder.
        default_pn: the pixel budget of a call that names no size: "0.06M", "0.25M", "0.60M" or
            "1M".
        default_cfg: the guidance of a call that names none.
        default_tau: the temperature of a call that names none.

    Raises:
        ValueError: the components do not belong together, or a default is out of range.
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

    def resolve_schedule(self, height: int | None, width: int | None) -> ScaleSchedule:
        """The schedule of the listed size nearest to a size in pixels.

        Args:
            height, width: in pixels. One of them alone stands for both. None for both = a square at
                the pipeline's default pixel budget.
        """
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
        """Draw pictures.

        Args:
            prompt: what to draw, one prompt or several. With a VAREdit model: what is to be
                changed, such as "make it winter".
            negative_prompt: what to steer away from, one text for all prompts or one for each. None
                = the empty text that the model has learned.
            height, width: the size in pixels. The nearest listed size is drawn, and the report says
                so. One of them alone stands for both.
            guidance_scale: the strength of classifier-free guidance, 0 or more, one number or one
                for each scale. 1 = no guidance, which halves the work. None = the pipeline's
                default.
            tau: the temperature, above 0, one number or one for each scale. None = the pipeline's
                default.
            generator: a random generator for all images in turn, as in the official code, or one
                for each image. A generator on the CPU gives the same picture on every device. To
                repeat a picture that the official code drew on a GPU, give a generator of that GPU.
            num_images_per_prompt: how many images are drawn for each prompt.
            output_type: the form of the images: "pil", "np", "pt" or "latent"; see
                ``InfinityPipelineOutput``.
            callback_on_step_end: a function that is called after each scale with (pipeline, scale,
                scale, {"latents": summed codes}). The run goes on from the latents that it returns
                or changes in place.
            plan: which work is left out: a ``SparsityPlan``, or a planner of
                :func:`toprovar.make_plan` that decides inside the run, one image after the other.
                None = nothing is left out.
            seed: a seed in place of ``generator``. Image i is drawn from seed + i (modulo 2^64), or
                from its own seed where a list is given, so each image can be drawn again alone.
            schedule: the size as a schedule; it goes before ``height`` and ``width``.
            cfg_insertion_layer, top_k, top_p, greedy: see ``SamplingParams``; ``greedy`` is its
                mode "greedy".
            prompt_features, negative_features: features of :meth:`encode_prompt` in place of text.
            prompt_weights: True = read ``(word:1.2)`` in both prompts as a weight
                (:func:`toprovar.parse_weights`). False = read them as plain text.
            options: how the run computes: number formats, attention kernel, CUDA graphs.
            vae_tile: decode in overlapping tiles of this many latent pixels a side, at least 4,
                which needs less memory and changes pixels a little. None = decode the whole picture
                at once.
            check: a function that is called before every layer. An exception that it raises ends
                the call.
            on_scale: a function that is called after each scale with the run's ``ScaleState``.
            watch: an object that gets the entropies of the attention, such as a ``TraceRecorder``.
            on_image: a function that is called as soon as a picture is decoded, with (its number
                from 0, the picture, the report of its run without times).
            latents: not accepted, because the model does not start from noise.
            prompt_embeds, negative_prompt_embeds: the names that diffusers has for
                ``prompt_features`` and ``negative_features``. Tensors [B, L, C] are accepted, too.
            prompt_attention_mask, negative_prompt_attention_mask: [B, L], which tokens of such
                tensors count.
            callback_on_step_end_tensor_inputs: what the callback is given: any of "latents",
                "prompt_embeds" and "negative_prompt_embeds".
            return_dict: False = return a tuple (images, report, reports).
            image: a picture to begin with: a PIL image, an array [height, width, 3], a tensor [3,
                height, width], a latent, a ``Draft``, or a list of pictures. Without a size it is
                drawn at the listed size that is nearest to its own, up to the pipeline's pixel
                budget. A VAREdit model needs it: it is the picture to edit, one for all prompts or
                one for each, of any size, and the results have its size. docs/guide/editing.md
                explains this argument and the next five.
            strength: how much of ``image`` is drawn again: 0 = nothing, 1 = everything. None = 0.6,
                or 1 with a mask.
            mask_image: white where the picture is drawn again, black where it stays: a PIL image,
                or numbers from 0 to 1 as [H, W], [B, H, W] or [B, 1, H, W].
            padding_mask_crop: draw only the surroundings of the mask, this many pixels around it,
                at the full size, and put them back. None = draw the whole picture.
            blend: the width in pixels of the soft edge between drawn and given pixels. 0 = a hard
                edge at the mask. None = show the picture as the autoencoder decodes it.
            region: details of how the mask is used.
            crop: with a VAREdit model: True = edit the middle part of the drawn aspect, a square.
                False = edit the whole picture with white padding.
            edit: what is kept of a source, in place of ``image``. :meth:`finish` and other methods
                make it.
            source_prompt: what ``image`` shows, one text for all prompts or one for each. Guidance
                then also leads away from it.
            away: how strongly guidance leads away from ``source_prompt``, as a multiple of the
                difference between the two prompts. 0 = not at all.

        Returns:
            The images and the report of the run. After an interrupt (``pipeline.interrupt = True``)
            the images are decoded from the scales that were done, and the report says so.

        Raises:
            ValueError: an argument is out of range, or arguments exclude each other; the message
                names them and says what was expected.
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
                         self._pictures_of, size_of_plan(plan))
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
        images = num_images_per_prompt * count_prompts(prompt, prompt_features)
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
        told = Told(
            texts_of(prompt), texts_of(negative_prompt), known_seeds(generator, seed, len(text)),
            prompt_weights, vae_tile, plan is not None,
            edited_as(asked, crop, edits, edit is not None, source_prompt, away))
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
        output = InfinityPipelineOutput(
            pictures, report, [report, *runs.reports[1:]])._remember(told)
        return output if return_dict else output.to_tuple()  # type: ignore[return-value]  # diffusers' manner

# diffusers before 0.36 reads the types of these arguments as they stand, and they stand as text.
InfinityPipeline.__init__.__annotations__ = get_type_hints(InfinityPipeline.__init__)
