"""The model that is measured: the embedded one, a user's, or a shape with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..bundled import bundled_model
from ..devices import choose_dtype, free_bytes, free_memory
from ..memory.request import told
from ..models.random_models import (
    WORDS,
    random_autoencoder,
    random_text_encoder,
    random_transformer,
    word_tokenizer,
)
from ..models.variants import (
    autoencoder_variants,
    get_variant,
    recognise_variant,
)

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline

EMBEDDED, UNNAMED = "embedded", "unnamed"
SPARE = 1.3
"""Of the weights' bytes, that must be free to make them in one place."""


@dataclass(frozen=True)
class Loaded:
    """A pipeline on its device.

    Attributes:
        name, weights: as in a result's ``Subject``.
        words: that its tokenizer knows; None = it knows language.
    """

    pipeline: InfinityPipeline
    device: torch.device
    name: str
    weights: Literal["random", "own", "embedded"]
    words: Sequence[str] | None = None


def load_folder(folder: str | None, device: torch.device) -> Loaded:
    """A user's pipeline folder, or the embedded model.

    Raises:
        ValueError: it cannot be loaded, or edits pictures instead of drawing them.
    """
    from transformers.utils import logging

    from ..pipeline import InfinityPipeline

    logging.disable_progress_bar()
    pipeline: Any = InfinityPipeline.from_folder(folder or bundled_model(),
                                                 choose_dtype("auto", device))
    shape = pipeline.transformer.shape
    if shape.edits:
        raise ValueError("'toprovar bench' draws from text, and the model is a VAREdit model, "
                         "which edits pictures: name an Infinity model")
    _place(pipeline, device)
    if folder is None:
        return Loaded(pipeline, device, EMBEDDED, "embedded")
    return Loaded(pipeline, device, recognise_variant(shape) or UNNAMED, "own")


def load_shape(name: str, device: torch.device) -> Loaded:
    """Random weights in the shape of a variant that draws, with a VAE and a text encoder that fit.

    Raises:
        ValueError: the name is unknown, or memory is too small.
    """
    from ..pipeline import InfinityPipeline

    variant, dtype = get_variant(name), choose_dtype("auto", device)
    vae_shape, channels = autoencoder_variants()[variant.vae].config, variant.config.text_channels
    nowhere = torch.device("meta")
    size = sum(_bytes(part) for part in (
        random_transformer(variant.config, nowhere, dtype),
        random_autoencoder(vae_shape, nowhere, dtype),
        random_text_encoder(channels, nowhere, dtype)))
    home = _room(size, device, name)
    pipeline: Any = InfinityPipeline(
        random_transformer(variant.config, home, dtype),
        random_autoencoder(vae_shape, home, dtype),
        random_text_encoder(channels, home, dtype), word_tokenizer(),
        default_pn=variant.pn, default_cfg=variant.cfg, default_tau=variant.tau)
    _place(pipeline, device)
    return Loaded(pipeline, device, name, "random", WORDS)


def _room(size: int, device: torch.device, name: str) -> torch.device:
    """Where weights can be made: on the device, or in host memory where it is too small."""
    host = torch.device("cpu")
    free = free_bytes(device) if device.type == "cuda" else None
    if free is not None and free >= SPARE * size:
        return device
    free = free_memory(host)
    if free is not None and free < SPARE * size:
        raise ValueError(
            f"the weights of {name} take {told(size)}, and {told(free)} of memory are free: close "
            "other programs, or choose a smaller --shape such as 125m")
    return host


def _bytes(module: Any) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _place(pipeline: Any, device: torch.device) -> None:
    """As 'toprovar generate' and the nodes do without options."""
    if device.type == "cuda":
        pipeline.manage_memory(device, "auto")
    else:
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)


def parameters(pipeline: Any) -> int:
    """Of all parts together."""
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder)
    return sum(p.numel() for part in parts if part is not None for p in part.parameters())
