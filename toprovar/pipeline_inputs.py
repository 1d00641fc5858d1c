"""What a pipeline call is given, checked and brought into the form that the sampler takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from .arguments import guidance, number, seed_list, single, temperature
from .models.prompt_notes import EMPTY
from .models.text import PackedText
from .ops.bit_sampling import Generators
from .sampling.params import EngineOptions
from .schedules import ScaleSchedule, pixel_budgets, size_notes
from .sparsity.planner import Planner

P = ParamSpec("P")
R = TypeVar("R")
Seeds = int | Sequence[int]


def check_fit(transformer: Any, vae: Any, text_encoder: Any) -> None:
    """Refuse parts that do not belong together."""
    if transformer is None or vae is None:
        return
    if transformer.shape.latent_channels != vae.shape.latent_channels:
        raise ValueError(
            f"the transformer predicts {transformer.shape.latent_channels} latent channels, the "
            f"VAE has {vae.shape.latent_channels}: they do not belong together"
        )
    width = getattr(getattr(text_encoder, "config", None), "d_model", None)
    if width is not None and width != transformer.shape.text_channels:
        raise ValueError(
            f"the text encoder gives {width} channels, the transformer expects "
            f"{transformer.shape.text_channels}: they do not belong together "
            "(released Infinity models use flan-t5-xl, 2048)"
        )


def check_defaults(default_pn: Any = "1M", default_cfg: Any = 3.0, default_tau: Any = 0.5) -> None:
    """Refuse what no call could use, such as out of a damaged model_index.json."""
    if default_pn not in pixel_budgets():
        raise ValueError(f"default_pn must be one of {', '.join(pixel_budgets())}, got "
                         f"{default_pn!r}")
    guidance("default_cfg", number("default_cfg", default_cfg))
    temperature("default_tau", number("default_tau", default_tau))


def check_kinds(prompt_features: Any, negative_features: Any, channels: int, schedule: Any,
                plan: Any, options: Any, generator: Any, callables: dict[str, Any]) -> None:
    """Refuse arguments of a call that are of another kind than they should be.

    Args:
        channels: of the text features that the transformer takes.
        callables: by name.
    """
    generators = generator if isinstance(generator, (list, tuple)) else [generator]
    found = (("prompt_features", prompt_features, PackedText, "from encode_prompt"),
             ("negative_features", negative_features, PackedText, "from encode_prompt"),
             ("schedule", schedule, ScaleSchedule, "from get_schedule"),
             ("plan", plan, Planner, "a plan, or a strategy of make_plan"),
             ("options", options, EngineOptions, "EngineOptions"),
             *(("generator", one, torch.Generator, "torch.Generator, or one for each image")
               for one in generators))
    for name, value, kinds, words in found:
        if value is not None and not isinstance(value, kinds):
            raise ValueError(f"{name} must be {words}, got {type(value).__name__}")
        if isinstance(value, PackedText) and value.features.shape[1] != channels:
            raise ValueError(f"{name} has {value.features.shape[1]} channels, the transformer "
                             f"takes {channels}: encode with this model's text encoder")
    if isinstance(generator, (list, tuple)) and None in generator:
        raise ValueError("generator must be torch.Generator, or one for each image, got None in a "
                         "list")
    for name, value in callables.items():
        if value is not None and not callable(value):
            raise ValueError(f"{name} must be a function, got {type(value).__name__}")


def notes_on(text: PackedText, negative: PackedText | None, schedule: ScaleSchedule,
             height: int | None, width: int | None) -> tuple[str, ...]:
    """What is drawn other than asked, or may be: a line each, for the report."""
    notes = [f"the prompt {note}" for note in text.notes]
    if negative is not None:  # an empty one is usual
        notes += [f"the negative prompt {n}" for n in negative.notes if not n.endswith(EMPTY)]
    if height is not None or width is not None:
        notes += size_notes(schedule, height or width or 0, width or height or 0)
    return tuple(notes)


def make_generators(
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seed: Seeds | None,
    count: int,
) -> torch.Generator | list[torch.Generator] | None:
    """Generators of ``count`` images: the caller's own, or one for each seed."""
    if seed is None:
        if isinstance(generator, Sequence):
            if len(generator) != count:
                raise ValueError(f"{len(generator)} generators given for {count} images")
            return list(generator)
        return generator
    if generator is not None:
        raise ValueError("give either seed or generator, not both")
    return [torch.Generator("cpu").manual_seed(s) for s in seed_list(seed, count)]


def seed_of(generator: Any, seed: Seeds | None) -> int | list[int] | None:
    """For the report: the seed or seeds, where known."""
    if seed is not None:
        return int(seed) if single(seed) else [int(one) for one in seed]  # type: ignore[arg-type]  # told apart by ``single``
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    return [g.initial_seed() for g in generator] if generator is not None else None


def seeds_of(generators: Generators, count: int) -> list[int]:
    """A seed for each image, of its generator; of a shared one, counted up."""
    if isinstance(generators, Sequence):
        return [g.initial_seed() for g in generators]
    return seed_list(0 if generators is None else generators.initial_seed(), count)


def frees_models(call: Callable[P, R]) -> Callable[P, R]:
    """A pipeline method after which offloaded models leave the device, also when it fails."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        finally:
            args[0].maybe_free_model_hooks()  # type: ignore[attr-defined]  # the pipeline

    return wrapped


Call = tuple[PackedText, PackedText | None, Generators]


def split_calls(text: PackedText, negative: PackedText | None, generators: Generators,
                plan: Planner | None, most: int | None = None) -> list[Call]:
    """(text, negative, generators) of each run: one for all images, or, where the plan is made
    inside the run and so differs by image, one for each.

    Args:
        most: images of a run, as far as memory goes; None = any number.
    """
    count = len(text)
    alone = plan is not None and plan.adaptive and count > 1
    size = 1 if alone else min(count, most or count)
    if size == count:
        return [(text, negative, generators)]
    if alone and isinstance(generators, torch.Generator):
        raise ValueError(
            f"{plan.name if plan else ''} plans each image by itself, so one generator cannot be "
            f"shared between {count} images: give seed, or one generator per image"
        )
    several = negative is not None and len(negative) > 1
    return [
        (
            text.part(first, first + size),
            negative.part(first, first + size) if negative is not None and several else negative,
            generators[first : first + size] if isinstance(generators, list) else generators,
        )
        for first in range(0, count, size)
    ]
