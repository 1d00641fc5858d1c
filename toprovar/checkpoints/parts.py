"""The sources of a conversion: each recognised, none twice, all belonging together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import PIPELINE_INDEX
from ..models.config import AutoencoderConfig, TransformerConfig
from .errors import CheckpointError, NoAveragedWeightsError
from .inspect import Checkpoint, fit_autoencoder, inspect_checkpoint
from .text_folder import TextFolder, check_tokenizer, find_text_folder


@dataclass(frozen=True)
class Parts:
    """What the sources hold.

    Attributes:
        checkpoints: by kind, at least one.
        encoder: the folder or file with the text encoder.
        tokenizer: the folder with the tokenizer, often the same.
    """

    checkpoints: dict[str, Checkpoint]
    encoder: TextFolder | None
    tokenizer: TextFolder | None


def gather(paths: Sequence[Path], *, ema: bool, patchify: bool | None,
           family: str | None = None) -> Parts:
    """Recognises every source; arguments as in :func:`~toprovar.checkpoints.convert.convert`.

    Raises:
        CheckpointError: something is unusable, there are two of a kind, or they do not fit.
    """
    checkpoints: dict[str, Checkpoint] = {}
    texts: dict[str, TextFolder] = {}

    def add(found: dict[str, Any], kind: str, item: Any) -> None:
        if kind in found:
            raise CheckpointError(
                item.path, f"a second {kind}: there is {found[kind].path} already"
            )
        found[kind] = item

    for path in _expand(paths):
        text = find_text_folder(path)
        if text is None:
            item = _inspect(path, ema, patchify, family)
            add(checkpoints, item.kind, item)
            continue
        if text.weights:
            add(texts, "text encoder", text)
        if text.tokenizer and text.shape is None:
            add(texts, "tokenizer", text)
    if not checkpoints:
        raise CheckpointError(paths[0], "no transformer or VAE among the sources")
    encoder = texts.get("text encoder")
    if encoder and "tokenizer" not in texts:
        if encoder.shape is None:
            check_tokenizer(encoder.path)  # says what is missing
        texts["tokenizer"] = encoder  # one file: the box's
    return _pair(Parts(checkpoints, encoder, texts.get("tokenizer")), patchify)


def _inspect(path: Path, ema: bool, patchify: bool | None, family: str | None) -> Checkpoint:
    try:
        return inspect_checkpoint(path, ema=ema, patchify=patchify, family=family)
    except NoAveragedWeightsError:
        item = inspect_checkpoint(path, patchify=patchify, family=family)
        if item.kind == "vae":
            raise
        return item


def _expand(paths: Sequence[Path]) -> Iterator[Path]:
    """Pipeline folders become their component folders."""
    for path in paths:
        if (path / PIPELINE_INDEX).is_file():
            names = ("transformer", "vae", "text_encoder", "tokenizer")
            yield from (path / name for name in names if (path / name).is_dir())
        else:
            yield path


def _pair(parts: Parts, patchify: bool | None) -> Parts:
    """Makes sure that the parts belong together; the VAE decides about patchify."""
    transformer, vae = parts.checkpoints.get("transformer"), parts.checkpoints.get("vae")
    if transformer is None or not isinstance(transformer.config, TransformerConfig):
        return parts
    config = transformer.config
    if parts.encoder and parts.encoder.channels != config.text_channels:
        raise CheckpointError(
            parts.encoder.path, f"not the text encoder of {transformer.path}: feature width",
            expected=config.text_channels, found=parts.encoder.channels,
        )
    if vae is None or not isinstance(vae.config, AutoencoderConfig):
        return parts
    channels = vae.config.latent_channels
    fitted = fit_autoencoder(transformer, channels, patchify, vae.path)
    return dataclasses.replace(parts, checkpoints={**parts.checkpoints, "transformer": fitted})
