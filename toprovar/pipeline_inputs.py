"""What a pipeline call is given, checked and brought into the form that the sampler takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

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


def value_or(value: float | Sequence[float] | None, default: float) -> float | tuple[float, ...]:
    """One number, one per scale, or the default."""
    if value is None:
        return default
    return float(value) if isinstance(value, (int, float)) else tuple(value)


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
    seeds = [seed + i for i in range(count)] if isinstance(seed, int) else list(seed)
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds given for {count} images")
    return [torch.Generator("cpu").manual_seed(s) for s in seeds]


def seed_of(generator: Any, seed: Seeds | None) -> int | list[int] | None:
    """For the report: the seed or seeds, where known."""
    if seed is not None:
        return seed if isinstance(seed, int) else list(seed)
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    return [g.initial_seed() for g in generator] if generator is not None else None


def frees_models(call: Callable[P, R]) -> Callable[P, R]:
    """A pipeline method after which offloaded models leave the device, also when it fails."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        finally:
            args[0].maybe_free_model_hooks()  # type: ignore[attr-defined]  # the pipeline

    return wrapped
